"""How fast CP2K's output is read, and in how much memory: python benchmarks/cp2k_output.py [--frames N] [--atoms A].

Writes a run of water as CP2K 2023.1 prints it (log, positions, velocities, forces, energies, cells, dipoles) into a temporary
folder, converts it in a process of its own, and prints the bytes read per second and the peak memory over the arrays written.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

LOG_OF_A_STEP = """
  The electric/magnetic moments are written to file:
  cp2k-dipole.dat

 ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]:             -1101.218298725792600

 MD| Step number                                          {step:20d}
 MD| Time [fs]                                            {time:20.6f}
"""
SCF_CYCLE = "     1 OT DIIS     0.80E-01    2.1     0.00194970     -1101.2193627785 -1.72E-03\n"
DIPOLE = """  Reference Point [Bohr]             0.00000000     0.00000000     0.00000000
  Charges
    Electronic=    512.00000000    Core=  -512.00000000    Total=     0.00000000
  Dipole vectors are based on the periodic (Berry phase) operator.
  They are defined modulo integer multiples of the cell matrix [Debye].
  [X] [   {edge:.8f}     0.00000000     0.00000000 ] [i]
  [Y]=[    0.00000000    {edge:.8f}     0.00000000 ]*[j]
  [Z] [    0.00000000     0.00000000    {edge:.8f} ] [k]
  Dipole moment [Debye]
    X= {x: .8E} Y= {y: .8E} Z= {z: .8E}   Total= {total:14.8f}
"""
EDGE = 12.4


def write_run(folder: Path, frames: int, atoms: int) -> int:
    """Write the run; returns its bytes."""
    generator = np.random.default_rng(1)
    symbols = ["O", "H", "H"] * (atoms // 3)
    start = generator.uniform(0, EDGE, (atoms, 3))
    names = ("pos", "vel", "frc")
    files = {name: (folder / f"cp2k-{name}-1.xyz").open("w") for name in names}
    with (folder / "cp2k.out").open("w") as log, (folder / "cp2k-dipole.dat").open("w") as dipole:
        log.write("  **** PROGRAM STARTED AT               2026-01-01 00:00:00.000\n")
        log.write(" CP2K| version string:   CP2K version 2023.1\n")
        for step in range(frames):
            title = f"{atoms:8d}\n i = {step:8d}, time = {0.5 * step:12.3f}, E = {-1101.2:20.10f}\n"
            for name, scale in zip(names, (0.02, 3e-4, 0.02), strict=True):
                values = generator.normal(scale=scale, size=(atoms, 3)) + (start if name == "pos" else 0)
                rows = zip(symbols, values.tolist(), strict=True)
                files[name].write(title + "".join(f"{symbol:>3s}{x:21.10f}{y:20.10f}{z:20.10f}\n" for symbol, (x, y, z) in rows))
            moment = generator.normal(scale=0.5, size=3)
            x, y, z = moment
            dipole.write(DIPOLE.format(edge=EDGE * 4.80320427, x=x, y=y, z=z, total=float(np.linalg.norm(moment))))
            log.write(SCF_CYCLE * 25)
            if step == 0:
                log.write("  The electric/magnetic moments are written to file:\n MD_INI| MD initialization\n")
            else:
                log.write(LOG_OF_A_STEP.format(step=step, time=0.5 * step))
        log.write("  **** PROGRAM ENDED AT                 2026-01-02 00:00:00.000\n")
    for handle in files.values():
        handle.close()
    with (folder / "cp2k-1.ener").open("w") as energies, (folder / "cp2k-1.cell").open("w") as cells:
        energies.write("#     Step Nr.\n")
        cells.write("#   Step\n")
        edges = "".join(f"{EDGE if row == column else 0.0:20.10f}" for row in range(3) for column in range(3))
        for step in range(frames):
            energies.write(f"{step:10d}{0.5 * step:20.6f}{0.27:20.9f}{300.0:20.9f}{-1101.2:20.9f}{-1100.9:20.9f}{2.1:20.9f}\n")
            cells.write(f"{step:8d}{0.5 * step:12.3f}{edges}{EDGE**3:25.10f}\n")
    numbers = [8, 1, 1] * (atoms // 3)
    record = {
        "schema": 1,
        "threads": 1,
        "kind": "dynamics",
        "numbers": numbers,
        "masses": [16.0 if number == 8 else 1.0 for number in numbers],
        "cell": (EDGE * np.eye(3)).tolist(),
        "pbc": [True, True, True],
        "timestep": 0.5,
        "steps": frames - 1,
        "every": 1,
        "trajectory": "trajectory-00.h5",
    }
    size = sum(path.stat().st_size for path in folder.iterdir())
    (folder / "job.json").write_text(json.dumps(record))
    return size


def convert(folder: Path) -> tuple[float, float]:
    """Seconds and peak memory (MB) of the converter in a process of its own."""
    command = [sys.executable, "-m", "vibraloom.calculators.cp2k.convert", "job.json"]
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True)
    return time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def main() -> None:
    """Measure one size, after a small run that fills the caches of the compiled loops."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=4000)
    parser.add_argument("--atoms", type=int, default=192)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        small = Path(place) / "small"
        small.mkdir()
        write_run(small, 5, 3)
        idle, base = convert(small)
        large = Path(place) / "large"
        large.mkdir()
        size = write_run(large, options.frames, options.atoms)
        seconds, peak = convert(large)
        outcome = json.loads((large / "outcome.json").read_text())
        if outcome["last_step"] != options.frames - 1:
            raise SystemExit(f"the run was not read whole: {outcome['message']}")
        arrays = (large / "trajectory-00.h5").stat().st_size / 2**20
    rate = size / 1e6 / max(seconds - idle, 1e-9)
    print(f"{size / 1e6:.0f} MB in {seconds:.1f} s, of which {idle:.1f} s start: {rate:.0f} MB/s")
    ratio = (peak - base) / arrays
    print(f"peak {peak:.0f} MB, of which {base:.0f} MB at start; arrays {arrays:.0f} MB: {ratio:.2f} times the arrays")


if __name__ == "__main__":
    main()
