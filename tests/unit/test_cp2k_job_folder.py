"""What a CP2K job writes into its folder and what its script runs; nothing is submitted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

DYNAMICS: dict[str, Any] = {
    "GLOBAL": {"RUN_TYPE": "MD"},
    "FORCE_EVAL": {"METHOD": "QS", "DFT": {"CHARGE": 1, "SCF": {"SCF_GUESS": "ATOMIC"}}},
    "MOTION": {"MD": {"STEPS": 100, "TIMESTEP": 0.5}, "PRINT": {"TRAJECTORY": {"EACH": {"MD": 5}}}},
}
LABEL: dict[str, Any] = {"GLOBAL": {"RUN_TYPE": "ENERGY_FORCE"}, "FORCE_EVAL": {"METHOD": "QS", "DFT": {"CHARGE": 0}}}
FOLLOWUP: dict[str, Any] = {"FORCE_EVAL": {"METHOD": "QS", "DFT": {"WFN_RESTART_FILE_NAME": "cp2k-RESTART.wfn"}}}
RESTART = " &MOTION\n   &MD\n     STEP_START_VAL  40\n   &END MD\n &END MOTION\n &FORCE_EVAL\n &END FORCE_EVAL\n"

DATA = Path(__file__).parents[1] / "data" / "cp2k"

Written = Callable[..., dict[str, str]]


@pytest.fixture
def written(project: Path, tmp_path: Path) -> Iterator[Written]:
    """Name → text of the files of a job with these inputs; the script is ``_aiidasubmit.sh``."""
    from aiida import orm
    from aiida.common.folders import SandboxFolder
    from aiida.manage import get_manager
    from ase.build import molecule

    from vibraloom.calculators.cp2k.calcjob import Cp2kCalculation

    computer = orm.load_computer("localhost")
    engine = orm.InstalledCode(label=f"cp2k-{tmp_path.name}", computer=computer, filepath_executable="/bin/false").store()
    runner = get_manager().create_runner(communicator=None)  # no broker runs here

    def write(parameters: dict[str, Any] = DYNAMICS, *, options: dict[str, Any] | None = None, **inputs: Any) -> dict[str, str]:
        given = {
            "code": engine,
            "converter": orm.load_code("python@localhost"),
            "structure": orm.StructureData(ase=molecule("H2O", cell=[6, 7, 8], pbc=True)),
            "parameters": orm.Dict(parameters),
            "metadata": {"options": options or {}},
        }
        process = runner.instantiate_process(Cp2kCalculation, **(given | inputs))
        with SandboxFolder() as folder:
            info = process.presubmit(folder)
            files = {path.name: path.read_text() for path in Path(folder.abspath).iterdir() if path.is_file()}
        files["links"] = json.dumps(info.remote_symlink_list or [])
        files["copied"] = json.dumps(info.local_copy_list)
        return files

    yield write


def run_lines(files: dict[str, str]) -> list[str]:
    """Lines of the script that start a program, with one space between words."""
    return [" ".join(line.split()) for line in files["_aiidasubmit.sh"].splitlines() if ".inp'" in line or "convert" in line]


def test_a_plain_input_gets_name_cell_and_coordinates_and_its_record(written: Written) -> None:
    files = written()
    assert "PROJECT cp2k" in files["cp2k.inp"] and "COORD_FILE_NAME structure.xyz" in files["cp2k.inp"]
    assert "A 6 0 0\n" in files["cp2k.inp"] and "C 0 0 8\n" in files["cp2k.inp"]
    assert files["structure.xyz"].splitlines()[0] == "3" and "0.763239" in files["structure.xyz"]
    record = json.loads(files["job.json"])
    wanted = {"kind": "dynamics", "steps": 100, "timestep": 0.5, "every": 5, "charge": 1, "numbers": [8, 1, 1], "folders": ["."]}
    assert {key: record[key] for key in wanted} == wanted
    assert record["cell"] == [[6, 0, 0], [0, 7, 0], [0, 0, 8]]
    assert record["trajectory"] == "trajectory-00.h5"


def test_cp2k_its_followups_and_the_converter_run_one_after_the_other(written: Written) -> None:
    from aiida import orm

    files = written(followups={"field_z_plus": orm.Dict(FOLLOWUP), "linres": orm.Dict(FOLLOWUP)})
    lines = run_lines(files)
    wanted = ("cp2k.inp", "field_z_plus.inp", "linres.inp", "vibraloom.calculators.cp2k.convert")
    assert [word in line for word, line in zip(wanted, lines, strict=True)] == [True] * 4
    assert "PROJECT linres" in files["linres.inp"]
    script = files["_aiidasubmit.sh"]
    assert "&&" not in script and "set -e" not in script, "the converter runs whatever became of CP2K"
    assert json.loads(files["job.json"])["followups"] == ["field_z_plus", "linres"]


def test_cp2k_runs_under_mpi_with_several_processes_and_the_converter_never_does(written: Written) -> None:
    alone = run_lines(written())
    several = {"resources": {"num_machines": 1, "num_mpiprocs_per_machine": 2}}
    together = run_lines(written(options=several))
    asked = run_lines(written(options={**several, "withmpi": True}))
    refused = run_lines(written(options={**several, "withmpi": False}))
    assert ["mpirun" in lines[0] for lines in (alone, together, asked, refused)] == [False, True, True, False]
    assert not any("mpirun" in lines[-1] for lines in (alone, together, asked, refused))


def test_cp2k_stops_before_the_scheduler_does_unless_the_input_says_when(written: Written) -> None:
    assert "WALLTIME" not in written()["cp2k.inp"]
    assert "WALLTIME 3420\n" in written(options={"max_wallclock_seconds": 3600})["cp2k.inp"].replace("3420.0", "3420")
    own = {**DYNAMICS, "GLOBAL": {**DYNAMICS["GLOBAL"], "WALLTIME": 77}}
    assert "WALLTIME 77\n" in written(own, options={"max_wallclock_seconds": 3600})["cp2k.inp"]


def test_followups_are_begun_only_while_wall_time_is_left(written: Written) -> None:
    from aiida import orm

    followups = {"field_z_plus": orm.Dict(FOLLOWUP), "linres": orm.Dict(FOLLOWUP)}
    plain = written(followups=followups)
    limited = written(followups=followups, options={"max_wallclock_seconds": 3600})
    assert "vibraloom_in_time" not in plain["_aiidasubmit.sh"]
    assert run_lines(limited) == run_lines(plain), "the same commands"
    script = limited["_aiidasubmit.sh"]
    for name in followups:
        line = f"'/bin/false' '-i' '{name}.inp' > '{name}.out' 2> '{name}.err'"
        assert f"if vibraloom_in_time {name} 3420; then\n{line}\nfi\n" in script
    assert "vibraloom_in_time cp2k" not in script, "the first run always begins"
    assert script.index("vibraloom_in_time linres") < script.index("cp2k.convert")


@pytest.mark.parametrize("withmpi", [True, False])
def test_a_followup_is_started_like_the_main_run(written: Written, withmpi: bool) -> None:
    from aiida import orm

    options = {"resources": {"num_machines": 1, "num_mpiprocs_per_machine": 2}, "withmpi": withmpi, "max_wallclock_seconds": 3600}
    main, followup, _ = run_lines(written(followups={"linres": orm.Dict(FOLLOWUP)}, options=options))
    assert followup == main.replace("'cp2k.", "'linres.")
    assert ("mpirun" in followup) is withmpi


def of_label(path: str, whole: dict[str, str], followups: dict[str, Any], previous: Any = None) -> Any:
    """The folder of a label job in which these runs ended well."""
    from aiida import orm
    from aiida.common.links import LinkType
    from ase.build import molecule

    computer = orm.load_computer("localhost")
    job = orm.CalcJobNode(computer=computer, process_type="aiida.calculations:vibraloom.cp2k")
    inputs = {
        "parameters": orm.Dict(LABEL),
        "structure": orm.StructureData(ase=molecule("H2O", cell=[6, 7, 8], pbc=True)),
        **{f"followups__{name}": orm.Dict(entry) for name, entry in followups.items()},
        **({} if previous is None else {"previous": previous}),
    }
    for label, node in inputs.items():
        job.base.links.add_incoming(node.store(), LinkType.INPUT_CALC, label)
    job.store()
    folder, report = orm.RemoteData(computer=computer, remote_path=path), orm.Dict({"restart": None, "finished": whole})
    for label, node in (("remote_folder", folder), ("report", report)):
        node.base.links.add_incoming(job, LinkType.CREATE, label)
        node.store()
    return folder


def test_runs_that_earlier_folders_hold_whole_are_not_repeated(written: Written) -> None:
    from aiida import orm

    runs = {name: {**FOLLOWUP, "GLOBAL": {"PRINT_LEVEL": name}} for name in ("field_z_plus", "field_z_minus", "linres")}
    first = of_label("/job/1", {"cp2k": "/job/1"}, runs)
    second = of_label("/job/2", {"cp2k": "/job/1", "field_z_plus": "/job/2"}, runs, first)
    given = {name: orm.Dict(entry) for name, entry in runs.items()}
    files = written(LABEL, followups=given, previous=second, options={"max_wallclock_seconds": 3600})
    assert [line.split("'")[5] for line in run_lines(files)[:-1]] == ["field_z_minus.inp", "linres.inp"]
    assert "cp2k.inp" not in files and "field_z_plus.inp" not in files
    record = json.loads(files["job.json"])
    assert record["finished"] == {"cp2k": "/job/1", "field_z_plus": "/job/2"}
    assert record["followups"] == list(runs), "they belong to the label all the same"
    assert ["/job/1/cp2k-RESTART.wfn", "cp2k-RESTART.wfn"] in [link[1:] for link in json.loads(files["links"])]


@pytest.mark.parametrize("changed", ["parameters", "followup", "fresh", "structure"])
def test_runs_with_another_input_are_repeated(written: Written, changed: str) -> None:
    from aiida import orm
    from ase.build import molecule

    other = {**FOLLOWUP, "GLOBAL": {"PRINT_LEVEL": "HIGH"}}
    whole = dict.fromkeys(("cp2k", "field_z_plus"), "/job/1")
    previous = of_label("/job/1", whole, {"field_z_plus": FOLLOWUP, "linres": FOLLOWUP})
    given = {"field_z_plus": orm.Dict(other if changed == "followup" else FOLLOWUP), "linres": orm.Dict(FOLLOWUP)}
    parameters = {**LABEL, "GLOBAL": {**LABEL["GLOBAL"], "PRINT_LEVEL": "HIGH"}} if changed == "parameters" else LABEL
    inputs: dict[str, Any] = {"record": orm.Dict({"fresh_wavefunction": True})} if changed == "fresh" else {}
    if changed == "structure":
        inputs["structure"] = orm.StructureData(ase=molecule("H2O", cell=[6, 7, 9], pbc=True))
    files = written(parameters, followups=given, previous=previous, **inputs)
    kept = {"cp2k": "/job/1"} if changed == "followup" else None
    assert json.loads(files["job.json"]).get("finished") == kept


def ended(path: str, restart: dict[str, Any] | None, previous: Any = None) -> Any:
    """The folder of a job that ended with this restart file."""
    from aiida import orm
    from aiida.common.links import LinkType

    computer = orm.load_computer("localhost")
    job = orm.CalcJobNode(computer=computer, process_type="aiida.calculations:vibraloom.cp2k")
    if previous is not None:
        job.base.links.add_incoming(previous, LinkType.INPUT_CALC, "previous")
    job.store()
    folder, report = orm.RemoteData(computer=computer, remote_path=path), orm.Dict({"restart": restart})
    for label, node in (("remote_folder", folder), ("report", report)):
        node.base.links.add_incoming(job, LinkType.CREATE, label)
        node.store()
    return folder


def test_a_continuation_reads_the_newest_restart_file_and_all_folders_in_order(written: Written) -> None:
    first = ended("/job/1", {"file": "cp2k-1.restart", "step": 20})
    second = ended("/job/2", {"file": "cp2k-1.restart.bak-1", "step": 40}, first)
    stopped_early = ended("/job/3", None, second)
    files = written(previous=stopped_early)
    assert json.loads(files["job.json"])["folders"] == ["/job/1", "/job/2", "/job/3", "."]
    assert [link[1:] for link in json.loads(files["links"])] == [["/job/2", "previous"]]
    assert "RESTART_FILE_NAME previous/cp2k-1.restart.bak-1\n" in files["cp2k.inp"]
    assert "WFN_RESTART_FILE_NAME previous/cp2k-RESTART.wfn\n" in files["cp2k.inp"] and "SCF_GUESS RESTART\n" in files["cp2k.inp"]
    assert "STEPS 60\n" in files["cp2k.inp"], "40 of 100 are done"
    assert json.loads(files["job.json"])["steps"] == 100


def test_a_damaged_wavefunction_is_not_read_again(written: Written) -> None:
    from aiida import orm

    previous = ended("/job/1", {"file": "cp2k-1.restart", "step": 20})
    files = written(previous=previous, record=orm.Dict({"fresh_wavefunction": True}))
    assert "WFN_RESTART_FILE_NAME" not in files["cp2k.inp"] and "RESTART_FILE_NAME previous/" in files["cp2k.inp"]


def test_a_run_that_has_all_its_steps_is_read_again_without_a_step(written: Written) -> None:
    files = written(previous=ended("/job/1", {"file": "cp2k-1.restart", "step": 100}))
    assert "STEPS 0\n" in files["cp2k.inp"]


def test_without_a_restart_file_the_run_begins_anew_from_the_wavefunction(written: Written) -> None:
    files = written(previous=ended("/job/1", None))
    assert "EXT_RESTART" not in files["cp2k.inp"] and "STEPS 100\n" in files["cp2k.inp"]
    assert "WFN_RESTART_FILE_NAME previous/cp2k-RESTART.wfn\n" in files["cp2k.inp"]


def test_extra_basis_files_lie_beside_the_input(written: Written, tmp_path: Path) -> None:
    from aiida import orm

    basis = tmp_path / "MY_BASIS"
    basis.write_text("H MY-SZV\n")
    files = written(files={"basis": orm.SinglefileData(file=str(basis))})
    assert [entry[1:] for entry in json.loads(files["copied"])] == [["MY_BASIS", "MY_BASIS"]]


def test_an_input_that_cannot_be_written_is_refused_with_its_place(written: Written) -> None:
    with pytest.raises(ValueError, match="lower"):
        written({"FORCE_EVAL": {"METHOD": "QS", "lower": 1}})


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"parameters": {**LABEL, "GLOBAL": {"RUN_TYPE": "BAND"}}}, "GLOBAL/RUN_TYPE: BAND: results of such a run are not read"),
        ({"parameters": {**LABEL, "GLOBAL": {"WALLTIME": "an hour"}}}, "GLOBAL/WALLTIME: 'an hour'; allowed: whole seconds"),
        ({"record": {"threads": "1; rm -r ~"}}, "threads is '1; rm -r ~'; allowed: an integer"),
        ({"record": {"trajectory": "../trajectory-00.h5"}}, "allowed: a name such as trajectory-00.h5"),
        ({"options": {"output_filename": "water.out"}}, "'water.out'; allowed: cp2k.out"),
    ],
)
def test_what_cannot_be_run_or_read_is_refused_before_a_process_is_made(
    written: Written, changed: dict[str, Any], words: str
) -> None:
    from aiida import orm

    given = {name: value if name == "options" else orm.Dict(value) for name, value in changed.items()}
    with pytest.raises(ValueError) as refused:
        written(given.pop("parameters", orm.Dict(LABEL)).get_dict(), **given)
    assert words in str(refused.value)


def test_a_wall_time_in_hours_is_told_to_the_script_in_seconds(written: Written) -> None:
    from aiida import orm

    timed = {**FOLLOWUP, "GLOBAL": {"WALLTIME": "01:02:03"}}
    files = written(LABEL, options={"max_wallclock_seconds": 7200}, followups={"linres": orm.Dict(timed)})
    assert "vibraloom_in_time linres 3723;" in files["_aiidasubmit.sh"]


def test_an_optimisation_of_the_cell_prints_it(written: Written) -> None:
    files = written({**LABEL, "GLOBAL": {"RUN_TYPE": "CELL_OPT"}})
    assert "&CELL ON" in files["cp2k.inp"]
    assert json.loads(files["job.json"])["changing_cell"] is True


def structure() -> Any:
    from aiida import orm
    from ase.build import molecule

    return orm.StructureData(ase=molecule("H2O", cell=[6, 7, 8], pbc=True))


def far(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The folder of a job that nobody parsed, on a computer that is reached by a transport."""
    from aiida import orm
    from aiida.common.links import LinkType
    from aiida.transports.plugins.local import LocalTransport

    settings = {"transport_type": "core.ssh_async", "scheduler_type": "vibraloom.slurm", "workdir": "/scratch"}
    computer = orm.Computer(label=f"far-{folder.parent.name}", hostname="far", **settings).store()
    monkeypatch.setattr(orm.RemoteData, "get_authinfo", lambda self: SimpleNamespace(get_transport=LocalTransport))
    job = orm.CalcJobNode(computer=computer, process_type="aiida.calculations:vibraloom.cp2k")
    inputs = {"parameters": orm.Dict(LABEL), "structure": structure(), "followups__linres": orm.Dict(FOLLOWUP)}
    for label, node in inputs.items():
        job.base.links.add_incoming(node.store(), LinkType.INPUT_CALC, label)
    job.store()
    remote = orm.RemoteData(computer=computer, remote_path=str(folder))
    remote.base.links.add_incoming(job, LinkType.CREATE, "remote_folder")
    return remote.store()


