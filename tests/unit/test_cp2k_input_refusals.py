"""What CP2K is not asked to do: each refusal names its reason and the way out."""

from __future__ import annotations

from typing import Any

import pytest
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111, molecule

from vibraloom.calculators.cp2k.basis_files import data_folder
from vibraloom.calculators.cp2k.method_sections import boxed
from vibraloom.calculators.cp2k.refusals import refuse, vacuum_axis
from vibraloom.calculators.cp2k.settings import Cp2kSettings
from vibraloom.errors import InputError

SMEARED: dict[str, Any] = {"scf": "diagonalisation", "smearing": {}}


def settings(functional: str = "PBE-D3", **entries: Any) -> Cp2kSettings:
    return Cp2kSettings.from_protocol("balanced", functional, entries)


def gold(size: tuple[int, int, int] = (3, 3, 3), *, periodic: bool = False) -> Atoms:
    slab = fcc111("Au", size, vacuum=8.0)
    slab.pbc = (True, True, periodic)
    return slab


def magnesia(*, slab: bool = False) -> Atoms:
    crystal = bulk("MgO", "rocksalt", a=4.21, cubic=True) * (2, 2, 1 if slab else 2)
    if slab:
        crystal.center(vacuum=8.0, axis=2)
        crystal.pbc = (True, True, False)
    return crystal


def free_water() -> Atoms:
    return boxed(molecule("H2O"))


def cell_of(edge: float) -> Atoms:
    atoms = molecule("H2O", cell=[edge] * 3, pbc=True)
    atoms.center()
    return atoms


@pytest.mark.parametrize(
    ("atoms", "chosen", "wanted", "told"),
    [
        (gold(), settings(**SMEARED), ["wannier"], r"Wannier centres with smearing.*charge density times z.*ideal mirror"),
        (gold(), settings(**SMEARED), ["field_x"], r"periodic field with smearing.*learned for the water alone"),
        (gold(), settings(**SMEARED), ["linres"], r"linear response with smearing"),
        (gold(), settings(), ["wannier"], r"Wannier centres on a metal \(27 atoms of it\).*charge density times z"),
        (magnesia(slab=True), settings(), ["field_z"], r"across the vacuum of a slab.*field_across_vacuum: true"),
        (magnesia(slab=True), settings(), ["linres"], r"across the vacuum of a slab"),
        (magnesia(slab=True), settings(field_across_vacuum=True), ["field_z"], r"dipole correction, which cancels it"),
        (magnesia(slab=True), settings(), ["stress"], r"stress of a cell with vacuum"),
        (magnesia(), settings(scf="diagonalisation", kpoints=[2, 2, 2]), ["wannier"], r"with kpoints.*no kpoints"),
        (magnesia(), settings(scf="diagonalisation", kpoints=[2, 2, 2]), ["dipole"], r"dipole of a metal without vacuum"),
        (magnesia(), settings(scf="diagonalisation"), ["linres"], r"stands on scf: ot"),
        (magnesia(), settings("r2SCAN"), ["linres"], r"r2SCAN.*allowed: the field"),
        (boxed(molecule("NO")), settings(), ["forces"], r"11 valence electrons.*an even multiplicity such as 2"),
        (free_water(), settings(multiplicity=2), ["forces"], r"an odd multiplicity such as 1"),
        (free_water(), settings(charge=9), ["forces"], r"charge: 9 leaves -1 valence electrons"),
        (free_water(), settings(multiplicity=3), ["wannier"], r"paired electrons only"),
        (cell_of(4.5), settings(), ["forces"], r"4.50 Å wide along a.*2.5 Å radius.*repeat the cell"),
        (molecule("H2O"), settings(), ["forces"], r"no volume.*boxed"),
        (molecule("H2O", cell=[9.0] * 3), settings(), ["forces"], r"Å from a face.*boxed"),
        (Atoms("H2O2", [[3, 3, 3], [3, 3, 11], [3, 3, 9], [3, 3, 5]], cell=[6, 6, 14]), settings(), ["forces"], r"twice the mol"),
        (Atoms("H2", cell=[9.0] * 3, pbc=[True, False, False]), settings(), ["forces"], r"one periodic direction"),
        (free_water(), settings(), ["spin"], r"allowed: forces, stress"),
        (Atoms("Ce", cell=[9.0] * 3, pbc=True), settings(), ["forces"], r"element Ce.*FORCE_EVAL/SUBSYS/KIND"),
        (Atoms("Au", cell=[9.0] * 3, pbc=True), settings(basis="aug-TZV2P", multiplicity=2), [], r"not made for Au"),
    ],
)  # fmt: skip
def test_the_impossible_is_refused_with_its_reason(atoms: Atoms, chosen: Cp2kSettings, wanted: list[str], told: str) -> None:
    with pytest.raises(InputError, match=told) as error:
        refuse(atoms, chosen, wanted)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("atoms", "chosen", "wanted", "told"),
    [
        (free_water(), settings(), ["linres", "field_x"], "basis too small for a free molecule"),
        (free_water(), settings(basis="aug-TZV2P"), ["linres", "wannier"], None),
        (cell_of(6.2), settings(), ["field_x"], "6.2 Å wide is too small"),
        (cell_of(10.0), settings(), ["field_x", "field_y", "field_z", "linres", "stress"], None),
        (cell_of(10.0), settings(basis="DZVP"), ["field_x"], "take basis: TZV2P"),
        (cell_of(10.0), settings(cutoff=200), ["linres"], "take cutoff: 300"),
        (cell_of(10.0), settings(charge=2), ["forces"], "uniform background"),
        (magnesia(), settings(), ["wannier", "dipole", "stress"], None),
        (gold((3, 3, 2)), settings(), ["forces"], "needs a gap"),
        (gold(), settings(**SMEARED), ["forces", "dipole"], "only the dipole's component along the slab's normal"),
        (gold(), settings(slab="in_plane", **SMEARED), ["forces"], "no dipole is printed; take slab: dipole_correction"),
        (gold(periodic=True), settings(**SMEARED), ["forces"], "no dipole correction"),
        (gold((1, 1, 3)), settings(kpoints=[4, 4, 1], **SMEARED), ["forces"], None),
        (magnesia(slab=True), settings(), ["wannier", "dipole"], None),
        (boxed(molecule("NO")), settings(multiplicity=2), ["forces"], None),
    ],
)  # fmt: skip
def test_the_possible_passes_with_what_the_record_should_say(
    atoms: Atoms, chosen: Cp2kSettings, wanted: list[str], told: str | None
) -> None:
    warnings = refuse(atoms, chosen, wanted)
    assert (not warnings) if told is None else any(told in line for line in warnings), warnings


