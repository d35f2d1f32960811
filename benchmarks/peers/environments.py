"""A virtual environment for each peer, so that their requirements do not meet ours or each other's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1]
REQUIREMENTS = BENCHMARKS / "requirements-peers.txt"
ENVIRONMENTS = BENCHMARKS / ".peers"

_BUILD = {"PWTOOLS_EXT_MAKE_TARGET": "clean"}
"""pwtools: leave its Fortran extension out, which needs a compiler; the spectrum from FFTs does not use it."""


def requirements() -> dict[str, str]:
    """Name of each peer and its line in the requirements file."""
    lines = [line.strip() for line in REQUIREMENTS.read_text().splitlines()]
    return {re.split(r"[\s=@]", line)[0]: line for line in lines if line and not line.startswith("#")}


def interpreter(peer: str) -> Path:
    """Python of the environment of ``peer``."""
    return ENVIRONMENTS / peer / "bin" / "python"


def install(peer: str, requirement: str) -> str | None:
    """Make the environment of ``peer``, or keep it if it is complete; returns the last line of a failure, or None."""
    stamp = ENVIRONMENTS / peer / "installed"
    if stamp.is_file() and stamp.read_text() == requirement:
        return None
    log = ENVIRONMENTS / f"{peer}.log"
    ENVIRONMENTS.mkdir(exist_ok=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENTS / peer)], check=True)
    command = [str(interpreter(peer)), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", requirement]
    with log.open("w") as output:
        found = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | _BUILD)
    if found.returncode:
        errors = [line for line in log.read_text().splitlines() if "error" in line.lower()] or [f"see {log}"]
        return f"not installed: {errors[-1].strip()}"
    stamp.write_text(requirement)
    return None


def version(peer: str) -> str:
    """Installed version of ``peer`` and of its NumPy."""
    code = "import sys; from importlib.metadata import version as v; print(v(sys.argv[1]), '(numpy', v('numpy') + ')')"
    found = subprocess.run([interpreter(peer), "-c", code, peer], check=True, capture_output=True, text=True)
    return found.stdout.strip()
