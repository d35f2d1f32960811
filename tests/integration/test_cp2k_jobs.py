"""Real CP2K through AiiDA: stopped and killed trajectories, planted failures and their handlers, labels to a dataset.

One water in a minimal basis on a coarse grid: what counts is the flow of data, which is the same for a good basis.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vibraloom.calculators.cp2k.restart_files import newest_restart_in
from vibraloom.files.trajectory import Trajectory, read_trajectory

STEPS = 20
CELL = 5.5
WALLTIME = 16
"""(s) Limit of a stopped job; CP2K itself is told half of it."""

_EVERY_STEP: dict[str, Any] = {"_": "ON", "EACH": {"MD": 1}}
DFT: dict[str, Any] = {
    "METHOD": "QS",
    "DFT": {
        "BASIS_SET_FILE_NAME": "BASIS_MOLOPT",
        "POTENTIAL_FILE_NAME": "GTH_POTENTIALS",
        "MGRID": {"CUTOFF": 120, "REL_CUTOFF": 30},
        "QS": {"EPS_DEFAULT": 1e-10, "EXTRAPOLATION": "USE_PREV_WF"},
        "SCF": {
            "EPS_SCF": 1e-7,
            "MAX_SCF": 30,
            "OT": {"PRECONDITIONER": "FULL_SINGLE_INVERSE", "MINIMIZER": "DIIS"},
            "OUTER_SCF": {"EPS_SCF": 1e-7, "MAX_SCF": 5},
        },
        "XC": {"XC_FUNCTIONAL": {"_": "PBE"}},
        "PRINT": {"MOMENTS": {**_EVERY_STEP, "PERIODIC": True, "FILENAME": "=cp2k-dipole.dat", "COMMON_ITERATION_LEVELS": 20}},
    },
    "SUBSYS": {
        "KIND": [
            {"_": "O", "BASIS_SET": "SZV-MOLOPT-SR-GTH", "POTENTIAL": "GTH-PBE-q6"},
            {"_": "H", "BASIS_SET": "SZV-MOLOPT-SR-GTH", "POTENTIAL": "GTH-PBE-q1"},
        ]
    },
}
DYNAMICS: dict[str, Any] = {
    "GLOBAL": {"RUN_TYPE": "MD", "PRINT_LEVEL": "LOW", "SEED": 7},
    "FORCE_EVAL": DFT,
    "MOTION": {
        "MD": {"ENSEMBLE": "NVE", "STEPS": STEPS, "TIMESTEP": 0.5, "TEMPERATURE": 300},
        "PRINT": {
            "TRAJECTORY": _EVERY_STEP,
            "VELOCITIES": _EVERY_STEP,
            "FORCES": _EVERY_STEP,
            "CELL": _EVERY_STEP,
            "RESTART": {"BACKUP_COPIES": 3, "EACH": {"MD": 1}},
            "RESTART_HISTORY": {"_": "OFF"},
        },
    },
}

WRAPPER = """\
#!{python}
import signal, subprocess, sys, time
from pathlib import Path

child = subprocess.Popen([{cp2k!r}, *sys.argv[1:]])
began = time.monotonic()
calls = Path({folder!r}, "calls")
calls.open("a").write(str(Path.cwd()) + "\\n")
call = len(calls.read_text().splitlines())


def steps():
    energies = Path("cp2k-1.ener")
    return len(energies.read_text().splitlines()) - 1 if energies.exists() else 0


def after(count):
    while child.poll() is None and steps() < count:
        time.sleep(0.005)


{body}
sys.exit(child.wait())
"""
STOPPED = """\
after(7)
if child.poll() is None:
    child.send_signal(signal.SIGSTOP)  # no step is made, and CP2K's own clock goes on
    time.sleep(max(0, began + {seconds} - time.monotonic()))
    child.send_signal(signal.SIGCONT)
"""
KILLED = """\
if call == 1:
    after(7)
    child.kill()
