"""kill -9 and Ctrl-C while the dynamics run; the same command then goes on, and nothing is deposited twice."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest

from vibraloom.files.tables import read_csv
from vibraloom.files.trajectory import read_trajectory
from vibraloom.spectra.spectrum import Spectrum

if TYPE_CHECKING:
    from tests.conftest import NewProject, Project

LENGTH = "6 ps"
PATIENCE = 120.0
"""Seconds to wait for a job to reach a point."""


def engines(project: Project) -> list[psutil.Process]:
    """LAMMPS processes that run in the project's job folders."""
    found = []
    for process in psutil.process_iter(["name"]):
        try:
            if process.info["name"] == "lmp" and Path(process.cwd()).is_relative_to(project.folder / ".vibraloom"):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def wait_for_checkpoint(project: Project) -> list[psutil.Process]:
    """Wait until the production run has left a restart file and is still at work."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        running = engines(project)
        if running and list((project.folder / ".vibraloom" / "work").rglob("checkpoint-[ab].restart")):
            return running
        time.sleep(0.02)
    raise AssertionError("the dynamics left no checkpoint in time")


def steps_of(project: Project) -> np.ndarray:
    """Step numbers of the one complete trajectory."""
    trajectories = [read_trajectory(path) for path in (project.folder / ".vibraloom" / "work").rglob("trajectory-00.h5")]
    lengths = {len(trajectory.step) for trajectory in trajectories}
    assert len(lengths) == 1
    return trajectories[0].step


def spectrum_of(project: Project, name: str) -> Spectrum:
    return read_csv(project.folder / "output" / f"{name}.csv")


@pytest.fixture(scope="module")
def undisturbed(new_project: NewProject) -> Project:
    project = new_project()
    project.write_film(LENGTH)
    project.run("run", "film.yaml", "-o", "output")
    return project


@pytest.fixture
def killed_engine(new_project: NewProject) -> Iterator[Callable[[str], Project]]:
    def make(interrupted: str) -> Project:
        project = new_project()
        project.write_film(LENGTH, **{"every: 2 fs": f"every: 2 fs, interrupted: {interrupted}"})
        process = project.start("run", "film.yaml", "-o", "output")
        for engine in wait_for_checkpoint(project):
            engine.send_signal(signal.SIGKILL)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, f"{out}\n{err}"
        return project

    yield make


def test_a_killed_engine_is_rerun_from_its_seed_with_equal_intensities(
    undisturbed: Project, killed_engine: Callable[[str], Project]
) -> None:
    project = killed_engine("rerun")
    np.testing.assert_array_equal(steps_of(project), steps_of(undisturbed))
    for name in ("ir_parallel", "ir_normal", "vdos"):
        reference, found = spectrum_of(undisturbed, name), spectrum_of(project, name)
        np.testing.assert_allclose(found.intensity, reference.intensity, atol=1e-6 * np.abs(reference.intensity).max())
    assert project.run("run", "film.yaml"), "the same command again shows the finished run"
    assert len(project.json("list")) == 3


def test_a_killed_engine_is_continued_within_two_standard_errors(
    undisturbed: Project, killed_engine: Callable[[str], Project]
) -> None:
    project = killed_engine("continue")
    np.testing.assert_array_equal(steps_of(project), steps_of(undisturbed))
    reference, found = spectrum_of(undisturbed, "vdos"), spectrum_of(project, "vdos")
    assert reference.standard_error is not None and found.standard_error is not None
    # two runs that part at the checkpoint: their difference has the errors of both
    error = np.hypot(reference.standard_error, found.standard_error)
    inside = np.abs(found.intensity - reference.intensity) <= 2 * error
    weight = reference.intensity
    assert weight[inside].sum() / weight.sum() > 0.9
    assert len(project.json("list")) == 3
    log = (project.folder / ".vibraloom" / "log" / "vibraloom.jsonl").read_text(encoding="utf-8")
    assert "continuing from its last checkpoint" in log


@pytest.mark.parametrize("blow", ["the command", "the command and the engine", "ctrl-c"])
def test_after_the_command_itself_was_stopped_the_same_command_finishes(
    blow: str, undisturbed: Project, new_project: NewProject
) -> None:
    project = new_project()
    project.write_film(LENGTH)
    process = project.start("run", "film.yaml")
    running = wait_for_checkpoint(project)
    if blow == "ctrl-c":
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "the same command goes on" in err
        assert not engines(project), "no engine is left behind"
    else:
        os.kill(process.pid, signal.SIGKILL)
        for engine in running if "engine" in blow else []:
            engine.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        assert project.json("list") == []
    project.run("run", "film.yaml", "-o", "output")
    assert not engines(project)
    np.testing.assert_array_equal(steps_of(project), steps_of(undisturbed))
    assert len(project.json("list")) == 3
    states = [run["state"] for run in project.json("status")]
    assert states[-1] == "finished"
    assert states[0] in ("killed", "excepted")
    log = (project.folder / ".vibraloom" / "log" / "vibraloom.jsonl").read_text(encoding="utf-8")
    assert "going on from what attempt" in log


def test_two_commands_on_one_spec_do_not_get_in_each_others_way(new_project: NewProject) -> None:
    project = new_project()
    project.write_film(LENGTH)
    first = project.start("run", "film.yaml")
    wait_for_checkpoint(project)
    error = project.run("run", "film.yaml", code=2)
    assert error.count("\n") == 1
    assert "another vibraloom run of this spec is at work" in error
    first.communicate(timeout=300)
    assert first.returncode == 0
    assert len(project.json("list")) == 3
