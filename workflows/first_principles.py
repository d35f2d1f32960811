"""Inputs of the steps of a spec that CP2K computes: equilibration, production, and polarizabilities along it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction
from ase import Atoms

from vibraloom.calculators.cp2k.basis_files import AUGMENTED
from vibraloom.calculators.cp2k.input_builder import committee_network, dynamics
from vibraloom.calculators.cp2k.method_sections import boxed
from vibraloom.calculators.cp2k.planar_average import hydrogen_scale
from vibraloom.calculators.cp2k.refusals import Unfit, refuse
from vibraloom.errors import InputError
from vibraloom.nodes.trajectory import TrajectoryFile
from vibraloom.spectra.uncertainty import standard_error
from vibraloom.structures.spec import AnySystem
from vibraloom.workflows import parameters
from vibraloom.workflows.clusters import job_options
from vibraloom.workflows.cp2k import in_a_box
from vibraloom.workflows.spec import Spec
from vibraloom.workflows.words import COMMITTEE_WATER

AT_ONCE = 8
"""Frames that are labelled at the same time where a scheduler has a queue."""


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
    # the absorption of a periodic cell is a response, too: what makes its polarizability too small does so to it
    periodic = run.system.kind != "molecule" and not run.is_metal_interface
    if "raman" in wanted or ("ir" in wanted and periodic):
        asked |= {f"field_{axis}" for axis in parameters.label_axes(run)}
    if run.response.wannier_every is not None:
        asked.add("wannier")
    if run.dynamics.basis == "aug-TZV2P" and (others := sorted(set(atoms.symbols) - AUGMENTED)):
        raise InputError(f"{run.name}: dynamics.basis: aug-TZV2P: not made for {others[0]}; allowed with it: TZV2P or DZVP")
    warnings: list[str] = []
    try:
        if not run.has_electrons:
            committee_network(atoms, parameters.cp2k_dynamics(run, 0, equilibration=False))
            warnings.append(f"{COMMITTEE_WATER}: networks trained on bulk water at ambient conditions")
            if parameters.label_stride(run) is None:
                return warnings
        return [*warnings, *refuse(_placed(atoms), parameters.cp2k_settings(run), asked)]
    except Unfit as error:
        raise InputError(f"{run.name}: {_in_words(run.system, error)}") from error
    except InputError as error:
        raise InputError(f"{run.name}: {error}") from error


def _in_words(system: AnySystem, error: Unfit) -> str:
    """The fault of a cell by the word of the spec that makes it so, with a value that is allowed."""
    if system.kind == "interface" and error.vacuum:
        enough = math.ceil(10 * (system.vacuum + 2 * (error.need - error.have))) / 10
        return f"system.vacuum: {system.vacuum:g} angstrom: {error.reason}; allowed: {enough:g} angstrom or more"
    if system.kind == "interface":
        size = list(system.slab.size)
        size[error.axis] = math.ceil(size[error.axis] * error.need / error.have - 1e-6)
        return f"system.slab.size: {list(system.slab.size)}: {error.reason}; allowed: {size} or more"
    if system.kind == "liquid":
        fewest = math.ceil(system.count * (error.need / error.have) ** 3 - 1e-6)
        return f"system.count: {system.count}: {error.reason}; allowed: {fewest} or more"
    return str(error)


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
    md = parameters.cp2k_dynamics(run, replica, equilibration=equilibration)
    atoms = structure.get_ase()
    record: dict[str, Any] = {"seed": md.seed, "replica": md.replica, "dynamics": md.model_dump(mode="json")}
    if run.has_electrons:
        settings = parameters.cp2k_settings(run)
        held = parameters.held_atoms(run, atoms.positions[:, 2], molecules)
        content = dynamics(atoms, settings, md, held)
        record["method"] = settings.record()
    else:
        content = committee_network(atoms, md)
        record["method"] = {"functional": COMMITTEE_WATER}
    job: dict[str, Any] = {
        "code": codes["cp2k"],
        "converter": codes["python"],
        "structure": structure,
        "parameters": orm.Dict(content),
        "record": orm.Dict(record),
        "metadata": {"options": options_of(run, codes["cp2k"])},
    }
    if start is not None:
        job["start"] = start
    return {"job": job, "interrupted": orm.Str(run.dynamics.interrupted)}


def label_inputs(run: Spec, codes: Mapping[str, orm.AbstractCode], trajectory: TrajectoryFile) -> dict[str, Any]:
    """Inputs of :class:`vibraloom.workflows.cp2k_labels.Cp2kLabelWorkChain`: dipoles or polarizabilities along a trajectory."""
    wanted: dict[str, Any] = {"polarizability": [] if run.response.polarizability_every is None else ["field"]}
    if parameters.label_axes(run) != "xyz":
        wanted["axes"] = parameters.label_axes(run)
    return {
        "code": codes["cp2k"],
        "converter": codes["python"],
        "trajectory": trajectory,
        "stride": orm.Int(parameters.label_stride(run) or 1),
        "settings": orm.Dict(parameters.cp2k_settings(run).record()),
        "wanted": orm.Dict(wanted),
        "options": orm.Dict(options_of(run, codes["cp2k"])),
        "at_once": orm.Int(at_once(codes["cp2k"].computer, parameters.cores(run))),
    }


def response_record(run: Spec, failures: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of the job that gathers the response; ``failures``: replica → name of a frame → reason."""
    record: dict[str, Any] = {"label_stride": parameters.label_stride(run), "failures": dict(failures)}
    if not run.has_electrons and any(request.quantity == "ir" for request in run.spectra):
        record["labelled_dipole"] = True
    return record


def potential_of(run: Spec, reports: Sequence[Mapping[str, Any]]) -> dict[str, float | None] | None:
    """Work function (eV) of an interface and its potential (V) on the scale of the computational hydrogen electrode.

    The standard error is that between replicas; of one run, that of its blocks. The reference's own is added in quadrature.

    Args:
        run: the spec.
        reports: of the production of each replica, with ``work_function_ev`` and ``work_function_standard_error_ev``.

    Returns:
        None where there is no work function: an insulator has no Fermi level, and a thick film no flat vacuum.
    """
    found = [report for report in reports if report.get("work_function_ev") is not None]
    if not found:
        return None
    values = np.array([report["work_function_ev"] for report in found])
    error = found[0].get("work_function_standard_error_ev")
    if len(values) > 1:
        error = float(standard_error(values[:, None])[0])
    mean = float(values.mean())
    record: dict[str, float | None] = {"work_function_ev": mean, "work_function_standard_error_ev": error}
    reference, doubt = run.response.hydrogen_reference, run.response.hydrogen_reference_error
    if reference is not None:
        record |= {
            "potential_cshe_v": hydrogen_scale(mean, 0.0, reference),
            "potential_cshe_standard_error_v": None if error is None else math.hypot(error, doubt or 0.0),
            "hydrogen_reference_v": reference,
            "hydrogen_reference_standard_error_v": doubt,
        }
    return record


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
