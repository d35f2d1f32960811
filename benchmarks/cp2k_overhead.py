"""What a job costs beyond CP2K: one label of H2O typed by hand, and the same through AiiDA and Slurm.

    .venv/bin/python benchmarks/cp2k_overhead.py [--cutoff RY]

Starts a Slurm of its own on loopback (slurm-wlm and munge must be installed, and the user must be root), makes a project,
and runs the label through the work chain; the bare run starts CP2K in a copy of that job's input, so both compute the same.
The overhead is the wall time of the work chain, from its submission to its end, less the time that CP2K ran in its job by
CP2K's own clock. On a quiet machine that time is the bare run's; where the two differ, something else was at work.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from services.slurm import Slurm  # noqa: E402

ALLOWED_SHARE, ALLOWED_SECONDS = 0.03, 15.0
"""Overhead of a job that is allowed: this share of the bare run, and these seconds."""

RUN = """\
import json, sys, time
from vibraloom.workflows.profile import load_project_profile
load_project_profile()
from aiida import orm
from aiida.engine import run_get_node
from ase.build import molecule
from vibraloom.workflows.clusters import job_options
from vibraloom.workflows.cp2k import Cp2kBaseWorkChain
from vibraloom.workflows.launch import short_runner
with short_runner():
    code = orm.load_code("cp2k@localhost-slurm")
    water, grid = orm.StructureData(ase=molecule("H2O")), {"cutoff": float(sys.argv[1])}
    builder = Cp2kBaseWorkChain.get_builder_from_protocol(code, water, "balanced", grid, job_options(code), functional="PBE")
    start = time.perf_counter()
    _, node = run_get_node(builder)
    seconds = time.perf_counter() - start
(job,) = node.called
print(json.dumps({"ok": node.is_finished_ok, "seconds": seconds, "folder": job.get_remote_workdir()}))
"""


def main() -> None:
    """Run both, print their times and the overhead; exit code 1 if it is above what is allowed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cutoff", type=float, default=400.0, help="Ry; default: the balanced protocol's")
    cutoff = parser.parse_args().cutoff
    cp2k = shutil.which("cp2k.psmp")
    if cp2k is None:
        raise SystemExit("CP2K is missing; run: apt install cp2k")
    with tempfile.TemporaryDirectory(prefix="vibraloom-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "VIBRALOOM_HOME": str(folder / ".vibraloom"),
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "OMPI_MCA_btl": "self,vader",
        }
        slurm = Slurm(folder / "slurm")
        try:
            slurm.start()
            environment |= slurm.environment
            vibraloom = str(Path(sys.executable).with_name("vibraloom"))
            for command in (["init"], ["cluster", "add", "localhost-slurm"]):
                subprocess.run([vibraloom, *command], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
            told = subprocess.run(
                [sys.executable, "-c", RUN, str(cutoff)],
                cwd=folder,
                env=environment,
                check=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            ).stdout
            through = json.loads(told.splitlines()[-1])
            if not through["ok"]:
                raise SystemExit(f"the work chain failed; look into {through['folder']}")
            bare = folder / "bare"
            bare.mkdir()
            for file in ("cp2k.inp", "structure.xyz"):
                shutil.copy(Path(through["folder"]) / file, bare / file)
            start = time.perf_counter()
            with (bare / "cp2k.out").open("wb") as log:
                subprocess.run([cp2k, "-i", "cp2k.inp"], cwd=bare, env=environment, check=True, stdout=log)
            bare_seconds = time.perf_counter() - start
            seconds = json.loads((Path(through["folder"]) / "outcome.json").read_text(encoding="utf-8"))["wall_seconds"]
        finally:
            slurm.stop()
    overhead, allowed = through["seconds"] - seconds, ALLOWED_SHARE * seconds + ALLOWED_SECONDS
    print(f"bare CP2K {bare_seconds:.1f} s; through AiiDA and Slurm {through['seconds']:.1f} s, of which CP2K {seconds:.1f} s")
    print(f"overhead {overhead:.1f} s; allowed {allowed:.1f} s ({ALLOWED_SHARE:.0%} and {ALLOWED_SECONDS:g} s)")
    if overhead > allowed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