"""
KILLED_OPTIMISATION = """\
while call == 1 and child.poll() is None:
    if Path("cp2k.out").read_text().count("OPTIMIZATION STEP:") >= 4:
        child.kill()
    time.sleep(0.005)
"""
BROKEN_FOR_A_MARKED_FRAME = """\
if "0.5555" in Path("structure.xyz").read_text():
    child.kill()
"""


Code = Callable[..., Any]


@pytest.fixture
def code(in_project: Path, cp2k_program: str, tmp_path: Path) -> Iterator[Code]:
    """Make a code: CP2K, or a program around it that stops, kills or spoils a run."""
    from aiida import orm
    from aiida.manage import get_manager

    manager = get_manager()
    manager.reset_runner()
    manager.set_runner(manager.create_runner(communicator=None, poll_interval=0.2))  # no broker runs here

    def make(body: str | None = None) -> Any:
        path = Path(cp2k_program)
        if body is not None:
            path = tmp_path / "cp2k-wrapped"
            path.write_text(WRAPPER.format(python=sys.executable, cp2k=cp2k_program, folder=str(tmp_path), body=body))
            path.chmod(0o700)
        computer = orm.load_computer("localhost")
        return orm.InstalledCode(label=f"cp2k-{tmp_path.name}", computer=computer, filepath_executable=str(path)).store()

    yield make
    manager.reset_runner()


def water(stretch: float = 0.0) -> Any:
    """One water in a small periodic cell."""
    from aiida import orm
    from ase.build import molecule

    atoms = molecule("H2O", cell=[CELL] * 3, pbc=True)
    atoms.positions[1] += [0.0, stretch, 0.0]
    return orm.StructureData(ase=atoms)


def run(process: Any, **inputs: Any) -> tuple[Any, Any]:
    from aiida.engine import run_get_node

    return run_get_node(process, **inputs)


def job(engine: Any, parameters: dict[str, Any], *, options: dict[str, Any] | None = None, **inputs: Any) -> dict[str, Any]:
    from aiida import orm

    return {
        "code": engine,
        "converter": orm.load_code("python@localhost"),
        "structure": water(),
        "parameters": orm.Dict(parameters),
        "metadata": {"options": options or {}},
        **inputs,
    }


def handlers(node: Any) -> list[str]:
    """Names of the handlers that acted, job by job."""
    considered = node.base.extras.get("considered_handlers")
    return [name for one in considered for name, report in one if report is not None]


def stored(node: Any, *, trajectories: bool) -> int:
    """Bytes in the repository that a job made: of its trajectories alone, or of all."""
    made = [link.node for link in node.base.links.get_outgoing().all() if "traj" in link.link_label or not trajectories]
    contents = (
        one.base.repository.get_object_content(name, mode="rb")
        for one in made
        for name in one.base.repository.list_object_names()
    )
    return sum(len(content) for content in contents)


def optimisation_steps(node: Any) -> list[int]:
    """Numbers of the steps that the log of an optimisation tells."""
    log = (Path(node.get_remote_workdir()) / "cp2k.out").read_text(encoding="utf-8")
    return [int(line.split()[-1]) for line in log.splitlines() if "OPTIMIZATION STEP:" in line]


def trajectory(results: Any) -> Trajectory:
    with results["trajectories"]["replica_00"].as_path() as path:
        return read_trajectory(path)


def jobs(node: Any) -> list[Any]:
    return sorted((child for child in node.called if child.process_label == "Cp2kCalculation"), key=lambda child: child.ctime)


@pytest.fixture(scope="session")
def whole(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {}


def uninterrupted(code: Code, kept: dict[str, Any]) -> Trajectory:
    """The same trajectory in one job; computed once."""
    from vibraloom.workflows.dynamics import Cp2kDynamicsWorkChain

    if "trajectory" not in kept:
        results, node = run(Cp2kDynamicsWorkChain, job=job(code(), DYNAMICS))
        assert node.is_finished_ok and len(jobs(node)) == 1 and handlers(node) == []
        kept |= {"trajectory": trajectory(results), "node": node}
    found: Trajectory = kept["trajectory"]
    return found


POSITION_NOISE = 1e-5
"""(Å) What an SCF converged to 1e-7 leaves in the positions after 10 fs."""
DIPOLE_NOISE = 1e-5
"""(e·Å) The same in the dipole."""


def same(one: Trajectory, other: Trajectory) -> None:
    """Both are one trajectory: the same steps, and the same numbers within the noise of the SCF."""
    assert one.step.tolist() == other.step.tolist() == list(range(STEPS + 1))
    moved = np.abs(one.positions - other.positions).max()
    turned = np.abs(one.observables["dipole"] - other.observables["dipole"]).max()
    assert (moved < POSITION_NOISE, turned < DIPOLE_NOISE) == (True, True), (moved, turned)
    assert one.frame_interval == 0.5


def test_a_trajectory_through_walltime_stops_is_the_uninterrupted_one(
    code: Code, whole: dict[str, Any], tmp_path: Path
) -> None:
    from vibraloom.workflows.dynamics import Cp2kDynamicsWorkChain

    reference = uninterrupted(code, whole)
    engine = code(STOPPED.format(seconds=WALLTIME / 2 + 0.5))
    results, node = run(Cp2kDynamicsWorkChain, job=job(engine, DYNAMICS, options={"max_wallclock_seconds": WALLTIME}))
    assert node.is_finished_ok, node.exit_message
    acted = handlers(node)
    assert len(acted) >= 2 and set(acted) == {"go_on_after_walltime"}
    assert [child.exit_status for child in jobs(node)] == [410] * len(acted) + [0]
    same(trajectory(results), reference)
    assert results["trajectories"]["replica_00"].label == ""
    (alone,) = jobs(whole["node"])
    assert sum(stored(child, trajectories=True) for child in jobs(node)) <= 1.5 * stored(alone, trajectories=True)
    runs = (tmp_path / "calls").read_text()
    again, node = run(Cp2kDynamicsWorkChain, job=job(engine, DYNAMICS, options={"max_wallclock_seconds": WALLTIME}))
    assert node.is_finished_ok and len(jobs(node)) == 1
    assert (tmp_path / "calls").read_text() == runs, "what was computed is not computed again"
    first, second = (found["trajectories"]["replica_00"].base.repository for found in (results, again))
    assert first.hash() == second.hash()


def test_a_chain_that_gives_up_hands_out_the_frames_that_are_there(code: Code) -> None:
    from aiida import orm

    from vibraloom.workflows.dynamics import Cp2kDynamicsWorkChain

    parameters = {**DYNAMICS, "GLOBAL": {**DYNAMICS["GLOBAL"], "SEED": 8}}
    results, node = run(Cp2kDynamicsWorkChain, job=job(code(KILLED), parameters), max_iterations=orm.Int(1))
    assert node.exit_status == 401
    (child,) = jobs(node)
    assert "trajectories" not in child.outputs
    partial = results["trajectories"]["replica_00"]
    assert partial.label == "partial" and partial.base.attributes.get("partial") is True
    last = child.outputs.report["last_step"]
    assert trajectory(results).step.tolist() == list(range(last + 1)) and 0 < last < STEPS


def test_a_killed_optimisation_goes_on_with_the_steps_that_are_left(code: Code) -> None:
    from vibraloom.calculators.cp2k.input_builder import geometry_optimisation
    from vibraloom.calculators.cp2k.settings import Cp2kSettings
    from vibraloom.workflows.cp2k import Cp2kBaseWorkChain

    structure = water(0.1)
    atoms = structure.get_ase()
    most = 5
    parameters = geometry_optimisation(
        atoms,
        Cp2kSettings.from_protocol(
            "fast", "PBE", {"cutoff": 120, "force_convergence": 1e-6, "overrides": {"MOTION": {"GEO_OPT": {"MAX_ITER": most}}}}
        ),
    )
    _, node = run(Cp2kBaseWorkChain, job={**job(code(KILLED_OPTIMISATION), parameters), "structure": structure})
    assert node.exit_status == 410 and "used up its steps" in node.exit_message
    first, second = jobs(node)
    assert (first.exit_status, second.exit_status) == (420, 420)
    steps = [optimisation_steps(child) for child in (first, second)]
    reached = first.outputs.report["restart"]["step"]
    assert reached >= 2 and steps[0][0] == 1
    assert steps[1] == list(range(reached + 1, most + 1)), "MAX_ITER counts over both jobs"
    assert node.outputs.structure.label == "partial"


def test_a_killed_run_is_continued_from_its_newest_restart_file(code: Code, whole: dict[str, Any]) -> None:
    from vibraloom.workflows.dynamics import Cp2kDynamicsWorkChain

    reference = uninterrupted(code, whole)
    results, node = run(Cp2kDynamicsWorkChain, job=job(code(KILLED), DYNAMICS))
    assert node.is_finished_ok, node.exit_message
    assert handlers(node) == ["go_on_after_cut"]
    first, second = jobs(node)
    assert first.exit_status == 420 and second.inputs.previous.uuid == first.outputs.remote_folder.uuid
    # a job that nobody could read out is looked at where it lies, with the same result
    folder = Path(first.get_remote_workdir())
    chosen = newest_restart_in(folder, json.loads((folder / "job.json").read_text()))
    report = first.outputs.report["restart"]
    assert chosen == (report["file"], report["step"]) and 0 < report["step"] < STEPS
    same(trajectory(results), reference)


def test_an_scf_that_does_not_converge_takes_the_first_rung_and_the_label_comes_out(code: Code) -> None:
    from vibraloom.workflows.cp2k import Cp2kBaseWorkChain

    hopeless = {**DFT["DFT"]["SCF"], "MAX_SCF": 3, "OUTER_SCF": {"EPS_SCF": 1e-7, "MAX_SCF": 1}}
    parameters = {
        "GLOBAL": {"RUN_TYPE": "ENERGY_FORCE", "PRINT_LEVEL": "MEDIUM"},
        "FORCE_EVAL": {**DFT, "DFT": {**DFT["DFT"], "SCF": hopeless}},
    }
    results, node = run(Cp2kBaseWorkChain, job=job(code(), parameters))
    assert node.is_finished_ok, node.exit_message
    assert handlers(node) == ["repair_scf"]
    first, second = jobs(node)
    assert first.exit_status == 310 and "did not converge" in first.exit_message
    assert second.inputs.record["remedies"] == ["longer: outer SCF cycles 1 to 20, from the last wavefunction"]
    labels = results["labels"]
    assert np.isfinite(labels.get_array("energy")).all()
    assert labels.base.attributes.get("remedies") == second.inputs.record["remedies"], "who reads the label sees what it needed"
    # the same once more finds the job that did it, climbs no ladder and computes nothing
    _, again = run(Cp2kBaseWorkChain, job=job(first.inputs.code, parameters))
    assert again.is_finished_ok, again.exit_message
    (repeated,) = jobs(again)
    assert repeated.base.caching.get_cache_source() == second.uuid


def test_linear_response_that_does_not_converge_takes_its_handler_and_the_tensor_comes_out(code: Code) -> None:
    from aiida import orm

    from vibraloom.calculators.cp2k.input_builder import linres_followup, single_point
    from vibraloom.calculators.cp2k.settings import Cp2kSettings
    from vibraloom.workflows.cp2k import Cp2kBaseWorkChain

    atoms = water().get_ase()
    settings = Cp2kSettings.from_protocol("fast", "PBE", {"cutoff": 150})
    response = linres_followup(atoms, settings)["linres"]
    response["FORCE_EVAL"]["PROPERTIES"]["LINRES"]["MAX_ITER"] = 1
    results, node = run(
        Cp2kBaseWorkChain,
        job=job(code(), single_point(atoms, settings), followups={"linres": orm.Dict(response)}),
    )
    assert node.is_finished_ok, node.exit_message
    assert handlers(node) == ["repair_linear_response"]
    first, second = jobs(node)
    assert first.exit_status == 320
    assert second.inputs.record["remedies"][0].startswith("response preconditioner:")
    assert second.inputs.parameters.uuid == first.inputs.parameters.uuid or (
        second.inputs.parameters.get_dict() == first.inputs.parameters.get_dict()
    )
    tensor = results["labels"].get_array("polarizability")[0]
    assert np.all(np.linalg.eigvalsh(tensor) > 0.2), "Å³: a molecule is polarisable along every axis"


def test_labels_of_frames_become_a_dataset_that_dpdata_reads_and_a_bad_frame_stops_no_other(
    code: Code, tmp_path: Path
) -> None:
    import dpdata
    from aiida import orm

    from vibraloom.calculators.cp2k.settings import Cp2kSettings
    from vibraloom.calculators.deepmd.training_sets import training_sets, write_training_sets
    from vibraloom.workflows.cp2k_labels import Cp2kLabelWorkChain

    settings = Cp2kSettings.from_protocol("fast", "PBE", {"cutoff": 150})
    marked = 0.5555 - water().get_ase().positions[1, 1]
    results, node = run(
        Cp2kLabelWorkChain,
        code=code(BROKEN_FOR_A_MARKED_FRAME),
        converter=orm.load_code("python@localhost"),
        structures={"a": water(), "b": water(0.05), "c": water(marked)},
        settings=orm.Dict(settings.record()),
        wanted=orm.Dict({"wannier": True, "stress": True, "polarizability": ["field"], "axes": "z"}),
        max_failed=orm.Float(0.4),
    )
    assert node.is_finished_ok, node.exit_message
    assert list(results["failures"].get_dict()) == ["c"]
    dataset = results["dataset"]
    with dataset.as_path() as folder:
        with np.load(folder / "labels.npz", allow_pickle=False) as stored:
            labels = dict(stored)
        sets = training_sets(dataset.to_dataset(), "energy", fraction=0.5, by="frame", seed=1)
        (train,) = write_training_sets(sets, tmp_path / "set")["train"]
        dipoles = training_sets(dataset.to_dataset(), "dipole", fraction=0.5, by="frame", seed=1)
        (of_molecules,) = write_training_sets(dipoles, tmp_path / "dipoles")["train"]
    assert labels["energy"].shape == (2,) and labels["energy"][0] < labels["energy"][1], "a is the relaxed one"
    assert labels["forces"].shape == (2, 3, 3)
    assert 0.3 < labels["polarizability_field"][0, 2, 2] < 1.7
    assert np.abs(labels["dipole"]).max() < 1.0, "e·Å: on the branch of the molecule, whose dipole is 0.4"
    assert np.abs(labels["molecular_dipole"].sum(axis=1) - labels["dipole"]).max() < 0.2
    read = dpdata.LabeledSystem(train, fmt="deepmd/npy")
    assert read.data["virials"].shape == (1, 3, 3) and not read.nopbc
    assert np.allclose(read.data["cells"][0], np.eye(3) * CELL)
    assert dipoles.label == "atomic_dipole" and dipoles.carriers == ("O",)
    learned = np.load(Path(of_molecules) / "set.000" / "atomic_dipole.npy").reshape(3)
    assert np.abs(learned - labels["molecular_dipole"][:, 0]).max(axis=1).min() < 1e-9, "one molecule, its oxygen carries it"