def test_a_far_folder_that_nobody_parsed_is_gone_on_from_after_a_look_at_it_there(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "job.json").write_text(json.dumps({"kind": "optimisation"}))
    (folder / "cp2k-1.restart").write_text(RESTART[:-20])
    (folder / "cp2k-1.restart.bak-1").write_text(RESTART)
    files = written({**DYNAMICS, "GLOBAL": {"RUN_TYPE": "GEO_OPT"}}, previous=far(folder, monkeypatch))
    assert "RESTART_FILE_NAME previous/cp2k-1.restart.bak-1\n" in files["cp2k.inp"], "the newest one is cut off"


def test_what_a_far_label_job_finished_is_not_repeated(written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aiida import orm

    folder = tmp_path / "job"
    shutil.copytree(DATA / "label", folder)
    (folder / "job.json").write_text(json.dumps({"kind": "label", "followups": ["linres"]}))
    files = written(LABEL, followups={"linres": orm.Dict(FOLLOWUP)}, previous=far(folder, monkeypatch))
    assert json.loads(files["job.json"])["finished"] == {"cp2k": str(folder)}


def test_a_far_folder_that_cannot_be_looked_at_is_told_in_the_jobs_report(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aiida import orm

    nowhere = orm.InstalledCode(
        label=f"python-{tmp_path.name}", computer=orm.load_computer("localhost"), filepath_executable="/no/python"
    )
    told: list[str] = []
    monkeypatch.setattr("vibraloom.calculators.cp2k.calcjob.Cp2kCalculation.report", lambda self, message: told.append(message))
    files = written(previous=far(tmp_path / "gone", monkeypatch), converter=nowhere)
    assert "EXT_RESTART" not in files["cp2k.inp"]
    assert "/no/python" in told[0] and "could not be looked at" in told[0]
