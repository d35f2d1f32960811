"""Programs of this machine, and AiiDA codes made of programs: one code per label and computer."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from aiida import orm

from vibraloom.calculators.lammps.executable import find_lammps
from vibraloom.errors import MissingError

DESCRIPTIONS = {
    "python": "Python of this environment: samples, labels, trainings, responses, correlations",
    "lmp": "LAMMPS for classical models",
    "cp2k": "CP2K: energies, forces, dipoles, first-principles dynamics",
    "dp": "DeePMD-kit's command",
}


@dataclass(frozen=True)
class Program:
    """A program's path, and the variables that its process needs."""

    path: str
    environment: dict[str, str] = field(default_factory=dict)


def program_here(label: str) -> Program | None:
    """The program behind a label on this machine: python, lmp, cp2k or dp; None if it is not installed."""
    interpreter = Path(sys.executable).with_name("python")
    if label == "python":
        # one name for the environment's interpreter, whatever name it was started by
        return Program(str(interpreter if interpreter.exists() else sys.executable))
    if label == "lmp":
        with contextlib.suppress(MissingError):
            found = find_lammps()
            return Program(str(found.path), found.environment)
        return None
    if label == "dp":
        beside = shutil.which("dp", path=str(interpreter.parent)) or shutil.which("dp")
        return None if beside is None else Program(beside)
    for name in ("cp2k.psmp", "cp2k.popt", "cp2k.ssmp", "cp2k"):
        if path := shutil.which(name):
            # Debian's Open MPI ends a program of root at once, and looks for network cards that are not there
            root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"} if os.geteuid() == 0 else {}
            return Program(path, {**root, "OMPI_MCA_btl": "self,vader"})
    return None


def store_code(computer: orm.Computer, label: str, path: str, prepend: str = "", *, mpi: bool | None = None) -> bool:
    """Make sure that ``label@computer`` is this program; an earlier one of that name is kept, renamed and hidden.

    Returns:
        Whether the code was made.
    """
    query = orm.QueryBuilder().append(orm.Computer, filters={"id": computer.pk}, tag="computer")
    query.append(orm.InstalledCode, filters={"label": label}, with_computer="computer")
    for code in query.all(flat=True):
        if str(code.filepath_executable) == path and code.prepend_text == prepend and code.with_mpi == mpi:
            return False
        # its results stay, the label moves on to the new program
        code.label = f"{label}-before-{code.pk}"
        code.is_hidden = True
    code = orm.InstalledCode(label=label, computer=computer, filepath_executable=path, prepend_text=prepend, with_mpi=mpi)
    code.description = DESCRIPTIONS[label]
    code.store()
    return True
