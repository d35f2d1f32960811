"""A program that reads CP2K's input and prints as CP2K 2023.1 does, without electrons: free atoms oscillate about their places.

Its dipole is that of point charges, its polarizability diagonal, its potential flat outside the atoms: what a work flow makes of
them is known. For tests of the way from a spec to the database alone.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vibraloom.units import (
    ANGSTROM3_PER_BOHR3,
    ANGSTROM_PER_BOHR,
    ATOMIC_TIME_IN_FS,
    E_ANGSTROM_PER_DEBYE,
    EV_PER_HARTREE,
    SPEED_OF_LIGHT_CM_PER_FS,
)

CHARGES = {"H": 0.4, "O": -0.8, "Mg": 0.8}
WAVENUMBERS = {"H": 3400.0, "O": 700.0}
"""cm⁻¹; other elements oscillate at 400."""
REACH = 0.01
"""(Å) Amplitude along x, y and z."""
POLARIZABILITY = (10.0, 12.0, 14.0)
"""(Å³) xx, yy and zz."""
WORK_FUNCTION = 4.9
"""(eV) At step 0; it grows by :data:`WORK_FUNCTION_DRIFT` per step."""
WORK_FUNCTION_DRIFT = 0.01
Array = NDArray[np.float64]


class Run:
    """One input with its structure."""

    def __init__(self, path: Path) -> None:
        self.text = path.read_text(encoding="utf-8")
        self.name = self.word("PROJECT")
        rows = [line.split() for line in Path(self.word("COORD_FILE_NAME")).read_text(encoding="utf-8").splitlines()[2:]]
        self.symbols = [row[0] for row in rows]
        self.places = np.array([[float(value) for value in row[1:4]] for row in rows])
        self.cell = np.array([[float(value) for value in self.word(axis).split()] for axis in "ABC"])
        self.charges = np.array([CHARGES.get(symbol, 0.0) for symbol in self.symbols])
        held: set[int] = set()
        for line in re.findall(r"^\s*LIST (\S+)$", self.text, re.MULTILINE):
            first, _, last = line.partition("..")
            held |= set(range(int(first) - 1, int(last or first)))
        self.free = np.array([index not in held for index in range(len(rows))])

    def word(self, key: str, default: str | None = None) -> str:
        """Value of the first keyword of this name."""
        found = re.search(rf"^\s*{key} +(.+?)\s*$", self.text, re.MULTILINE)
        if found is None:
            if default is None:
                raise SystemExit(f"no {key} in the input")
            return default
        return found[1]

    def each(self, section: str) -> int:
        """Steps between the prints of a section; 0 where it is not asked for."""
        found = re.search(rf"&{section} ON.*?\bMD (\d+)", self.text, re.DOTALL)
        return 0 if found is None else int(found[1])

    def moved(self, time: float) -> tuple[Array, Array]:
        """(Å, Å/fs) Displacements and velocities at ``time`` in fs, shape (A, 3)."""
        wavenumber = np.array([WAVENUMBERS.get(symbol, 400.0) for symbol in self.symbols])
        frequency = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * wavenumber[:, None]
        phase = np.arange(len(wavenumber))[:, None] + np.arange(3)
        reach = REACH * self.free[:, None]
        return reach * np.sin(frequency * time + phase), reach * frequency * np.cos(frequency * time + phase)


def moments(dipole: Array, cell: Array) -> str:
    """A print of the Berry-phase dipole (e·Å), folded by the quantum."""
    folded = (dipole - np.round(dipole @ np.linalg.inv(cell)) @ cell) / E_ANGSTROM_PER_DEBYE
    rows = [" ".join(f"{value:15.8f}" for value in row / E_ANGSTROM_PER_DEBYE) for row in cell]
    x, y, z = folded
    return (
        "  Reference Point [Bohr]              0.00000000      0.00000000      0.00000000\n  Charges\n"
        "    Electronic=      8.00000000    Core=    -8.00000000    Total=    -0.00000000\n"
        "  Dipole vectors are based on the periodic (Berry phase) operator.\n"
        "  They are defined modulo integer multiples of the cell matrix [Debye].\n"
        f"  [X] [ {rows[0]} ] [i]\n  [Y]=[ {rows[1]} ]*[j]\n  [Z] [ {rows[2]} ] [k]\n"
        "  Dipole moment [Debye]\n"
        f"    X={x:16.8E} Y={y:16.8E} Z={z:16.8E}   Total={np.linalg.norm(folded):17.8f}\n"
    )


def frame(symbols: list[str], values: Array, step: int, time: float) -> str:
    """A frame as CP2K prints it."""
    rows = "".join(
        f" {symbol:>2}" + "".join(f"{value:20.10f}" for value in row) + "\n" for symbol, row in zip(symbols, values, strict=True)
    )
    return f"{len(symbols):8d}\n i = {step:8d}, time = {time:12.3f}, E = {-17.2:20.10f}\n{rows}"


def cube(run: Run, places: Array, level: float) -> str:
    """Potential of an electron (hartree): ``level`` (eV) outside the atoms, lower between them."""
    planes = 120
    heights = run.cell[2, 2] * np.arange(planes) / planes
    inside = (heights > places[:, 2].min() - 1.0) & (heights < places[:, 2].max() + 1.0)
    values = np.where(inside, level - 8.0, level) / EV_PER_HARTREE
    vectors = run.cell / np.array([[2], [2], [planes]]) / ANGSTROM_PER_BOHR
    rows = [(len(places), np.zeros(3)), *zip((2, 2, planes), vectors, strict=True)]
    head = "".join(f"{count:5d}" + "".join(f"{x:12.6f}" for x in row) + "\n" for count, row in rows)
    head += "".join("    1    0.000000" + "".join(f"{x:12.6f}" for x in row / ANGSTROM_PER_BOHR) + "\n" for row in places)
    column = "".join("".join(f" {value:12.5E}" for value in values[at : at + 6]) + "\n" for at in range(0, planes, 6))
    return f"-Quickstep-\n HARTREE POTENTIAL\n{head}{4 * column}"


def dynamics(run: Run) -> None:
    """Print a whole trajectory."""
    steps, timestep = int(run.word("STEPS")), float(run.word("TIMESTEP"))
    every, berry, potential = run.each("TRAJECTORY"), run.each("MOMENTS"), run.each("V_HARTREE_CUBE")
    slab = "SURFACE_DIPOLE_CORRECTION" in run.text
    prints: dict[str, list[str]] = {name: [] for name in ("pos-1.xyz", "vel-1.xyz", "frc-1.xyz", "1.cell", "dipole.dat")}
    energies = ["#     Step Nr.   Time[fs]   Kin.[a.u.]   Temp[K]   Pot.[a.u.]   Cons Qty[a.u.]   UsedTime[s]\n"]
    print(f" MD_PAR| Print MD information every {every:40d} step(s)")
    for step in range(steps + 1):
        time = step * timestep
        shift, velocity = run.moved(time)
        dipole = run.charges @ (run.places + shift)
        if slab:
            print(f"  Total dipole moment perpendicular to \n  the slab [electrons-Angstroem]:    {-dipole[2]:24.10f}")
            if "&SMEAR" in run.text:
                print("  Fermi energy:                                                 0.00000000000000")
        print(" ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]:              -17.200000000000000")
        if berry and step % berry == 0:
            print(" MOMENTS\n  The electric/magnetic moments are written to file:\n  cp2k-dipole.dat")
            prints["dipole.dat"].append(moments(dipole, run.cell))
        if potential and step % potential == 0:
            level = WORK_FUNCTION + WORK_FUNCTION_DRIFT * step
            Path(f"cp2k-v_hartree-1_{step}.cube").write_text(cube(run, run.places + shift, level), encoding="utf-8")
        print(" MD_INI| MD initialization" if step == 0 else f" MD| Step number {step:68d}")
        energies.append(f"{step:10d} {time:20.6f} 0.01 300.0 -17.2 -17.19 0.1\n")
        if step % every == 0:
            atomic = velocity / ANGSTROM_PER_BOHR * ATOMIC_TIME_IN_FS
            for name, values in (("pos", run.places + shift), ("vel", atomic), ("frc", -shift)):
                prints[f"{name}-1.xyz"].append(frame(run.symbols, values, step, time))
            numbers = "".join(f"{value:18.10f}" for value in run.cell.ravel())
            prints["1.cell"].append(f"{step:8d} {time:11.3f}{numbers} {np.linalg.det(run.cell):20.10f}\n")
    for name, parts in prints.items():
        if parts:
            Path(f"cp2k-{name}").write_text("".join(parts), encoding="utf-8")
    Path("cp2k-1.ener").write_text("".join(energies), encoding="utf-8")
    restart = f" &MOTION\n   &MD\n     STEP_START_VAL  {steps}\n   &END MD\n &END MOTION\n &FORCE_EVAL\n &END FORCE_EVAL\n"
    Path("cp2k-1.restart").write_text(restart, encoding="utf-8")


def single(run: Run) -> None:
    """Print energy, forces and dipole, the latter with what a field adds to it."""
    print(" ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]:              -17.200000000000000")
    print(" ATOMIC FORCES in [a.u.]\n # Atom   Kind   Element          X              Y              Z")
    for index, symbol in enumerate(run.symbols):
        print(f" {index + 1:6d} {1:6d}      {symbol:<2}  " + "     0.00000000" * 3)
    print(" SUM OF ATOMIC FORCES           0.00000000     0.00000000     0.00000000     0.00000000")
    dipole = run.charges @ run.places
    if "EFIELD" in run.text:
        field = float(run.word("INTENSITY")) * np.array([float(word) for word in run.word("POLARISATION").split()])
        dipole = dipole + np.array(POLARIZABILITY) / ANGSTROM3_PER_BOHR3 * field * ANGSTROM_PER_BOHR
    Path(f"{run.name}-dipole.dat").write_text(moments(dipole, run.cell), encoding="utf-8")


def main() -> None:
    """Work of ``model_cp2k.py -i INPUT``."""
    run = Run(Path(sys.argv[sys.argv.index("-i") + 1]))
    print("  **** PROGRAM STARTED AT               2026-11-24 12:33:16.753\n CP2K| version string:          CP2K version 2023.1")
    if run.word("RUN_TYPE") == "MD":
        dynamics(run)
    else:
        single(run)
    print("  **** PROGRAM ENDED AT                 2026-11-24 12:33:20.003")


if __name__ == "__main__":
    main()
