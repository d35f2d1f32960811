"""Inputs of the steps of a spec that CP2K computes: equilibration, production, and polarizabilities along it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.engine import calcfunction
from ase import Atoms

from vibraloom.calculators.cp2k.input_builder import dynamics
from vibraloom.calculators.cp2k.method_sections import boxed
from vibraloom.calculators.cp2k.refusals import refuse
from vibraloom.errors import InputError
from vibraloom.nodes.trajectory import TrajectoryFile
from vibraloom.workflows import parameters
from vibraloom.workflows.clusters import job_options
from vibraloom.workflows.cp2k import in_a_box
from vibraloom.workflows.spec import Spec

AT_ONCE = 8
"""Frames that are labelled at the same time where a scheduler has a queue."""
_FIELDS = {"field_x", "field_y", "field_z"}


@calcfunction
def centred_slab(structure: orm.StructureData) -> orm.StructureData:
    """A slab with half of its vacuum below it: CP2K wants no density at a face of the cell."""
    return orm.StructureData(ase=_placed(structure.get_ase()))


def placed_for_cp2k(structure: orm.StructureData) -> orm.StructureData:
    """The structure as CP2K takes it: a molecule in a box, a slab in the middle of its cell, a bulk as it is."""
    return centred_slab(structure) if sum(structure.pbc) == 2 else in_a_box(structure)


def warnings_of(run: Spec, atoms: Atoms) -> list[str]:
    """What is doubtful about computing this spec by CP2K, one line each.

    Args:
        run: the spec.
        atoms: as it is built, or as :func:`placed_for_cp2k` gives it.

    Raises:
        InputError: what is physically impossible, or a basis set that CP2K's data lacks.
    """
    wanted = {request.quantity for request in run.spectra}
    asked = {"forces"} | ({"dipole"} if "ir" in wanted else set())
    # the absorption of a bulk is a response, too: what makes its polarizability too small does so to it
    if "raman" in wanted or ("ir" in wanted and run.system.kind == "liquid"):
        asked |= _FIELDS
    try:
        return refuse(_placed(atoms), parameters.cp2k_settings(run), asked)
    except InputError as error:
        raise InputError(f"{run.name}: {error}") from error


def _placed(atoms: Atoms) -> Atoms:
    placed_atoms = boxed(atoms)
    if sum(placed_atoms.pbc) == 2:
        placed_atoms = placed_atoms.copy()
        placed_atoms.center(axis=2)
    return placed_atoms


def dynamics_inputs(
    run: Spec,
    codes: Mapping[str, orm.AbstractCode],
    structure: orm.StructureData,
    molecules: list[int],
    replica: int,
    start: orm.RemoteData | None = None,
    *,
    equilibration: bool = False,
) -> dict[str, Any]:
    """Inputs of :class:`vibraloom.workflows.dynamics.Cp2kDynamicsWorkChain`.

    Args:
        run: the spec.
        codes: ``cp2k`` and ``python``.
        structure: as :func:`placed_for_cp2k` gives it.
        molecules: molecule of each atom, -1 on a slab.
        replica: index of the run.
        start: folder of the run whose last positions and velocities this one starts from.
        equilibration: the thermostatted run before the production.
    """
    settings = parameters.cp2k_settings(run)
    md = parameters.cp2k_dynamics(run, replica, equilibration=equilibration)
    atoms = structure.get_ase()
    held = parameters.held_atoms(run, atoms.positions[:, 2], molecules)
    record = {"method": settings.record(), "seed": md.seed, "replica": md.replica, "dynamics": md.model_dump(mode="json")}
    job: dict[str, Any] = {
        "code": codes["cp2k"],
        "converter": codes["python"],
        "structure": structure,
        "parameters": orm.Dict(dynamics(atoms, settings, md, held)),
        "record": orm.Dict(record),
        "metadata": {"options": options_of(run, codes["cp2k"])},
    }
    if start is not None:
        job["start"] = start
    return {"job": job, "interrupted": orm.Str(run.dynamics.interrupted)}


def label_inputs(run: Spec, codes: Mapping[str, orm.AbstractCode], trajectory: TrajectoryFile) -> dict[str, Any]:
    """Inputs of :class:`vibraloom.workflows.cp2k_labels.Cp2kLabelWorkChain`: polarizabilities along a trajectory."""
    return {
        "code": codes["cp2k"],
        "converter": codes["python"],
        "trajectory": trajectory,
        "stride": orm.Int(parameters.polarizability_stride(run) or 1),
        "settings": orm.Dict(parameters.cp2k_settings(run).record()),
        "wanted": orm.Dict({"polarizability": ["field"]}),
        "options": orm.Dict(options_of(run, codes["cp2k"])),
        "at_once": orm.Int(at_once(codes["cp2k"].computer, parameters.cores(run))),
    }


def at_once(computer: orm.Computer, cores: int) -> int:
    """Frames that are labelled at the same time: a queue sorts them out, this machine has room for as many as its cores allow."""
    if computer.scheduler_type != "core.direct":
        return AT_ONCE
    return max(1, (os.cpu_count() or 1) // cores) if computer.transport_type == "core.local" else 1


def options_of(run: Spec, code: orm.AbstractCode) -> dict[str, Any]:
    """``metadata.options`` of a job of CP2K: the spec's cores (processes where the code runs under MPI, else threads), the
    rest from the computer's profile."""
    cores = parameters.cores(run)
    mpi = code.with_mpi is True
    options = job_options(code, cores)
    options.setdefault("resources", {"num_machines": 1, "num_mpiprocs_per_machine": cores if mpi else 1})
    if not mpi:
        options["environment_variables"] = {"OMP_NUM_THREADS": str(cores)}
    return options
