"""CP2K inputs for everything that is computed: each function takes atoms and settings and gives a nested dict.

The dict is written by :func:`.input_text.render`; atoms go into ``structure.xyz`` beside it. The main run's PROJECT is
``cp2k``, a follow-up's its own name, so that results are found by name (:data:`PROJECT`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from vibraloom.calculators.cp2k.input_text import merged
from vibraloom.calculators.cp2k.linear_response import RESPONSE_NAME
from vibraloom.calculators.cp2k.method_sections import Section, boundary, force_eval, masses, subsystem
from vibraloom.calculators.cp2k.property_sections import (
    add_prints,
    dipole_operator,
    held_atoms,
    indices,
    linear_response,
    moments,
)
from vibraloom.calculators.cp2k.segments import PROJECT
from vibraloom.calculators.cp2k.settings import Cp2kSettings, MdSettings
from vibraloom.errors import InputError

WAVEFUNCTION_FILE = f"{PROJECT}-RESTART.wfn"
CP2K_STEPS = 3
"""MOTION/MD/STEPS where an input does not say."""
ONE_REPLICA = 1_000_000
FIELD = 0.001
"""(a.u.) Default strength of the periodic field."""
RESPONSE_SCF = 1e-7
"""SCF threshold under a field and for linear response, if the settings' own is looser: a dipole that is off by
1e-6 a.u. moves a polarizability by 5e-4 a.u."""
NETWORK_FOLDER = "NNP/bulkH2O-jcp2020-cnnp"
NETWORK_MEMBERS = 8
_AXIS = re.compile(r"[xyz]{1,3}")


def single_point(
    atoms: Atoms,
    settings: Cp2kSettings,
    *,
    wannier: bool = False,
    stress: bool = False,
    hartree: bool = False,
    density: bool = False,
) -> Section:
    """Energy, forces and dipole of one structure.

    Args:
        atoms: positions and cell in Å, masses in amu.
        settings: the method.
        wannier: centres of the maximally localised Wannier functions too.
        stress: the analytical stress tensor too.
        hartree: the Hartree potential as a cube file too.
        density: the electron density as a cube file too.

    Raises:
        InputError: an element without basis set, or a boundary that CP2K cannot do.
    """
    parameters = _base(atoms, settings, "ENERGY_FORCE", "MEDIUM")
    evaluation = parameters["FORCE_EVAL"]
    evaluation["PRINT"] = {"FORCES": {"_": "ON", "NDIGITS": 12}}
    if stress:
        evaluation["STRESS_TENSOR"] = "ANALYTICAL"
        evaluation["PRINT"]["STRESS_TENSOR"] = {"_": "ON"}
    add_prints(parameters, atoms, settings, PROJECT, 1, wannier, hartree, density)
    return merged(parameters, settings.overrides)


def field_followups(
    atoms: Atoms,
    settings: Cp2kSettings,
    strength: float = FIELD,
    axes: str = "xyz",
    *,
    wannier: bool = False,
) -> dict[str, Section]:
    """Runs in a static field ± along each axis, from the main run's wavefunction; name → input.

    Args:
        atoms, settings: as in :func:`single_point`.
        strength: (a.u.) field, > 0.
        axes: letters of the axes.
        wannier: Wannier centres in each field too: per-molecule polarizabilities come from their shifts.

    Raises:
        InputError: strength or axes are not allowed.
    """
    if not 0 < strength <= 0.05:
        raise InputError(f"cp2k: field strength {strength:g} a.u.; allowed: above 0, at most 0.05, such as 0.001")
    if not _AXIS.fullmatch(axes) or len(set(axes)) != len(axes):
        raise InputError(f"cp2k: field axes {axes!r}; allowed: letters of x, y, z, each once")
    # in a box the Berry-phase operator is 4 % off where the plain one agrees with linear response to 1e-4
    operator = "EFIELD" if boundary(atoms) == "molecule" else "PERIODIC_EFIELD"
    runs: dict[str, Section] = {}
    for axis in axes:
        for sign, word in ((1, "plus"), (-1, "minus")):
            name = f"field_{axis}_{word}"
            run = _followup(atoms, settings, name, "ENERGY", wannier)
            direction = " ".join(str(sign * int(letter == axis)) for letter in "xyz")
            run["FORCE_EVAL"]["DFT"][operator] = {"INTENSITY": strength, "POLARISATION": direction}
            runs[name] = merged(run, settings.overrides)
    return runs


def linres_followup(atoms: Atoms, settings: Cp2kSettings) -> dict[str, Section]:
    """The polarizability by linear response (Luber, Iannuzzi, Hutter, J. Chem. Phys. 141, 094503 (2014)), from the
    main run's wavefunction; name → input."""
    run = _followup(atoms, settings, RESPONSE_NAME, "LINEAR_RESPONSE", False)
    run["FORCE_EVAL"]["PROPERTIES"] = {"LINRES": linear_response(atoms)}
    return {RESPONSE_NAME: merged(run, settings.overrides)}


