"""The protocol of a job: job.json in, done.json or error.json out."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from vibraloom.calculators.job import Progress, multiple_of_timestep, positive, whole_number
from vibraloom.errors import InputError


def run_script(folder: Path, body: str, job: Any) -> subprocess.CompletedProcess[str]:
    """Run a job whose main has this body."""
    script = folder / "script.py"
    script.write_text(
        "import os, json\n"
        "from vibraloom.calculators.job import run_job\n"
        "from vibraloom.errors import InputError, ComputationError, MissingError\n"
        "def main(job, progress):\n" + textwrap.indent(textwrap.dedent(body), "    ") + "\nrun_job(main)\n"
    )
    text = job if isinstance(job, str) else json.dumps(job)
    (folder / "job.json").write_text(text)
    return subprocess.run(
        [sys.executable, str(script), str(folder / "job.json")], capture_output=True, text=True, check=False
    )


def test_a_finished_job_leaves_versions_and_seconds(tmp_path: Path) -> None:
    result = run_script(tmp_path, "open('result', 'w').write(os.environ['OMP_NUM_THREADS'])", {"threads": 3})
    assert result.returncode == 0, result.stderr
    done = json.loads((tmp_path / "done.json").read_text())
    assert done["versions"]["vibraloom"] and done["wall_seconds"] >= 0
    assert (tmp_path / "result").read_text() == "3"  # it ran inside the job's folder with that many threads
    assert not (tmp_path / "error.json").exists()


@pytest.mark.parametrize(("kind", "code"), [("InputError", 2), ("ComputationError", 3), ("MissingError", 4)])
def test_a_refusal_is_told_in_one_line_with_its_exit_code(tmp_path: Path, kind: str, code: int) -> None:
    result = run_script(tmp_path, f"raise {kind}('frame 3:\\nbad')", {})
    assert result.returncode == code
    assert json.loads((tmp_path / "error.json").read_text()) == {
        "kind": kind,
        "exit_code": code,
        "message": "frame 3: bad",
    }
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "done.json").exists()


def test_a_bug_is_told_as_unexpected_with_a_traceback_on_stderr(tmp_path: Path) -> None:
    result = run_script(tmp_path, "1 / 0", {})
    assert result.returncode == 1
    error = json.loads((tmp_path / "error.json").read_text())
    assert error["kind"] == "Unexpected" and error["message"] == "ZeroDivisionError: division by zero"
    assert "Traceback" in result.stderr


def test_a_second_attempt_forgets_the_first_ones_error(tmp_path: Path) -> None:
    run_script(tmp_path, "raise InputError('x')", {})
    assert (tmp_path / "error.json").exists()
    run_script(tmp_path, "pass", {})
    assert not (tmp_path / "error.json").exists() and (tmp_path / "done.json").exists()


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_job_file_that_is_no_object_is_wrong_input(tmp_path: Path, text: str) -> None:
    assert run_script(tmp_path, "pass", text).returncode == 2
    assert "job.json" in json.loads((tmp_path / "error.json").read_text())["message"]


def test_progress_is_written_at_most_twice_a_second_but_always_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[dict[str, Any]] = []
    monkeypatch.setattr("vibraloom.calculators.job.write_text", lambda path, text: written.append(json.loads(text)))
    progress = Progress(tmp_path)
    for done in range(101):
        progress(done, 100, "frames")
    assert [entry["done"] for entry in written] == [0, 100]


@pytest.mark.parametrize(("every", "steps"), [(1.0, 2), (0.5, 1), (4000, 8000)])
def test_times_become_steps(every: float, steps: int) -> None:
    assert multiple_of_timestep({"every": every}, "every", 0.5) == steps


def test_a_time_between_steps_is_refused_with_a_remedy() -> None:
    with pytest.raises(InputError, match=r"every is 0\.7 fs, no multiple of the timestep 0\.5 fs; take 0\.5 fs"):
        multiple_of_timestep({"every": 0.7}, "every", 0.5)


@pytest.mark.parametrize("value", [0, -1, "3", None, True, float("nan"), float("inf")])
def test_numbers_that_are_not_positive_are_refused(value: Any) -> None:
    with pytest.raises(InputError, match="temperature"):
        positive({"temperature": value}, "temperature")


@pytest.mark.parametrize("value", [0, 1.5, "3", None, True])
def test_counts_that_are_not_integers_are_refused(value: Any) -> None:
    with pytest.raises(InputError, match="replicas"):
        whole_number({"replicas": value}, "replicas")
