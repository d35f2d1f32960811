"""Interfaces and networks from their spec to the database, by a program that prints as CP2K does and whose physics is known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from services import model_cp2k

from vibraloom.calculators.cp2k.sampled import load_sampled
from vibraloom.files.trajectory import read_trajectory

if TYPE_CHECKING:
    from tests.conftest import NewProject, Project

TAKE = """\
from vibraloom.workflows.profile import load_project_profile
load_project_profile()
from aiida import orm
from vibraloom.workflows.codes import store_code
store_code(orm.load_computer("localhost"), "cp2k", {path!r})
"""
DYNAMICS: dict[str, Any] = {
    "engine": "cp2k",
    "protocol": "fast",
    "temperature": "300 K",
    "timestep": "0.5 fs",
    "equilibration": "2 fs",
    "length": "60 fs",
    "every": "0.5 fs",
}
METAL = {"kind": "interface", "slab": {"element": "Al", "facet": 100, "layers": 2, "size": [2, 2]}, "seed": 1}
FILM = {"molecule": "H2O", "count": 2, "density": "0.5 g/cm^3"}
WATER = {"kind": "liquid", "molecule": "H2O", "count": 8, "density": "0.997 g/cm^3", "seed": 7}


@pytest.fixture(scope="module")
def project(new_project: NewProject) -> Project:
    """A project whose code ``cp2k`` is the model of it."""
    project = new_project()
    program = project.folder / "cp2k.psmp"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {model_cp2k.__file__} "$@"\n', encoding="utf-8")
    program.chmod(0o700)
    script = TAKE.format(path=str(program))
    subprocess.run([sys.executable, "-c", script], cwd=project.folder, env=project.environment(), check=True, timeout=60)
    return project


def run(project: Project, name: str, system: dict[str, Any], spectra: list[Any], **words: Any) -> dict[str, dict[str, Any]]:
    """Run a spec of this name; what it deposited, by quantity."""
    content = {"version": 1, "name": name, "system": system, "dynamics": DYNAMICS, "spectra": spectra, **words}
    content["resources"] = {"cores": 1}
    (project.folder / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    project.run("run", f"{name}.yaml", timeout=900)
    return {entry["quantity"]: entry for entry in project.json("list") if entry["context"]["name"] == name}


def trajectory_of(project: Project, ensemble: str, element: int) -> Path:
    """Trajectory of the run in this ensemble whose first atom is of this element."""
    for path in (project.folder / ".vibraloom" / "work").rglob("trajectory-00.h5"):
        job = yaml.safe_load((path.parent / "job.json").read_text(encoding="utf-8"))
        if job.get("dynamics", {}).get("ensemble") == ensemble and job["numbers"][0] == element:
            return path
    raise AssertionError(f"no trajectory of {ensemble}")


def test_a_metal_interface_has_its_response_along_the_normal_and_its_potential(project: Project) -> None:
    response = {"potential_every": "5 fs", "hydrogen_reference": "4.44 V", "hydrogen_reference_error": "0.03 V"}
    system = {**METAL, "liquid": FILM}
    found = run(project, "metal", system, ["ir", {"vdos": {"by": ["species", "layer"]}}], response=response)
    assert set(found) == {"slab_response_normal", "vdos"}
    context = found["slab_response_normal"]["context"]
    assert context["fidelity"] == "DFT"
    assert any("normal has a meaning" in stamp for stamp in context["stamps"])
    assert context["method"]["electronic_structure"]["scf"] == "diagonalisation"
    path = trajectory_of(project, "NVE", 13)
    trajectory = read_trajectory(path)
    charges = np.array([model_cp2k.CHARGES.get({1: "H", 8: "O"}.get(number, "Al"), 0.0) for number in trajectory.numbers])
    along = trajectory.positions[:, :, 2] @ charges
    np.testing.assert_allclose(trajectory.observables["dipole_normal"], along, atol=1e-4)
    steps, work = load_sampled(path, "work_function")
    assert steps.tolist() == list(range(0, 121, 10))
    np.testing.assert_allclose(work, model_cp2k.WORK_FUNCTION + model_cp2k.WORK_FUNCTION_DRIFT * steps, atol=1e-3)
    potential = context["potential"]
    assert potential["work_function_ev"] == pytest.approx(work.mean())
    assert potential["potential_cshe_v"] == pytest.approx(work.mean() - 4.44)
    error = potential["work_function_standard_error_ev"]
    assert error > 0 and potential["potential_cshe_standard_error_v"] == pytest.approx(np.hypot(error, 0.03))
    shown = project.run("show", found["vdos"]["id"])
    assert "against the computational hydrogen electrode" in " ".join(shown.split())


def test_an_insulating_interface_has_response_and_raman_in_its_plane(project: Project) -> None:
    slab = {"material": "MgO", "facet": 100, "layers": 2, "size": [2, 2], "fixed_layers": 1}
    system = {"kind": "interface", "slab": slab, "liquid": FILM, "seed": 1}
    response = {"polarizability_every": "10 fs"}
    found = run(project, "oxide", system, ["ir", "raman", {"vdos": {"by": ["species", "layer"]}}], response=response)
    in_plane = {f"raman_oriented_{pair}" for pair in ("xx", "yy", "xy")}
    assert set(found) == {"slab_response_parallel", "slab_response_normal", "vdos"} | in_plane
    assert found["slab_response_parallel"]["context"]["method"]["electronic_structure"]["scf"] == "ot"
    trajectory = read_trajectory(trajectory_of(project, "NVE", 12))
    member = np.array([12, 8] * 8 + [8, 1, 1] * 2)
    assert trajectory.numbers.tolist() == member.tolist()
    charges = np.where(np.arange(len(member)) < 16, np.where(member == 12, 0.8, -0.8), np.where(member == 8, -0.8, 0.4))
    dipole = np.einsum("fai,a->fi", trajectory.positions, charges)
    np.testing.assert_allclose(np.diff(trajectory.observables["dipole"], axis=0), np.diff(dipole, axis=0), atol=1e-4)
    assert np.ptp(trajectory.positions[:, :8], axis=0).max() == 0, "the lower plane is held"
    (path,) = (
        each
        for each in (project.folder / ".vibraloom" / "work").rglob("response-00.npz")
        if (each.parent / "labels-00.npz").is_file() and "labelled_dipole" not in (each.parent / "job.json").read_text()
    )
    with np.load(path) as arrays:
        for tensor in arrays["polarizability"]:
            np.testing.assert_allclose(tensor, np.diag([*model_cp2k.POLARIZABILITY[:2], 0.0]), atol=1e-2)


def test_frames_of_a_networks_trajectory_give_infrared_and_raman(project: Project) -> None:
    dynamics = {**DYNAMICS, "model": "committee-water"}
    response = {"polarizability_every": "10 fs"}
    work = project.folder / ".vibraloom" / "work"
    of_others = set(work.rglob("labels-00.npz"))
    found = run(project, "network", WATER, ["ir", "raman", "vdos"], dynamics=dynamics, response=response)
    assert {"infrared", "raman_isotropic", "vdos"} <= set(found)
    assert {entry["context"]["fidelity"] for entry in found.values()} == {"ML"}
    assert found["infrared"]["context"]["method"]["electronic_structure"]["basis"] == "DZVP"
    (path,) = set(work.rglob("labels-00.npz")) - of_others
    with np.load(path.with_name("response-00.npz")) as arrays:
        assert arrays["dipole_step"].tolist() == arrays["polarizability_step"].tolist() == list(range(0, 121, 20))
        for tensor in arrays["polarizability"]:
            np.testing.assert_allclose(tensor, np.diag(model_cp2k.POLARIZABILITY), atol=1e-2)
        trajectory = read_trajectory(path.with_name("trajectory-00.h5"))
        charges = np.array([{1: 0.4, 8: -0.8}[number] for number in trajectory.numbers])
        dipole = np.einsum("fai,a->fi", trajectory.positions[::20], charges)
        np.testing.assert_allclose(np.diff(arrays["dipole"], axis=0), np.diff(dipole, axis=0), atol=1e-4)
