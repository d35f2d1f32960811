"""A dipole, a tensor and a cell that tests of readers write in every format, and how they read them back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vibraloom.errors import InputError
from vibraloom.files.series import Series, load_series

FRAMES = 6
DIPOLE = np.random.default_rng(3).normal(scale=2.0, size=(FRAMES, 3)).round(7)
TENSOR = np.array([[1.0, 4.0, 6.0], [4.0, 2.0, 5.0], [6.0, 5.0, 3.0]])
"""Six distinct elements: xx yy zz = 1 2 3, xy yz zx = 4 5 6."""
CELL = np.array([[5.0, 0.0, 0.0], [0.9550649, 5.4164426, 0.0], [0.3, -0.4, 6.0]])
"""Triclinic; rows are lattice vectors (Å)."""


def load(path: Path, name: str = "dipole", **options: object) -> Series:
    """The series in a file, without unit and time step unless they are given."""
    return load_series(path, name, **{"unit": None, "timestep": None, **options})  # type: ignore[arg-type]


def refusal(path: Path, name: str = "dipole", **options: object) -> str:
    """The message of a refusal: one line that names the file."""
    with pytest.raises(InputError) as caught:
        load(path, name, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message
