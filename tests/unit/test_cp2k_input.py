"""CP2K's input: its text, the protocols, and what each kind of run asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import fcc111, molecule

from vibraloom.calculators.cp2k.basis_files import VALENCE, Wish, check_names, data_folder
from vibraloom.calculators.cp2k.input_builder import (
    committee_network,
    dynamics,
    field_followups,
    geometry_optimisation,
    linres_followup,
    single_point,
    starting_from,
    vibrations,
    with_restart,
    with_walltime,
)
from vibraloom.calculators.cp2k.input_text import merged, render
from vibraloom.calculators.cp2k.method_sections import boxed, electrons
from vibraloom.calculators.cp2k.property_sections import dipole_operator
from vibraloom.calculators.cp2k.settings import FUNCTIONALS, PROTOCOLS, Cp2kSettings, MdSettings, read_protocol
from vibraloom.errors import InputError


def settings(**entries: Any) -> Cp2kSettings:
    return Cp2kSettings.from_protocol("fast", entries.pop("functional", "PBE-D3"), entries)


def metal(**entries: Any) -> Cp2kSettings:
    return settings(scf="diagonalisation", smearing={"electronic_temperature": 500}, **entries)


def water(edge: float = 6.2, pbc: Any = True) -> Atoms:
    atoms = molecule("H2O", cell=[edge] * 3, pbc=pbc)
    atoms.center()
    return atoms


def md(**entries: Any) -> MdSettings:
    return MdSettings.checked({"temperature": 300.0, "steps": 20, "seed": 3, **entries})


def test_text_follows_the_convention_of_nested_dicts() -> None:
    text = render(
        {
            "GLOBAL": {"PROJECT": "cp2k", "WALLTIME": 60},
            "FORCE_EVAL": {
                "DFT": {"UKS": True, "BASIS_SET_FILE_NAME": ["A", "B"], "MGRID": {"CUTOFF": 300.0}, "QS": {"EPS_DEFAULT": 1e-11}},
                "SUBSYS": {"KIND": [{"_": "O", "BASIS_SET": "X"}, {"_": "H", "BASIS_SET": "Y"}]},
            },
        }
    )
    assert text.splitlines() == [
        "&FORCE_EVAL",
        "  &DFT",
        "    BASIS_SET_FILE_NAME A",
        "    BASIS_SET_FILE_NAME B",
        "    &MGRID",
        "      CUTOFF 300",
        "    &END MGRID",
        "    &QS",
        "      EPS_DEFAULT 1e-11",
        "    &END QS",
        "    UKS .TRUE.",
        "  &END DFT",
        "  &SUBSYS",
        "    &KIND O",
        "      BASIS_SET X",
        "    &END KIND",
        "    &KIND H",
        "      BASIS_SET Y",
        "    &END KIND",
        "  &END SUBSYS",
        "&END FORCE_EVAL",
        "&GLOBAL",
        "  PROJECT cp2k",
        "  WALLTIME 60",
        "&END GLOBAL",
    ]


@pytest.mark.parametrize(
    "content",
    [
        {"GLOBAL": {"PROJECT": "x\nRUN_TYPE MD"}},
        {"GLOBAL": {"PROJECT": "@INCLUDE secret"}},
        {"GLOBAL": {"PROJECT": "${HOME}"}},
        {"GLOBAL": {"PROJECT": "x &END GLOBAL"}},
        {"GLOBAL": {"PROJECT": "x ! rest"}},
        {"GLOBAL": {"PROJECT": ""}},
        {"GLOBAL": {"PROJECT": None}},
        {"GLOBAL": {"PROJECT": float("nan")}},
        {"global": {"PROJECT": "x"}},
        {"GLOBAL": {"@SET": "x"}},
        {"GLOBAL": {1: "x"}},
        {"GLOBAL": {"_": "x\n&DFT"}},
    ],
)
def test_what_cp2k_would_read_as_something_else_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="allowed") as error:
        render(content)
    assert "\n" not in str(error.value)


def test_overrides_are_laid_over_section_by_section() -> None:
    base = {"A": {"X": 1, "Y": 2}, "KIND": [{"_": "O", "B": "x"}, {"_": "H", "B": "y"}], "L": [1, 2]}
    result = merged(base, {"A": {"Y": 3, "Z": {"Q": 1}, "X": None}, "KIND": [{"_": "H", "C": "z"}, {"_": "C"}], "L": [3]})
    assert result == {
        "A": {"Y": 3, "Z": {"Q": 1}},
        "KIND": [{"_": "O", "B": "x"}, {"_": "H", "B": "y", "C": "z"}, {"_": "C"}],
        "L": [3],
    }
    assert base["A"] == {"X": 1, "Y": 2}


def test_protocols_are_described_and_grow_stricter() -> None:
    chosen = [Cp2kSettings.from_protocol(name) for name in PROTOCOLS]
    assert all(len(read_protocol(name)["description"]) > 80 for name in PROTOCOLS)
    assert [one.cutoff for one in chosen] == sorted(one.cutoff for one in chosen)
    assert [one.scf_convergence for one in chosen] == sorted((one.scf_convergence for one in chosen), reverse=True)
    assert len({one.cutoff for one in chosen}) == 3


def test_a_protocol_entry_can_be_replaced_and_is_kept_in_the_record() -> None:
    chosen = Cp2kSettings.from_protocol("balanced", "RPBE-D3", {"cutoff": 500, "elements": {"Au": "DZVP"}})
    assert chosen.record()["cutoff"] == 500 and chosen.record()["protocol"] == "balanced"
    assert chosen.quality("Au") == "DZVP" and chosen.quality("O") == "TZV2P"
    assert Cp2kSettings.model_validate(chosen.record()) == chosen


@pytest.mark.parametrize(
    ("protocol", "functional", "entries", "told"),
    [
        ("quick", "PBE", {}, "fast, balanced, stringent"),
        ("fast", "PBE0", {}, "r2SCAN"),
        ("fast", "PBE", {"cutof": 3}, "did you mean 'cutoff'"),
        ("fast", "PBE", {"cutoff": 10}, "at least 100"),
        ("fast", "PBE", {"elements": {"Xx": "DZVP"}}, "chemical symbols"),
        ("fast", "PBE", {"kpoints": [2, 2, 1]}, "Gamma point only"),
        ("fast", "PBE", {"smearing": {}}, "full or empty"),
        ("fast", "PBE", {"kpoints": [0, 2, 1], "scf": "diagonalisation"}, "from 1 to 64"),
        ("fast", "PBE", {"overrides": {"FORCE_EVAL": {"DFT": {"CHARGE": "1\n@SET"}}}}, "FORCE_EVAL/DFT/CHARGE"),
        ("fast", "PBE", {"overrides": {"GLOBAL": {"RUN_TYPE": "MD"}}}, "RUN_TYPE"),
        ("fast", "PBE", {"overrides": {"EXT_RESTART": {}}}, "EXT_RESTART"),
    ],
)
def test_wrong_settings_say_what_is_allowed(protocol: str, functional: str, entries: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told) as error:
        Cp2kSettings.from_protocol(protocol, functional, entries)
    assert "\n" not in str(error.value)


def test_each_functional_names_its_dispersion_and_pseudopotentials() -> None:
    found = {}
    for name in FUNCTIONALS:
        dft = single_point(water(), settings(functional=name))["FORCE_EVAL"]
        dispersion = dft["DFT"]["XC"].get("VDW_POTENTIAL", {}).get("PAIR_POTENTIAL", {}).get("REFERENCE_FUNCTIONAL")
        oxygen = next(kind for kind in dft["SUBSYS"]["KIND"] if kind["_"] == "O")
        found[name] = (sorted(dft["DFT"]["XC"]["XC_FUNCTIONAL"]), dispersion, oxygen["POTENTIAL"])
    assert found == {
        "PBE": (["PBE"], None, "GTH-PBE-q6"),
        "PBE-D3": (["PBE"], "PBE", "GTH-PBE-q6"),
        "BLYP-D3": (["BECKE88", "LYP"], "BLYP", "GTH-BLYP-q6"),
        "revPBE-D3": (["PBE"], "revPBE", "GTH-PBE-q6"),
        "RPBE-D3": (["GGA_C_PBE", "GGA_X_RPBE"], "RPBE", "GTH-PBE-q6"),
        "r2SCAN": (["MGGA_C_R2SCAN", "MGGA_X_R2SCAN"], None, "GTH-SCAN-q6"),
    }


@pytest.mark.skipif(data_folder() is None, reason="no data of CP2K; apt-get install cp2k")
def test_every_basis_and_potential_that_is_named_is_in_cp2ks_data() -> None:
    folder = data_folder()
    absent = {"Rb", "Nb", "Tc", "Cd", "Sn", "Xe", "Cs", "Hf", "Ta", "Re", "Os", "Ir", "Pt", "Hg", "Tl", "Pb", "Po", "At", "Rn"}
    for functional in ("PBE", "BLYP-D3", "r2SCAN"):
        for basis in ("DZVP", "TZV2P"):
            chosen = settings(functional=functional, basis=basis)
            for element in VALENCE:
                if functional == "BLYP-D3" and element in absent:  # CP2K's data has no BLYP potential for these
                    continue
                part = single_point(Atoms(element, cell=[9.0] * 3, pbc=True), chosen)["FORCE_EVAL"]
                kind = part["SUBSYS"]["KIND"][0]
                basis = Wish(element, kind["BASIS_SET"], "basis", tuple(part["DFT"]["BASIS_SET_FILE_NAME"]))
                check_names([basis, Wish(element, kind["POTENTIAL"], "potential", (part["DFT"]["POTENTIAL_FILE_NAME"],))], folder)


def test_a_missing_potential_says_which_file_has_one(tmp_path: Path) -> None:
    def check(element: str, file: str = "GTH_POTENTIALS", folder: Path | None = tmp_path) -> None:
        check_names([Wish(element, f"GTH-BLYP-q{VALENCE[element]}", "potential", (file,))], folder)

    (tmp_path / "GTH_POTENTIALS").write_text("Pt GTH-PBE-q18 GTH-PBE\n 4 2 12\nO GTH-BLYP-q6 GTH-BLYP\n 2 4\n")
    (tmp_path / "OTHER_POTENTIALS").write_text("Pt GTH-BLYP-q18 #1\n 4 2 12\n")
    check("O")
    with pytest.raises(InputError, match="OTHER_POTENTIALS has it: add that file to FORCE_EVAL/DFT/POTENTIAL_FILE_NAME"):
        check("Pt")
    (tmp_path / "OTHER_POTENTIALS").unlink()
    with pytest.raises(InputError, match="GTH_POTENTIALS has GTH-PBE-q18: take a functional"):
        check("Pt")
    check("Pt", "a file beside the job")
    check("Pt", folder=None)


def test_a_molecule_gets_an_open_box_and_its_own_dipole() -> None:
    atoms = boxed(molecule("H2O"))
    assert np.allclose(0.5 * (atoms.positions.min(axis=0) + atoms.positions.max(axis=0)), np.diag(atoms.cell.array) / 2)
    evaluation = single_point(atoms, settings())["FORCE_EVAL"]
    assert evaluation["SUBSYS"]["CELL"]["PERIODIC"] == "NONE"
    assert evaluation["DFT"]["POISSON"] == {"PERIODIC": "NONE", "POISSON_SOLVER": "MT"}
    assert evaluation["DFT"]["PRINT"]["MOMENTS"]["PERIODIC"] is False
    assert boxed(water()) == water()


def test_a_slab_gets_the_dipole_correction_or_a_solver_of_its_plane() -> None:
    slab = fcc111("Au", (3, 3, 2), vacuum=7.0)
    slab.pbc = (True, True, False)
    three = single_point(slab, metal())["FORCE_EVAL"]
    assert three["SUBSYS"]["CELL"]["PERIODIC"] == "XYZ"
    assert (three["DFT"]["SURFACE_DIPOLE_CORRECTION"], three["DFT"]["SURF_DIP_DIR"]) == (True, "Z")
    plane = single_point(slab, metal(slab="in_plane"))["FORCE_EVAL"]
    assert plane["SUBSYS"]["CELL"]["PERIODIC"] == plane["DFT"]["POISSON"]["PERIODIC"] == "XY"
    assert "SURFACE_DIPOLE_CORRECTION" not in plane["DFT"]


def test_a_metal_is_smeared_with_empty_levels_and_has_only_its_normal_dipole() -> None:
    slab = fcc111("Au", (3, 3, 2), vacuum=7.0)
    slab.pbc = (True, True, False)
    scf = single_point(slab, metal())["FORCE_EVAL"]["DFT"]["SCF"]
    assert "OT" not in scf and scf["SMEAR"]["METHOD"] == "FERMI_DIRAC" and scf["SMEAR"]["ELECTRONIC_TEMPERATURE"] == 500
    assert scf["ADDED_MOS"] == 20  # a fifth of 18 x 11 / 2 occupied levels
    assert dipole_operator(slab, metal()) == "normal"
    assert dipole_operator(slab, metal(kpoints=[2, 2, 1])) == "none"
    dft = single_point(slab, metal())["FORCE_EVAL"]["DFT"]
    # MOMENTS leaves out the images of a pair of basis functions; the dipole correction prints the whole density's
    assert "PRINT" not in dft and dft["SURFACE_DIPOLE_CORRECTION"] is True


def test_charge_and_spin_reach_the_input() -> None:
    dft = single_point(water(), settings(charge=1, multiplicity=2))["FORCE_EVAL"]["DFT"]
    assert (dft["CHARGE"], dft["MULTIPLICITY"], dft["UKS"]) == (1, 2, True)
    assert electrons(water(), settings(charge=1)) == 7


def test_overrides_reach_every_run_and_can_name_an_element_of_their_own() -> None:
    kind = {"_": "Ce", "BASIS_SET": "DZVP-MOLOPT-SR-GTH-q12", "POTENTIAL": "GTH-PBE-q12"}
    entries = {"force_eval": {"dft": {"mgrid": {"ngrids": 5}}, "SUBSYS": {"KIND": [kind]}}}
    chosen = settings(overrides=entries)
    atoms = Atoms("CeO2", [[3, 3, 3], [5, 3, 3], [1, 3, 3]], cell=[9.0] * 3, pbc=True)
    runs = [single_point(atoms, chosen), *field_followups(atoms, chosen).values(), *linres_followup(atoms, chosen).values()]
    runs += [geometry_optimisation(atoms, chosen), vibrations(atoms, chosen), dynamics(atoms, chosen, md())]
    for run in runs:
        assert run["FORCE_EVAL"]["DFT"]["MGRID"]["NGRIDS"] == 5
        assert next(one for one in run["FORCE_EVAL"]["SUBSYS"]["KIND"] if one["_"] == "Ce") == {**kind, "MASS": 140.116}
    assert electrons(atoms, chosen) == 24


def test_fields_come_in_pairs_from_the_main_wavefunction() -> None:
    runs = field_followups(water(), settings(), 0.002, "xz", wannier=True)
    assert list(runs) == ["field_x_plus", "field_x_minus", "field_z_plus", "field_z_minus"]
    for name, run in runs.items():
        dft = run["FORCE_EVAL"]["DFT"]
        assert run["GLOBAL"]["PROJECT"] == name
        assert dft["WFN_RESTART_FILE_NAME"] == "cp2k-RESTART.wfn" and dft["SCF"]["SCF_GUESS"] == "RESTART"
        assert dft["SCF"]["EPS_SCF"] <= 1e-7 and dft["SCF"]["OUTER_SCF"]["EPS_SCF"] == dft["SCF"]["EPS_SCF"]
        assert dft["LOCALIZE"]["PRINT"]["WANNIER_CENTERS"]["FILENAME"] == f"={name}-wannier.xyz"
        assert dft["PRINT"]["MOMENTS"]["FILENAME"] == f"={name}-dipole.dat"
    directions = [run["FORCE_EVAL"]["DFT"]["PERIODIC_EFIELD"]["POLARISATION"] for run in runs.values()]
    assert directions == ["1 0 0", "-1 0 0", "0 0 1", "0 0 -1"]
    free = field_followups(boxed(molecule("H2O")), settings(), axes="y")["field_y_plus"]["FORCE_EVAL"]["DFT"]
    assert free["EFIELD"]["POLARISATION"] == "0 1 0" and "PERIODIC_EFIELD" not in free


@pytest.mark.parametrize(("strength", "axes"), [(0.0, "x"), (0.5, "x"), (0.001, ""), (0.001, "xx"), (0.001, "w")])
def test_a_field_without_sense_is_refused(strength: float, axes: str) -> None:
    with pytest.raises(InputError, match="allowed"):
        field_followups(water(), settings(), strength, axes)


def test_a_subset_of_modes_holds_the_other_atoms() -> None:
    slab = fcc111("Au", (2, 2, 2), vacuum=7.0)
    slab.pbc = (True, True, False)
    run = vibrations(slab, metal(), subset=[7, 3], raman=False)
    assert run["MOTION"]["CONSTRAINT"]["FIXED_ATOMS"]["LIST"] == ["1..3", "5..7"]
    # CP2K would read back moments that are wrong in a metal's cell
    assert not {"PROPERTIES", "PRINT"} & (set(run["FORCE_EVAL"]) | set(run["FORCE_EVAL"]["DFT"]))
    assert run["VIBRATIONAL_ANALYSIS"]["INTENSITIES"] is False
    assert vibrations(water(), settings(), raman=False)["VIBRATIONAL_ANALYSIS"]["INTENSITIES"] is True
    assert geometry_optimisation(slab, metal(), fixed=[0])["MOTION"]["CONSTRAINT"]["FIXED_ATOMS"]["LIST"] == ["1"]
    with pytest.raises(InputError, match="from 0 to 7"):
        vibrations(slab, metal(), subset=[8])


def test_the_dipole_correction_steps_in_the_middle_of_the_vacuum() -> None:
    slab = fcc111("Au", (2, 2, 2), vacuum=7.0)
    slab.pbc = (True, True, False)
    for moved in (0.0, 2.0):  # the slab fills the middle of its cell, then it does not
        slab.positions[:, 2] += moved
        dft = single_point(slab, metal())["FORCE_EVAL"]["DFT"]
        assert dft["SURF_DIP_DIR"] == "Z"
        assert dft["SURF_DIP_POS"] == pytest.approx(moved, abs=1e-6)
    slab.positions[:, 2] -= 2.0 + 1e-6  # its middle in the grid's last layer, which CP2K would read behind its end
    assert single_point(slab, metal())["FORCE_EVAL"]["DFT"]["SURF_DIP_POS"] == 0.0
    narrow = fcc111("Au", (2, 2, 2), vacuum=5.0)
    narrow.pbc = (True, True, False)
    assert "SURF_DIP_POS" not in single_point(narrow, metal())["FORCE_EVAL"]["DFT"]


def test_a_free_molecule_is_relaxed_about_its_heaviest_atom() -> None:
    held = geometry_optimisation(boxed(molecule("CH3OH")), settings())["MOTION"]["CONSTRAINT"]["FIXED_ATOMS"]["LIST"]
    assert [molecule("CH3OH").get_chemical_symbols()[int(number) - 1] for number in held] == ["O"]
    assert "CONSTRAINT" not in geometry_optimisation(water(), settings())["MOTION"], "a cell full of atoms is free to move"


def test_dynamics_print_what_was_asked_at_its_stride() -> None:
    run = dynamics(water(), settings(), md(ensemble="NVT", every=2, wannier_every=4, hartree_every=10))
    prints, dft = run["MOTION"]["PRINT"], run["FORCE_EVAL"]["DFT"]
    assert {prints[key]["EACH"]["MD"] for key in ("TRAJECTORY", "VELOCITIES", "FORCES", "CELL")} == {2}
    assert dft["PRINT"]["MOMENTS"]["EACH"]["MD"] == 2 and dft["PRINT"]["V_HARTREE_CUBE"]["EACH"]["MD"] == 10
    assert dft["LOCALIZE"]["PRINT"]["WANNIER_CENTERS"]["EACH"]["MD"] == 4
    assert "E_DENSITY_CUBE" not in dft["PRINT"]
    assert run["MOTION"]["MD"]["THERMOSTAT"]["TYPE"] == "CSVR"
    assert prints["RESTART"]["EACH"]["MD"] == dft["SCF"]["PRINT"]["RESTART"]["EACH"]["MD"] == 1


def test_masses_are_those_of_the_structure() -> None:
    atoms = water()
    atoms.set_masses([15.999, 2.014, 2.014])
    kinds = {kind["_"]: kind["MASS"] for kind in dynamics(atoms, settings(), md())["FORCE_EVAL"]["SUBSYS"]["KIND"]}
    assert kinds == {"O": 15.999, "H": 2.014}
    atoms.set_masses([15.999, 2.014, 1.008])
    with pytest.raises(InputError, match="one isotope per element"):
        dynamics(atoms, settings(), md())


def test_seed_and_replica_give_reproducible_and_different_velocities() -> None:
    seeds = [dynamics(water(), settings(), md(seed=s, replica=r))["GLOBAL"]["SEED"] for s, r in ((1, 0), (1, 0), (1, 1), (2, 0))]
    assert seeds[0] == seeds[1] and len(set(seeds)) == 3 and min(seeds) > 0


@pytest.mark.parametrize(
    ("entries", "told"),
    [({"every": 3}, "steps"), ({"every": 2, "wannier_every": 3}, "wannier_every"), ({"temperature": 0}, "above 0"),
     ({"ensemble": "NPT"}, "NVE"), ({"restart_every": 0}, "at least 1")],
)  # fmt: skip
def test_wrong_dynamics_say_what_is_allowed(entries: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        md(**entries)


def test_a_continuation_does_the_steps_that_are_left() -> None:
    whole = dynamics(water(), settings(), md())
    rest = with_walltime(with_restart(whole, "previous/cp2k-1.restart", 12, "previous/cp2k-RESTART.wfn"), 3000)
    assert rest["MOTION"]["MD"]["STEPS"] == 8 and whole["MOTION"]["MD"]["STEPS"] == 20
    assert rest["EXT_RESTART"] == {"RESTART_FILE_NAME": "previous/cp2k-1.restart", "RESTART_DEFAULT": True}
    assert rest["FORCE_EVAL"]["DFT"]["SCF"]["SCF_GUESS"] == "RESTART" and rest["GLOBAL"]["WALLTIME"] == 3000
    with pytest.raises(InputError, match="nothing is left"):
        with_restart(whole, "x.restart", 20)
    new = starting_from(whole, "x.restart")
    assert new["EXT_RESTART"]["RESTART_DEFAULT"] is False and new["MOTION"]["MD"]["STEPS"] == 20


def test_the_committee_network_is_for_bulk_water_alone() -> None:
    run = committee_network(water(), md())
    assert run["FORCE_EVAL"]["METHOD"] == "NNP" and len(run["FORCE_EVAL"]["NNP"]["MODEL"]) == 8
    with pytest.raises(InputError, match="H and O"):
        committee_network(molecule("CH3OH", cell=[9.0] * 3, pbc=True), md())
    with pytest.raises(InputError, match="three periodic"):
        committee_network(boxed(molecule("H2O")), md())
