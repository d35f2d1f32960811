"""The runs of one job share its wall time: the shell lines of the script, with programs that only take time."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from vibraloom.calculators.cp2k.wall_time import NOT_BEGUN, if_in_time, shared_wall_time

NAMES = ["field_x_plus", "field_x_minus", "linres"]


def run_job(folder: Path, seconds: int, durations: dict[str, float], limit: int | None = None) -> dict[str, int]:
    """Run a script like that of a job; name → seconds that each run that was begun found in its input."""
    program = "import sys,time; print(open(sys.argv[1]).read().split()[-3]); time.sleep(float(sys.argv[2]))"
    told = seconds if limit is None else limit
    lines = [shared_wall_time(seconds)]
    for name, duration in durations.items():
        (folder / f"{name}.inp").write_text(f"&GLOBAL\n  PROJECT {name}\n  WALLTIME {told}\n&END GLOBAL\n")
        line = f"{shlex.join([sys.executable, '-c', program, f'{name}.inp', str(duration)])} > {name}.out"
        lines.append(line if name == next(iter(durations)) else if_in_time(name, told, line))
    subprocess.run(["bash"], input="\n".join(lines), text=True, cwd=folder, check=True, timeout=120)
    return {path.stem: int(path.read_text()) for path in folder.glob("*.out")}


def test_each_run_is_told_the_seconds_that_are_left(tmp_path: Path) -> None:
    told = run_job(tmp_path, 100, {"cp2k": 2.0, "field_x_plus": 0.0, "field_x_minus": 0.0})
    assert told["cp2k"] == 100
    assert 60 <= told["field_x_minus"] <= told["field_x_plus"] <= 98
    text = (tmp_path / "field_x_plus.inp").read_text()
    assert text == f"&GLOBAL\n  PROJECT field_x_plus\n  WALLTIME {told['field_x_plus']}\n&END GLOBAL\n", "all else is as written"


def test_a_run_is_not_begun_when_less_is_left_than_the_longest_run_took(tmp_path: Path) -> None:
    told = run_job(tmp_path, 5, {"cp2k": 3.0, "field_x_plus": 0.0, "linres": 0.0})
    assert list(told) == ["cp2k"]
    for name in ("field_x_plus", "linres"):
        assert (tmp_path / f"{name}.err").read_text().startswith(NOT_BEGUN)


def test_a_limit_that_the_input_names_itself_is_not_raised(tmp_path: Path) -> None:
    assert run_job(tmp_path, 100, {"cp2k": 0.0, "field_x_plus": 0.0}, limit=7)["field_x_plus"] == 7


@pytest.mark.parametrize("seconds", [1, 3600])
def test_the_lines_are_shell_that_any_posix_shell_reads(tmp_path: Path, seconds: int) -> None:
    text = "\n".join([shared_wall_time(seconds), *(if_in_time(name, seconds, "true") for name in NAMES)])
    assert subprocess.run(["sh", "-n"], input=text, text=True, check=False, cwd=tmp_path).returncode == 0
