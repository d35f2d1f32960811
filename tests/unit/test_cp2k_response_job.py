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


def write(folder: Path, *, dipole: bool = True, name: str = "trajectory-00.h5", **observables: np.ndarray[Any, Any]) -> None:
    observables |= {"dipole": np.arange(3.0 * FRAMES).reshape(FRAMES, 3)} if dipole else {}
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
    main({"label_stride": None}, Progress(folder))
    with np.load("response-00.npz") as arrays:
        assert set(arrays.files) == {"step", "dipole"}
    with np.load("response-01.npz") as arrays:
        assert set(arrays.files) == {"step"}


def test_a_frame_that_failed_within_the_run_is_named_with_its_reason(folder: Path) -> None:
    label(folder, [step for step in LABELLED if step != 12])
    job = {"label_stride": STRIDE, "failures": {"replica_00": {"step_000000012": "Cp2kBase: the SCF does not converge"}}}
    with pytest.raises(InputError, match=r"labels-00.npz: no response of step 12: .*Cp2kBase: the SCF does not converge"):
        main(job, Progress(folder))
    assert not Path("response-00.npz").exists()


def test_frames_that_failed_at_the_end_leave_a_shorter_series(folder: Path) -> None:
    arrays = response_of("trajectory-00.h5", label(folder, LABELLED[:-1]), STRIDE)
    assert arrays["polarizability_step"].tolist() == LABELLED[:-1]


def test_a_metal_slab_has_the_component_along_its_normal(folder: Path) -> None:
    write(folder, dipole=False, dipole_normal=np.arange(1.0 * FRAMES))
    arrays = response_of("trajectory-00.h5")
    assert set(arrays) == {"step", "dipole_normal"}
    np.testing.assert_array_equal(arrays["dipole_normal"], np.arange(FRAMES))


CELL = np.diag([6.0, 7.0, 8.0])


def labelled_dipoles(folder: Path, drift: float) -> tuple[Path, np.ndarray[Any, Any]]:
    """Labels with dipoles that grow by ``drift`` e·Å from frame to frame and are folded by the quantum, and the dipoles."""
    true = np.array([2.0, 0.5, -3.0]) + drift * np.arange(len(LABELLED))[:, None]
    folded = true - np.round(true @ np.linalg.inv(CELL)) @ CELL
    quanta = np.broadcast_to(CELL, (len(LABELLED), 3, 3))
    # the labels of a network's trajectory need no polarizability
    names = [f"step_{step:09d}" for step in LABELLED]
    path = folder / "labels-00.npz"
    np.savez(path, dipole_modulo=folded, dipole_quantum=quanta)
    path.with_suffix(".json").write_text(json.dumps({"names": names}))
    return path, true


def test_dipoles_of_labels_are_made_continuous(folder: Path) -> None:
    write(folder, dipole=False)
    path, true = labelled_dipoles(folder, 1.3)
    main({"label_stride": STRIDE, "labelled_dipole": True}, Progress(folder))
    with np.load("response-00.npz") as arrays:
        assert set(arrays.files) == {"step", "dipole_step", "dipole"}
        assert arrays["dipole_step"].tolist() == LABELLED
        np.testing.assert_allclose(np.diff(arrays["dipole"], axis=0), np.diff(true, axis=0), atol=1e-12)
    with pytest.raises(InputError, match="has no polarizability"):
        response_of("trajectory-00.h5", path, STRIDE)


def test_dipoles_of_labels_that_are_too_far_apart_are_refused(folder: Path) -> None:
    path, _ = labelled_dipoles(folder, 3.0)
    with pytest.raises(InputError, match=r"between steps 0 and 6 the dipole changes by nearly half a quantum.*smaller"):
        response_of("trajectory-00.h5", path, STRIDE, labelled_dipole=True)


def test_fields_in_the_plane_of_a_slab_give_the_tensor_in_the_plane(folder: Path) -> None:
    tensors = np.array([[[step + 5.0, 1.2, np.nan], [1.0, 4.0, np.nan], [0.3, 0.2, np.nan]] for step in LABELLED])
    path = label(folder, LABELLED)
    np.savez(path, polarizability_field=tensors)
    found = response_of("trajectory-00.h5", path, STRIDE)["polarizability"]
    for step, one in zip(LABELLED, found, strict=True):
        np.testing.assert_allclose(one, [[step + 5.0, 1.1, 0.0], [1.1, 4.0, 0.0], [0.0, 0.0, 0.0]])


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
    with pytest.raises(InputError, match=r"5 frame names for polarizability of shape \(2, 3, 3\)"):
        response_of("trajectory-00.h5", path, STRIDE)
    np.savez(path, energy=np.zeros(5))
    with pytest.raises(InputError, match="has no polarizability"):
        response_of("trajectory-00.h5", path, STRIDE)
    path.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(InputError, match="not the labels of frames"):
        response_of("trajectory-00.h5", path, STRIDE)
    with pytest.raises(InputError, match="run the dynamics first"):
        Path("trajectory-00.h5").unlink()
        main({"label_stride": None}, Progress(folder))