def test_water_on_gold_is_still_a_metal_and_on_an_oxide_is_none() -> None:
    wet = gold()
    add_adsorbate(wet, molecule("H2O"), 2.6, "ontop")
    with pytest.raises(InputError, match="on a metal"):
        refuse(wet, settings(), ["wannier"])
    assert refuse(magnesia(slab=True), settings(), ["wannier"]) == []


def test_a_vacuum_is_found_where_it_is() -> None:
    assert vacuum_axis(gold()) == vacuum_axis(gold(periodic=True)) == 2
    assert vacuum_axis(magnesia()) is None
    assert vacuum_axis(cell_of(12.0)) is None  # a molecule in a wide cell is no slab
    assert vacuum_axis(free_water()) is None


@pytest.mark.skipif(data_folder() is None, reason="no data of CP2K; apt-get install cp2k")
def test_a_potential_that_cp2k_does_not_have_is_told_before_it_runs() -> None:
    platinum = fcc111("Pt", (3, 3, 2), vacuum=8.0)
    platinum.pbc = (True, True, False)
    with pytest.raises(InputError, match=r"potential GTH-BLYP-q18 of Pt.*GTH_POTENTIALS has .*GTH-PBE"):
        refuse(platinum, settings("BLYP-D3", **SMEARED), ["forces"])
    assert refuse(platinum, settings("PBE-D3", **SMEARED), ["forces"])


def test_without_data_of_cp2k_on_this_machine_names_are_left_to_cp2k(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vibraloom.calculators.cp2k.refusals.data_folder", lambda: None)
    named = {"FORCE_EVAL": {"SUBSYS": {"KIND": [{"_": "O", "BASIS_SET": "NONE-OF-OURS", "POTENTIAL": "GTH-PBE-q6"}]}}}
    assert not refuse(cell_of(10.0), settings(overrides=named), ["forces"])
