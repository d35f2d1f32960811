"""From the words of a spec to the parameters of each job: one function per job, plain JSON types."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.calculators.cp2k.settings import Cp2kSettings, MdSettings
from vibraloom.calculators.lammps.models import model_charges
from vibraloom.workflows.spec import Spec
from vibraloom.workflows.words import Labels, Model

CHECKPOINT_FRAMES = 500
"""Frames between two checkpoints of the ASE engine."""
CHECKPOINT_STEPS = 2000
"""Steps between two restart files of LAMMPS."""
AXIS_END = 4500.0
"""Upper end of the wavenumber axis of deposited spectra, cm⁻¹."""
LASER_WAVELENGTH = 532.0
"""Default laser, nm."""


def _labels(run: Spec) -> Labels:
    assert run.labels is not None, "a learned run has labels: the spec checks it"
    return run.labels


def _model(run: Spec) -> Model:
    assert run.model is not None, "a learned run has a model: the spec checks it"
    return run.model


def cores(run: Spec) -> int:
    """Cores of one job."""
    return run.resources.cores or 1


def sampling(run: Spec) -> dict[str, Any]:
    """Sampling dynamics."""
    words = _labels(run)
    return {
        "temperature": words.sample.temperature,
        "frames": words.frames,
        "every": words.sample.stride,
        "seed": words.seed,
        "engine": {"kind": words.sample.engine},
    }


def labels(run: Spec) -> dict[str, Any]:
    """Reference calculations."""
    words = _labels(run)
    return {
        "functional": words.functional,
        "basis": words.basis,
        "field": words.field,
        "processes": cores(run),
    }


def dft_modes(run: Spec) -> dict[str, Any]:
    """Harmonic modes at the level of the labels."""
    words = _labels(run)
    return {
        "engine": {"kind": words.engine, "functional": words.functional, "basis": words.basis},
        "polarizability": False,
        "processes": cores(run),
    }


def trainings(run: Spec) -> dict[str, dict[str, Any]]:
    """One training per target."""
    words = _model(run)
    return {target: {"target": target, "steps": getattr(words.steps, target), "seed": words.seed} for target in words.targets}


def ase_dynamics(run: Spec) -> dict[str, Any]:
    """Replica dynamics on the learned surface."""
    words = run.dynamics
    return {
        "temperature": words.temperature,
        "timestep": words.timestep,
        "equilibration": words.equilibration,
        "length": words.length,
        "every": words.every,
        "replicas": words.replicas,
        "seed": words.seed,
        "checkpoint": CHECKPOINT_FRAMES,
        "processes": cores(run),
    }


def model_modes(run: Spec) -> dict[str, Any]:
    """Harmonic modes of the learned surface."""
    return {"polarizability": "polarizability" in _model(run).targets}


def lammps_dynamics(run: Spec, report: dict[str, Any], replica: int) -> dict[str, Any]:
    """Classical dynamics of one replica."""
    words = run.dynamics
    return {
        "settings": {
            "temperature": words.temperature,
            "timestep": words.timestep,
            "equilibration": words.equilibration,
            "length": words.length,
            "every": words.every,
            "seed": words.seed,
            "replica": replica,
            "model": words.model,
            "checkpoint": CHECKPOINT_STEPS,
        },
        "molecules": report["molecule"],
    }


def cp2k_settings(run: Spec) -> Cp2kSettings:
    """Method of first-principles dynamics and response; a metal slab gets smeared occupations."""
    words = run.dynamics
    overrides: dict[str, Any] = {"scf": "diagonalisation", "smearing": {}} if run.is_metal_interface else {}
    if words.basis is not None:
        overrides["basis"] = words.basis
    # committee-water leaves them out: they are then those of its response
    return Cp2kSettings.from_protocol(words.protocol or "balanced", words.functional or "PBE-D3", overrides)


def cp2k_dynamics(run: Spec, replica: int, *, equilibration: bool) -> MdSettings:
    """First-principles dynamics of one replica: the thermostatted part, or the production, whose steps count from 0.

    What is kept at a stride of its own is kept of the production alone.
    """
    words = run.dynamics
    every = round(words.every / words.timestep)
    frames = math.ceil(words.equilibration / words.every - 1e-6) if equilibration else round(words.length / words.every)
    return MdSettings(
        ensemble="NVT" if equilibration else "NVE",
        temperature=words.temperature,
        timestep=words.timestep,
        steps=frames * every,
        seed=words.seed % (2**31 - 1),
        replica=replica,
        every=every,
        wannier_every=0 if equilibration else _steps(run, "wannier_every"),
        hartree_every=0 if equilibration else _steps(run, "potential_every"),
    )


def _steps(run: Spec, key: str) -> int:
    """Steps of a stride of the response; 0 where it is left out."""
    every = getattr(run.response, key)
    return 0 if every is None else round(every / run.dynamics.timestep)


def held_atoms(run: Spec, heights: NDArray[np.floating], molecules: list[int]) -> list[int]:
    """Indices of the slab's atoms in its lowest ``fixed_layers`` planes; none without a slab.

    Args:
        run: the spec.
        heights: (Å) Array with shape (A,), along the slab's normal.
        molecules: molecule of each atom, -1 on the slab.
    """
    if run.system.kind != "interface":
        return []
    slab = np.flatnonzero(np.asarray(molecules) < 0)
    planes, plane = np.unique(np.round(heights[slab], 3), return_inverse=True)
    layers = run.system.slab.fixed_layers
    return [int(index) for index in slab[plane < (len(planes) if layers is None else layers)]]


def label_stride(run: Spec) -> int | None:
    """Frames from one that is labelled by density functional theory to the next; None: none is."""
    every = run.response.polarizability_every or run.response.dipole_every
    return None if every is None else round(every / run.dynamics.every)


def label_axes(run: Spec) -> str:
    """Axes of the fields behind the polarizability: in the plane of an interface, whose vacuum would count along the normal."""
    return "xy" if run.system.kind == "interface" else "xyz"


def charge_response(run: Spec, report: dict[str, Any], numbers: NDArray[np.integer]) -> dict[str, Any]:
    """Response by the charges of the classical model, for atoms with these atomic numbers, shape (A,)."""
    molecules = np.asarray(report["molecule"])
    charges = model_charges(numbers, molecules, run.dynamics.model or "")
    record: dict[str, Any] = {"charges": charges.tolist(), "molecules": report["molecule"]}
    if "layers" in report:
        record["layers"] = {key: report["layers"][key] for key in ("edges", "names", "width")}
    return record


def correlation(run: Spec, report: dict[str, Any]) -> dict[str, Any]:
    """Spectra from the trajectories and responses."""
    record: dict[str, Any] = {
        "kind": run.system.kind,
        "requests": [{"quantity": request.quantity, "by": list(request.by)} for request in run.spectra],
        "temperature": run.dynamics.temperature,
        "integration_timestep": run.dynamics.timestep,
        "axis_end": AXIS_END,
        "laser_wavelength": LASER_WAVELENGTH,
        "molecules": report["molecule"],
    }
    if "layers" in report:
        record["layers"] = {key: report["layers"][key] for key in ("edges", "names", "width")}
        record["area"] = report["area"]
        if run.has_electrons:
            record["bonds_break"] = True
    if "volume" in report:
        record["volume"] = report["volume"]
    return record
