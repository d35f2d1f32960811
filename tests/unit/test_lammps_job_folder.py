"""What a LAMMPS job that goes on from another one writes into its folder; nothing is submitted."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vibraloom.calculators.lammps.checkpoints import RESTART_MAGIC, left_behind
from vibraloom.calculators.lammps.settings import Settings

SETTINGS = Settings(temperature=300.0, timestep=0.5, equilibration=100.0, length=200.0, every=2.0, seed=7)


def restart_file(step: int) -> bytes:
    """As much of a restart file as tells its step: the flags of version and step, between the two marks."""
    version = b"22 Jul 2025\0"
    head = struct.pack("<ii", 1, 3) + struct.pack("<ii", 0, len(version)) + version + struct.pack("<iq", 5, step)
    return RESTART_MAGIC + head + RESTART_MAGIC


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Folders of two segments; the last restart file was cut off."""
    first, second = tmp_path / "first", tmp_path / "second"
    for number, (folder, steps) in enumerate({first: (100, 200), second: (300, 400)}.items()):
        folder.mkdir()
        (folder / f"log-{number:04d}.lammps").touch()
        for letter, step in zip("ab", steps, strict=True):
            (folder / f"checkpoint-{letter}.restart").write_bytes(restart_file(step))
    (second / "checkpoint-b.restart").write_bytes(restart_file(400)[:-3])
    (second / "job.json").write_text(json.dumps({"folders": [str(first), "."]}))
    return first, second


def test_the_newest_whole_restart_file_of_all_segments_is_gone_on_from(folders: tuple[Path, Path]) -> None:
    first, second = folders
    wanted = {"restart": str(second / "checkpoint-a.restart"), "folders": [str(first), str(second)], "segment": 2}
    assert left_behind(second) == wanted
    assert left_behind(second / "gone") == {"restart": None, "folders": [], "segment": 1}


@pytest.mark.parametrize("transport", ["core.local", "core.ssh_async"])
def test_a_job_goes_on_from_a_checkpoint_here_and_on_a_far_computer(
    project: Path, folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    from aiida import orm
    from aiida.common.folders import SandboxFolder
    from aiida.manage import get_manager
    from aiida.transports.plugins.local import LocalTransport
    from ase.build import molecule

    from vibraloom.calculators.lammps.calcjob import LammpsCalculation

    settings = {"transport_type": transport, "scheduler_type": "vibraloom.slurm", "workdir": "/scratch"}
    computer = orm.Computer(label=f"{transport}-{tmp_path.name}", hostname="far", **settings).store()
    monkeypatch.setattr(orm.RemoteData, "get_authinfo", lambda self: SimpleNamespace(get_transport=LocalTransport))
    engine = orm.InstalledCode(
        label=f"lmp-{tmp_path.name}", computer=orm.load_computer("localhost"), filepath_executable="/bin/false"
    )
    first, second = folders
    inputs: dict[str, Any] = {
        "code": engine.store(),
        "converter": orm.load_code("python@localhost"),
        "structure": orm.StructureData(ase=molecule("H2O", cell=np.eye(3) * 8.0, pbc=True)),
        "parameters": orm.Dict({"settings": asdict(SETTINGS), "molecules": [0, 0, 0]}),
        "previous": orm.RemoteData(computer=computer, remote_path=str(second)),
    }
    process = get_manager().create_runner(communicator=None).instantiate_process(LammpsCalculation, **inputs)
    with SandboxFolder() as folder:
        process.presubmit(folder)
        script = (Path(folder.abspath) / "in.lammps").read_text()
        record = json.loads((Path(folder.abspath) / "job.json").read_text())
    assert f'read_restart "{second}/checkpoint-a.restart"' in script and "log-0002" in script
    assert record["folders"] == [str(first), str(second), "."]
