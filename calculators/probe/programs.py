"""The programs that a cluster profile may name, and how each says its version."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Program:
    """A program: its name for people, arguments that make it say its version, and the version's pattern."""

    name: str
    arguments: tuple[str, ...]
    version: str


PROGRAMS = {
    "python": Program(
        "a Python with vibraloom",
        ("-c", "import vibraloom, numpy, h5py; print('vibraloom', vibraloom.__version__)"),
        r"(?m)^(vibraloom \S+)$",
    ),
    "lmp": Program("LAMMPS", ("-h",), r"(?m)Massively Parallel Simulator - (.+?)\s*$"),
    "cp2k": Program("CP2K", ("--version",), r"(?m)^\s*(CP2K version \S+)"),
    "dp": Program("DeePMD-kit", ("--version",), r"(?im)^\s*(deepmd-kit v?\S+)"),
}
"""Label of the code → the program behind it."""
