"""Segments of one run: a repeated first step is taken once, what is ambiguous is refused (trap 16)."""

from __future__ import annotations

import numpy as np
import pytest

from vibraloom.errors import InputError
from vibraloom.files.trajectory import Trajectory, join_segments


def segment(steps, timestep: float = 0.5) -> Trajectory:
    steps = np.asarray(steps, dtype=np.int64)
    positions = np.repeat(steps[:, None, None] * 1.0, 3, axis=2)
    return Trajectory(
        np.array([1]), np.array([1.008]), steps, timestep, positions, observables={"dipole": positions[:, 0]}
    )


def test_the_step_that_a_restart_repeats_is_taken_once():
    joined = join_segments([segment([0, 2, 4, 6]), segment([6, 8, 10])])
    assert joined.step.tolist() == [0, 2, 4, 6, 8, 10]
    np.testing.assert_array_equal(joined.positions[:, 0, 0], joined.step)
    np.testing.assert_array_equal(joined.observables["dipole"][:, 0], joined.step)


@pytest.mark.parametrize(
    ("second", "message"), [(segment([8, 10]), "frame 3 has step 8"), (segment([4, 6], 1.0), "another time step")]
)
def test_a_gap_or_another_time_step_is_refused(second, message):
    with pytest.raises(InputError, match=message):
        join_segments([segment([0, 2, 4]), second])
