"""First-principles response of a synthetic trajectory: aligned by step, gaps refused with the frame that failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vibraloom.calculators.cp2k.response_job import main, response_of
from vibraloom.calculators.job import Progress
from vibraloom.errors import InputError
from vibraloom.files.trajectory import Trajectory, write_trajectory

FRAMES, EVERY, STRIDE = 13, 2, 3
STEP = np.arange(FRAMES) * EVERY
LABELLED = STEP[::STRIDE].tolist()


def tensor(step: int) -> np.ndarray[Any, Any]:
    """A polarizability that tells its step."""
    return np.diag([1.0, 2.0, 3.0]) + step


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    return tmp_path


def write(folder: Path, *, dipole: bool = True, name: str = "trajectory-00.h5") -> None:
    observables = {"dipole": np.arange(3.0 * FRAMES).reshape(FRAMES, 3)} if dipole else {}
    places = np.zeros((FRAMES, 1, 3))
    write_trajectory(
        folder / name, Trajectory(np.array([1]), np.array([1.0]), STEP, 0.5, places, places, observables=observables)
    )


def label(folder: Path, steps: list[int], **arrays: Any) -> Path:
    path = folder / "labels-00.npz"
    np.savez(path, **{"polarizability": np.array([tensor(step) for step in steps]), "energy": np.zeros(len(steps)), **arrays})
    path.with_suffix(".json").write_text(json.dumps({"names": [f"step_{step:09d}" for step in steps]}))
    return path


def test_dipole_and_polarizability_stand_at_their_steps(folder: Path) -> None:
    # in any order of the labels
    arrays = response_of("trajectory-00.h5", label(folder, LABELLED[::-1]), STRIDE)
    assert arrays["step"].tolist() == STEP.tolist()
    np.testing.assert_array_equal(arrays["dipole"], np.arange(3.0 * FRAMES).reshape(FRAMES, 3))
    assert arrays["polarizability_step"].tolist() == LABELLED
    for step, found in zip(LABELLED, arrays["polarizability"], strict=True):
        np.testing.assert_array_equal(found, tensor(step))


def test_the_job_writes_one_response_per_replica(folder: Path) -> None:
    write(folder, dipole=False, name="trajectory-01.h5")
    main({"polarizability_stride": None}, Progress(folder))
    with np.load("response-00.npz") as arrays:
        assert set(arrays.files) == {"step", "dipole"}
    with np.load("response-01.npz") as arrays:
        assert set(arrays.files) == {"step"}


def test_a_frame_that_failed_within_the_run_is_named_with_its_reason(folder: Path) -> None:
    label(folder, [step for step in LABELLED if step != 12])
    job = {"polarizability_stride": STRIDE, "failures": {"replica_00": {"step_000000012": "Cp2kBase: the SCF does not converge"}}}
    with pytest.raises(InputError, match=r"labels-00.npz: no polarizability of step 12: .*Cp2kBase: the SCF does not converge"):
        main(job, Progress(folder))
    assert not Path("response-00.npz").exists()


def test_frames_that_failed_at_the_end_leave_a_shorter_series(folder: Path) -> None:
    arrays = response_of("trajectory-00.h5", label(folder, LABELLED[:-1]), STRIDE)
    assert arrays["polarizability_step"].tolist() == LABELLED[:-1]


@pytest.mark.parametrize(
    ("steps", "said"),
    [([0, 6, 7], "step 7 is none of the frames wanted"), ([0, 4, 8], "step 4 is none of the frames wanted")],
)
def test_labels_of_other_frames_are_refused(folder: Path, steps: list[int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        response_of("trajectory-00.h5", label(folder, steps), STRIDE)


def test_damaged_labels_give_one_line(folder: Path) -> None:
    with pytest.raises(InputError, match="no such file; label the frames first"):
        response_of("trajectory-00.h5", "labels-00.npz", STRIDE)
    path = label(folder, LABELLED, polarizability=np.zeros((2, 3, 3)))
    with pytest.raises(InputError, match=r"5 frame names for polarizabilities of shape \(2, 3, 3\)"):
        response_of("trajectory-00.h5", path, STRIDE)
    np.savez(path, energy=np.zeros(5))
    with pytest.raises(InputError, match="has no polarizability"):
        response_of("trajectory-00.h5", path, STRIDE)
    path.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(InputError, match="not the labels of frames"):
        response_of("trajectory-00.h5", path, STRIDE)
    with pytest.raises(InputError, match="run the dynamics first"):
        Path("trajectory-00.h5").unlink()
        main({"polarizability_stride": None}, Progress(folder))