def geometry_optimisation(atoms: Atoms, settings: Cp2kSettings, fixed: Sequence[int] = ()) -> Section:
    """Relaxation of the positions until the largest force is below the settings' convergence.

    Args:
        atoms, settings: as in :func:`single_point`.
        fixed: indices (from 0) of atoms that stay where they are; of a free molecule the heaviest one, if none is named.
    """
    parameters = _base(atoms, settings, "GEO_OPT", "MEDIUM")
    force = settings.force_convergence
    if not fixed and boundary(atoms) == "molecule" and len(atoms) > 1:
        # the grid pulls at the whole molecule: on H2O it led the optimiser 0.24 Å away along a direction without curvature
        fixed = [int(np.argmax(atoms.get_masses()))]
    parameters["MOTION"] = {
        "GEO_OPT": {
            "TYPE": "MINIMIZATION",
            "OPTIMIZER": "BFGS",
            "MAX_ITER": 200,
            "MAX_FORCE": force,
            "RMS_FORCE": force / 1.5,
            "MAX_DR": 10 * force,
            "RMS_DR": 10 * force / 1.5,
        },
        "PRINT": {"RESTART_HISTORY": {"_": "OFF"}},
        **held_atoms(atoms, fixed),
    }
    return merged(parameters, settings.overrides)


def vibrations(atoms: Atoms, settings: Cp2kSettings, subset: Sequence[int] | None = None, *, raman: bool = True) -> Section:
    """Harmonic modes with infrared and Raman intensities at a relaxed structure.

    Args:
        atoms, settings: as in :func:`single_point`.
        subset: indices (from 0) of the atoms that are displaced (partial Hessian); None for all.
        raman: polarizabilities by linear response at each displacement too.

    Raises:
        InputError: an index is out of range.
    """
    parameters = _base(atoms, settings, "VIBRATIONAL_ANALYSIS", "MEDIUM")
    dipole = dipole_operator(atoms, settings)
    parameters["VIBRATIONAL_ANALYSIS"] = {
        "DX": 0.01,
        # more processes than any job has: CP2K then makes one replica of all of them. With several, each prints its own part
        # of the dipoles, and the order of the displacements is lost.
        "NPROC_REP": ONE_REPLICA,
        # of a metal's slab the slope along the normal is taken from the dipole correction, which CP2K does not read back
        "INTENSITIES": dipole not in ("none", "normal"),
        # six rigid motions are projected out of a free molecule alone
        "FULLY_PERIODIC": boundary(atoms) != "molecule",
        "PRINT": {"MOLDEN_VIB": {"_": "ON"}, "PROGRAM_RUN_INFO": {"_": "ON"}},
    }
    if raman:
        parameters["FORCE_EVAL"]["PROPERTIES"] = {"LINRES": linear_response(atoms)}
    if dipole not in ("none", "normal"):
        # into the log, where the run reads it back for the intensities
        parameters["FORCE_EVAL"]["DFT"]["PRINT"] = {"MOMENTS": moments(dipole)}
    if subset is not None:
        chosen = indices(atoms, subset, "subset")
        held = [index for index in range(len(atoms)) if index not in chosen]
        parameters["MOTION"] = held_atoms(atoms, held)
    return merged(parameters, settings.overrides)


