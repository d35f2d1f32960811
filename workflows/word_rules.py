"""What goes together between the words of a spec. Messages begin with ``@key``: the key that is shown with its value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vibraloom.calculators.cp2k.settings import MAGNETIC
from vibraloom.calculators.lammps.models import METAL_MODEL, ClassicalModel, load_model
from vibraloom.structures.crystals import EVEN_SECOND_SIZE
from vibraloom.structures.molecule import LIQUIDS, composition
from vibraloom.structures.spec import InterfaceSystem
from vibraloom.units import SPEED_OF_LIGHT_CM_PER_FS
from vibraloom.workflows.words import COMMITTEE_WATER, Quantity, Target

if TYPE_CHECKING:
    from vibraloom.workflows.spec import Spec

FEWEST_SAMPLES = 7
"""Polarizabilities, or dipoles, along a run that leave room for an error bar of its spectrum."""
LONGEST_STEP = 2.0
"""(fs) Longest time step with hydrogen: at 3.1 fs velocity Verlet has no stable O–H stretch."""
HIGHEST_BAND = 4000.0
"""(cm⁻¹) No band of our molecules with hydrogen lies higher, H2 and HF aside."""
_STRIDES = ("polarizability_every", "dipole_every", "wannier_every", "potential_every")
_OF_DFT = (*_STRIDES, "hydrogen_reference", "hydrogen_reference_error")


def highest_wavenumber(interval: float) -> float:
    """(cm⁻¹) Nyquist limit of frames this far apart (fs): 1 / (2 c dt)."""
    return 1 / (2 * SPEED_OF_LIGHT_CM_PER_FS * interval)


def first_principles_fit(run: Spec, wanted: set[Quantity]) -> None:
    """Refuse words that do not go with CP2K, or not with each other.

    Raises:
        ValueError: ``@key``, and what is allowed.
    """
    for word in ("labels", "model"):
        if getattr(run, word) is not None:
            raise ValueError(f"@{word} allowed: with dynamics.engine ase only; cp2k computes forces and response itself")
    if run.response.model != "dft":
        raise ValueError("@response.model allowed: dft with dynamics.engine cp2k")
    if run.has_electrons:
        _electrons_fit(run, wanted)
    else:
        _network_fits(run, wanted)
    _polarizability_fits(run, wanted)
    for key in _STRIDES:
        _stride_fits(run, key)


def _network_fits(run: Spec, wanted: set[Quantity]) -> None:
    """The committee of networks has energies and forces of bulk water, and nothing else."""
    response = run.response
    if run.system.kind != "liquid" or run.system.molecule != "H2O":
        raise ValueError(f"@dynamics.model allowed: no model here; {COMMITTEE_WATER} knows bulk water alone (kind: liquid, H2O)")
    for key in ("wannier_every", "potential_every", "hydrogen_reference", "hydrogen_reference_error"):
        if getattr(response, key) is not None:
            raise ValueError(f"@response.{key} allowed: with density functional theory; {COMMITTEE_WATER} has no electrons")
    by_dft = response.dipole_every is not None or response.polarizability_every is not None
    if "ir" in wanted and not by_dft:
        raise ValueError(
            f"@spectra allowed: vdos; {COMMITTEE_WATER} has no electrons and so no dipole. For ir give response.dipole_every, "
            "such as '2 fs': frames that far apart are then computed by density functional theory"
        )
    if response.dipole_every is not None and "ir" not in wanted:
        raise ValueError("@response.dipole_every allowed: with ir among the spectra")
    if response.dipole_every is not None and response.polarizability_every is not None:
        raise ValueError("@response.dipole_every allowed: without polarizability_every, whose frames have their dipole, too")
    for key in ("functional", "protocol", "basis"):
        if getattr(run.dynamics, key) is not None and not by_dft:
            raise ValueError(
                f"@dynamics.{key} allowed: with response.dipole_every or polarizability_every; the network itself has none"
            )


def _electrons_fit(run: Spec, wanted: set[Quantity]) -> None:
    response = run.response
    if response.dipole_every is not None:
        raise ValueError(f"@response.dipole_every allowed: with dynamics.model {COMMITTEE_WATER}; here every frame has a dipole")
    if run.system.kind != "interface":
        for key in ("potential_every", "hydrogen_reference", "hydrogen_reference_error"):
            if getattr(response, key) is not None:
                raise ValueError(f"@response.{key} allowed: for an interface, whose vacuum is the level it is measured from")
        return
    if run.system.slab.element in MAGNETIC:
        raise ValueError(
            f"@system.slab.element allowed: a metal whose electrons pair, such as Au or Pt; {run.system.slab.element} has "
            "magnetic moments, and a run from a spec computes paired electrons alone"
        )
    if run.is_metal_interface:
        if "raman" in wanted:
            raise ValueError(
                "@spectra allowed: ir (along the normal) and vdos; without a gap a metal has no polarizability in a periodic "
                "field. Raman of this interface needs a response learned for the water alone"
            )
        if response.wannier_every is not None:
            raise ValueError(
                "@response.wannier_every allowed: without a metal; its partly filled levels have no localised orbitals; the "
                "dipole along the normal is there at every frame"
            )
    if response.hydrogen_reference is not None:
        if not run.is_metal_interface:
            raise ValueError("@response.hydrogen_reference allowed: with a metal; an insulator has no Fermi level to compare")
        if response.potential_every is None:
            raise ValueError("@response.hydrogen_reference allowed: with potential_every, such as '50 fs'")
    if response.hydrogen_reference_error is not None and response.hydrogen_reference is None:
        raise ValueError("@response.hydrogen_reference_error allowed: with hydrogen_reference")


def _polarizability_fits(run: Spec, wanted: set[Quantity]) -> None:
    every = run.response.polarizability_every
    if every is None and "raman" in wanted:
        raise ValueError(
            "@response.polarizability_every allowed: a time such as '2 fs', a multiple of dynamics.every; without it no "
            "polarizability is computed for raman"
        )
    if every is not None and "raman" not in wanted:
        raise ValueError("@response.polarizability_every allowed: with raman among the spectra")


def _stride_fits(run: Spec, key: str) -> None:
    every = getattr(run.response, key)
    if every is None:
        return
    ratio = every / run.dynamics.every
    if round(ratio) < 1 or abs(ratio - round(ratio)) > 1e-6:
        raise ValueError(f"@response.{key} allowed: a multiple of dynamics.every ({run.dynamics.every:g} fs)")
    length = run.dynamics.length
    if key in ("polarizability_every", "dipole_every"):
        longest = length / (FEWEST_SAMPLES - 1)
        if every > longest * (1 + 1e-9):
            what = "polarizabilities" if key == "polarizability_every" else "dipoles"
            raise ValueError(
                f"@response.{key} allowed: at most {longest:.3g} fs in {length:g} fs; an error bar needs {FEWEST_SAMPLES} {what}"
            )
    elif every > length * (1 + 1e-9):
        raise ValueError(f"@response.{key} allowed: at most the length of the run ({length:g} fs)")


def models_fit(run: Spec, wanted: set[Quantity]) -> None:
    """Refuse words that do not go with a learned or a classical model, or not with each other.

    Raises:
        ValueError: ``@key``, and what is allowed.
    """
    learned = run.is_learned
    for word in () if learned else ("labels", "model"):
        if getattr(run, word) is not None:
            raise ValueError(f"@{word} allowed: with dynamics.engine ase only; the model of engine lammps is not trained")
    if learned and (run.labels is None or run.model is None):
        missing = "labels" if run.labels is None else "model"
        raise ValueError(f"@{missing} allowed: the words labels and model, or dynamics with a classical model")
    if run.response.model != "point-charges" and not learned:
        raise ValueError("@response.model allowed: point-charges with a classical model")
    if run.response.model != "learned" and learned:
        raise ValueError("@response.model allowed: learned with a learned model")
    for key in _OF_DFT:
        if getattr(run.response, key) is not None:
            raise ValueError(f"@response.{key} allowed: with dynamics.engine cp2k only")
    if "raman" in wanted and run.response.model == "point-charges":
        raise ValueError("@spectra allowed: ir and vdos; point charges have no polarizability")
    if learned and run.model is not None:
        needed: dict[str, Target] = {"ir": "dipole", "raman": "polarizability", "vdos": "energy"}
        for target in ("energy", *(needed[name] for name in sorted(wanted))):
            if target not in run.model.targets:
                raise ValueError(f"@model.targets allowed: targets that include {target}, which these spectra need")
    if run.system.kind == "liquid":
        raise ValueError("@dynamics.engine allowed: cp2k for a liquid in a periodic cell")
    if run.system.kind == "interface" and learned:
        raise ValueError("@dynamics.model allowed: a classical model such as spc/fw; interfaces are not learned in this release")
    if run.system.kind == "interface" and not run.is_metal_interface:
        raise ValueError("@dynamics.engine allowed: cp2k for a slab of a compound; the classical models know metals alone")
    if run.system.kind == "molecule" and not learned:
        raise ValueError("@dynamics.engine allowed: ase with a learned model, or cp2k, for a molecule")
    if run.system.kind == "interface":
        _classical_interface_fits(run.system, load_model(run.dynamics.model or ""))


def _classical_interface_fits(system: InterfaceSystem, liquid: ClassicalModel) -> None:
    """What the classical models know, and what LAMMPS does with a slab."""
    slab, metals = system.slab, load_model(METAL_MODEL)
    if slab.element not in metals.lj:
        raise ValueError(f"@system.slab.element allowed: {', '.join(metals.lj)}, which the classical model {metals.name} knows")
    known = [name for name in LIQUIDS if composition(name) == liquid.composition]
    if system.liquid.molecule not in known:
        raise ValueError(f"@system.liquid.molecule allowed: {', '.join(known)} with dynamics.model {liquid.name}")
    if not slab.orthogonal and (slab.crystal.lattice, slab.facet) in EVEN_SECOND_SIZE:
        raise ValueError("@system.slab.orthogonal allowed: true with engine lammps: it has no slab correction in a skewed cell")
    if slab.fixed_layers not in (None, slab.layers):
        raise ValueError(
            f"@system.slab.fixed_layers allowed: none given, or all {slab.layers}, with engine lammps, whose slabs never move"
        )


def any_system_fits(run: Spec) -> None:
    """Refuse words that go with no engine.

    Raises:
        ValueError: ``@key``, and what is allowed.
    """
    asked = [request.quantity for request in run.spectra]
    if len(set(asked)) < len(asked):
        raise ValueError("@spectra allowed: each once; both resolutions together as {vdos: {by: [species, layer]}}")
    for request in run.spectra:
        if request.by and request.quantity != "vdos" and (run.system.kind != "interface" or run.is_first_principles):
            raise ValueError(
                f"@spectra allowed: {request.quantity} without 'by'; only vdos has parts, and the ir of a classical interface"
            )
        if "layer" in request.by and run.system.kind != "interface":
            raise ValueError(f"@spectra allowed: 'by: [species]' for a {run.system.kind}; layers need an interface")
    if run.dynamics.timestep > LONGEST_STEP and "H" in composition(_molecule_of(run)):
        raise ValueError(f"@dynamics.timestep allowed: at most {LONGEST_STEP:g} fs with hydrogen, whose bonds swing within 9 fs")


def _molecule_of(run: Spec) -> str:
    system = run.system
    if system.kind == "molecule":
        return system.formula
    return system.molecule if system.kind == "liquid" else system.liquid.molecule


def doubts_about(run: Spec) -> list[str]:
    """What is allowed and yet doubtful in these words, one line each; it is kept with the spectra."""
    words, doubts = run.dynamics, []
    if not words.equilibration and words.engine != "ase":
        doubts.append(
            f"no equilibration: of velocities drawn at {words.temperature:g} K about half the energy goes into the bonds, and so "
            "intensities come out too low; give dynamics.equilibration"
        )
    strides = {"dynamics.every": words.every}
    strides |= {f"response.{key}": getattr(run.response, key) for key in ("dipole_every", "polarizability_every")}
    for key, stride in strides.items():
        if stride is not None and highest_wavenumber(stride) < HIGHEST_BAND:
            doubts.append(
                f"{key} {stride:g} fs: bands above {highest_wavenumber(stride):.0f} cm^-1 are folded down to others' places, and "
                "no bands of such a spectrum are listed; 4 fs and less show them all"
            )
    return doubts