def dynamics(atoms: Atoms, settings: Cp2kSettings, md: MdSettings, fixed: Sequence[int] = ()) -> Section:
    """Born–Oppenheimer molecular dynamics with the dipole of every frame.

    Args:
        atoms, settings: as in :func:`single_point`.
        md: what is integrated and printed.
        fixed: indices (from 0) of atoms that stay where they are.
    """
    parameters = _base(atoms, settings, "MD", "LOW")
    dft = parameters["FORCE_EVAL"]["DFT"]
    # a restart file holds no wavefunction history, so a continued run begins its first steps from another guess: on one
    # H2O, 30 steps over three stops came within 3e-7 Å and 4e-6 D of the run without at EPS_SCF 1e-6. USE_PREV_WF,
    # which has no history, came within 3e-8 Å and 1e-6 D, for a third more SCF cycles.
    dft["QS"] |= {"EXTRAPOLATION": "ASPC", "EXTRAPOLATION_ORDER": 3}
    dft["SCF"]["PRINT"]["RESTART"] = {"BACKUP_COPIES": 1, "EACH": {"MD": md.restart_every, "QS_SCF": 20}}
    _motion(parameters, md, atoms, fixed)
    add_prints(parameters, atoms, settings, PROJECT, md.every, md.wannier_every, md.hartree_every, md.density_every)
    return merged(parameters, settings.overrides)


def network_section(atoms: Atoms) -> Section:
    """``NNP``: the committee of eight neural networks for bulk water that ships with CP2K's data
    (Schran, Brezina, Marsalek, J. Chem. Phys. 153, 104105 (2020)).

    Raises:
        InputError: an element other than H and O, or a cell that is not periodic.
    """
    others = sorted(set(atoms.get_chemical_symbols()) - {"H", "O"})
    if others:
        raise InputError(f"structure: {others[0]}: the committee network was trained on liquid water; allowed: H and O")
    if boundary(atoms) != "bulk":
        raise InputError("structure: pbc: the committee network was trained on bulk water; allowed: three periodic directions")
    return {
        "NNP_INPUT_FILE_NAME": f"{NETWORK_FOLDER}/nnp-1/input.nn",
        "SCALE_FILE_NAME": f"{NETWORK_FOLDER}/nnp-1/scaling.data",
        "MODEL": [{"WEIGHTS": f"{NETWORK_FOLDER}/nnp-{k}/weights"} for k in range(1, NETWORK_MEMBERS + 1)],
    }


def committee_network(atoms: Atoms, md: MdSettings) -> Section:
    """Dynamics with the network of :func:`network_section`; no electrons, so no dipole.

    Raises:
        InputError: see :func:`network_section`.
    """
    network = {**network_section(atoms), "PRINT": {"FORCES_SIGMA": {"_": "ON", "EACH": {"MD": md.every}}}}
    kinds = [{"_": symbol, "MASS": mass} for symbol, mass in sorted(masses(atoms).items())]
    parameters: Section = {
        "GLOBAL": {"PROJECT": PROJECT, "RUN_TYPE": "MD", "PRINT_LEVEL": "LOW"},
        "FORCE_EVAL": {"METHOD": "NNP", "NNP": network, "SUBSYS": {**subsystem(atoms), "KIND": kinds}},
    }
    _motion(parameters, md, atoms, ())
    return parameters


def with_restart(parameters: Mapping[str, Any], restart_file: str, step: int, wavefunction: str | None = None) -> Section:
    """The exact continuation of a run: positions, velocities, thermostat, random numbers and counters go on.

    Args:
        parameters: input of the uninterrupted run; STEPS counts from step 0.
        restart_file: CP2K's restart file, relative to the job's folder.
        step: the step that the restart file holds.
        wavefunction: CP2K's wavefunction file of about that step; None for a guess from atoms (or a network).

    Raises:
        InputError: nothing is left to do.
    """
    result = merged(parameters, {"EXT_RESTART": {"RESTART_FILE_NAME": restart_file, "RESTART_DEFAULT": True}})
    dynamics_section = result.get("MOTION", {}).get("MD")
    if dynamics_section is not None:
        steps = int(dynamics_section.get("STEPS", CP2K_STEPS))
        left = steps - step
        if left < 1:
            raise InputError(f"{restart_file}: holds step {step} of {steps}; nothing is left to run")
        dynamics_section["STEPS"] = left
    return _from_wavefunction(result, wavefunction)


def starting_from(parameters: Mapping[str, Any], restart_file: str, wavefunction: str | None = None) -> Section:
    """A new run (step 0) from the positions, velocities and cell at which another one ended."""
    taken = {"RESTART_POS": True, "RESTART_VEL": True, "RESTART_CELL": True}
    restart = {"RESTART_FILE_NAME": restart_file, "RESTART_DEFAULT": False, **taken}
    return _from_wavefunction(merged(parameters, {"EXT_RESTART": restart}), wavefunction)


def with_walltime(parameters: Mapping[str, Any], seconds: int) -> Section:
    """The same input, stopped cleanly after ``seconds`` of wall time.

    Raises:
        InputError: not above 0.
    """
    if seconds < 1:
        raise InputError(f"cp2k: walltime {seconds} s; allowed: 1 or more")
    return merged(parameters, {"GLOBAL": {"WALLTIME": int(seconds)}})


def _from_wavefunction(parameters: Section, wavefunction: str | None) -> Section:
    if wavefunction is None or "DFT" not in parameters.get("FORCE_EVAL", {}):
        return parameters  # a network has no wavefunction
    dft = {"WFN_RESTART_FILE_NAME": wavefunction, "SCF": {"SCF_GUESS": "RESTART"}}
    return merged(parameters, {"FORCE_EVAL": {"DFT": dft}})


def _base(atoms: Atoms, settings: Cp2kSettings, run_type: str, level: str, project: str = PROJECT) -> Section:
    return {
        "GLOBAL": {"PROJECT": project, "RUN_TYPE": run_type, "PRINT_LEVEL": level},
        "FORCE_EVAL": force_eval(atoms, settings),
    }


def _followup(atoms: Atoms, settings: Cp2kSettings, name: str, run_type: str, wannier: bool) -> Section:
    run = _base(atoms, settings, run_type, "MEDIUM", name)
    add_prints(run, atoms, settings, name, 1, wannier, False, False)
    tight = min(settings.scf_convergence, RESPONSE_SCF)
    scf = run["FORCE_EVAL"]["DFT"]["SCF"]
    scf["EPS_SCF"] = tight
    if "OUTER_SCF" in scf:
        scf["OUTER_SCF"]["EPS_SCF"] = tight
    return _from_wavefunction(run, WAVEFUNCTION_FILE)


def _motion(parameters: Section, md: MdSettings, atoms: Atoms, fixed: Sequence[int]) -> None:
    # a seed for velocities and thermostat that differs for each seed and replica
    seed = int(np.random.SeedSequence([md.seed, md.replica]).generate_state(1)[0] % 899_999_999) + 1
    parameters["GLOBAL"]["SEED"] = seed
    integration: Section = {
        "ENSEMBLE": md.ensemble,
        "STEPS": md.steps,
        "TIMESTEP": md.timestep,
        "TEMPERATURE": md.temperature,
    }
    if md.ensemble == "NVT":
        # Bussi, Donadio, Parrinello, J. Chem. Phys. 126, 014101 (2007)
        integration["THERMOSTAT"] = {"TYPE": "CSVR", "REGION": "GLOBAL", "CSVR": {"TIMECON": md.thermostat_time}}
    each = {"_": "ON", "EACH": {"MD": md.every}}
    prints: Section = {
        "TRAJECTORY": {**each, "FORMAT": "XYZ"},
        "VELOCITIES": each,
        "FORCES": each,
        "CELL": each,
        # after a kill the newest file may be ahead of the frames that can be read: an older one is needed then
        "RESTART": {"BACKUP_COPIES": 3, "EACH": {"MD": md.restart_every}},
        "RESTART_HISTORY": {"_": "OFF"},
    }
    parameters["MOTION"] = {"MD": integration, "PRINT": prints, **held_atoms(atoms, fixed)}
