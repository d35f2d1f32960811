"""What a CP2K input says of its run: kind, cell and units that are understood, or a refusal; and overrides laid over it."""

from __future__ import annotations

from typing import Any

import pytest
from ase.build import bulk, molecule

from vibraloom.calculators.cp2k.field_response import field_strength
from vibraloom.calculators.cp2k.input_builder import single_point, with_restart
from vibraloom.calculators.cp2k.input_text import render
from vibraloom.calculators.cp2k.job_record import completed, kind_of, record_of
from vibraloom.calculators.cp2k.refusals import refuse
from vibraloom.calculators.cp2k.settings import Cp2kSettings
from vibraloom.calculators.cp2k.wall_time import seconds_of
from vibraloom.errors import InputError

WATER = molecule("H2O", cell=[6, 7, 8], pbc=True)


Section = dict[str, Any]


def run(run_type: str | None = None, *, cell: Section | None = None, motion: Section | None = None) -> Section:
    subsystem = {} if cell is None else {"CELL": cell}
    parameters: dict[str, Any] = {"FORCE_EVAL": {"METHOD": "QS", "SUBSYS": subsystem}}
    parameters |= {} if run_type is None else {"GLOBAL": {"RUN_TYPE": run_type}}
    return parameters | ({} if motion is None else {"MOTION": motion})


def settings(overrides: dict[str, Any]) -> Cp2kSettings:
    return Cp2kSettings.from_protocol("fast", "PBE-D3", {"overrides": overrides})


@pytest.mark.parametrize("run_type", [None, "energy_force", "ENERGY", "WFN_OPT", "LR", "LINEAR_RESPONSE"])
def test_runs_of_one_structure_are_labels(run_type: str | None) -> None:
    assert kind_of(run(run_type)) == "label"


@pytest.mark.parametrize("run_type", ["EHRENFEST_DYN", "RT_PROPAGATION", "PINT", "MC", "TMC", "BAND", "NONE"])
def test_a_run_whose_results_are_not_read_is_no_label(run_type: str) -> None:
    with pytest.raises(InputError, match=f"GLOBAL/RUN_TYPE: {run_type}: results of such a run are not read; allowed: MD"):
        record_of(run(run_type), WATER, {})


@pytest.mark.parametrize("ensemble", ["NPT_I", "NPE_F"])
def test_a_cell_that_moves_is_printed_and_told_to_the_converter(ensemble: str) -> None:
    moving = run("MD", motion={"MD": {"ENSEMBLE": ensemble}})
    assert completed(moving, "cp2k", WATER.cell, WATER.pbc, "structure.xyz")["MOTION"]["PRINT"]["CELL"]["_"] == "ON"
    assert record_of(moving, WATER, {})["changing_cell"] is True
    still = run("MD", motion={"MD": {"ENSEMBLE": "NVT"}})
    assert "changing_cell" not in record_of(still, WATER, {})
    assert "PRINT" not in completed(still, "cp2k", WATER.cell, WATER.pbc, "structure.xyz")["MOTION"]


@pytest.mark.parametrize(
    "cell",
    [
        {"ABC": "[bohr] 20 20 20"},
        {"ABC": "9 9 9", "ALPHA_BETA_GAMMA": "90 90 120"},
        {"ABC": "9 9 9", "ANGLES": "90 90 60"},
        {"CELL_FILE_NAME": "water.cell"},
        {"ABC": "9 9 9", "MULTIPLE_UNIT_CELL": "2 2 2"},
        {"A": "9 0 0", "B": "0 9 0"},
        {"PERIODIC": "XYZ"},
    ],
)
def test_a_cell_that_is_not_understood_is_not_replaced_by_that_of_the_structure(cell: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"FORCE_EVAL/SUBSYS/CELL: .*not understood; allowed: A, B and C"):
        record_of(run(cell=cell), WATER, {})


@pytest.mark.parametrize(
    "cell", [{"ABC": "9 10 1.1D1"}, {"ABC": "[angstrom] 9 10 11"}, {"A": "9 0 0", "B": [0, 10, 0], "C": "0 0 11"}]
)
def test_a_cell_in_angstrom_is_taken_from_the_input(cell: dict[str, Any]) -> None:
    assert record_of(run(cell=cell), WATER, {})["cell"] == [[9, 0, 0], [0, 10, 0], [0, 0, 11]]


@pytest.mark.parametrize("section", ["TRAJECTORY", "VELOCITIES", "FORCES"])
def test_printed_files_in_another_unit_are_refused(section: str) -> None:
    prints = {"PRINT": {section: {"UNIT": "nm"}}}
    with pytest.raises(InputError, match=f"parameters: MOTION/PRINT/{section}/UNIT: 'nm'; allowed"):
        record_of(run("MD", motion=prints), WATER, {})
    with pytest.raises(InputError, match=f"MOTION/PRINT/{section}/UNIT: 'nm'; allowed"):
        settings({"MOTION": prints})


def test_a_run_of_as_many_steps_as_cp2k_makes_by_itself_is_continued() -> None:
    assert with_restart(run("MD", motion={"MD": {}}), "cp2k-1.restart", 1)["MOTION"]["MD"]["STEPS"] == 2


@pytest.mark.parametrize(("limit", "seconds"), [(3600, 3600), ("90", 90), ("01:00:00", 3600), ("100:02:03", 360123)])
def test_a_wall_time_is_read_as_cp2k_reads_it(limit: object, seconds: int) -> None:
    assert seconds_of(limit) == seconds


# --- overrides ---


@pytest.mark.parametrize(
    ("overrides", "place"),
    [
        ({"FORCE_EVAL": "x"}, "FORCE_EVAL"),
        ({"FORCE_EVAL": {"SUBSYS": None}}, "FORCE_EVAL/SUBSYS"),
        ({"FORCE_EVAL": {"DFT": [{"CHARGE": 0}]}}, "FORCE_EVAL/DFT"),
        ({"FORCE_EVAL": {"SUBSYS": {"KIND": [{"BASIS_SET": "DZVP-GTH"}]}}}, "FORCE_EVAL/SUBSYS/KIND"),
        ({"FORCE_EVAL": {"SUBSYS": {"KIND": None}}}, "FORCE_EVAL/SUBSYS/KIND"),
    ],
)
def test_overrides_that_are_no_sections_are_refused(overrides: dict[str, Any], place: str) -> None:
    with pytest.raises(InputError, match=f"overrides: {place}: .*allowed: a "):
        settings(overrides)


def test_one_kind_in_the_overrides_leaves_the_others() -> None:
    changed = settings({"FORCE_EVAL": {"SUBSYS": {"KIND": {"_": "O", "BASIS_SET": "SZV-GTH"}}}})
    kinds = {kind["_"]: kind for kind in single_point(WATER, changed)["FORCE_EVAL"]["SUBSYS"]["KIND"]}
    assert kinds["O"]["BASIS_SET"] == "SZV-GTH" and "POTENTIAL" in kinds["O"] and "BASIS_SET" in kinds["H"]


def test_a_keyword_of_one_kind_can_be_removed() -> None:
    changed = settings({"FORCE_EVAL": {"SUBSYS": {"KIND": [{"_": "O", "MASS": None}, {"_": "He", "MASS": None}]}}})
    kinds = {kind["_"]: kind for kind in single_point(WATER, changed)["FORCE_EVAL"]["SUBSYS"]["KIND"]}
    assert "MASS" not in kinds["O"] and "MASS" not in kinds["He"]


def test_a_backslash_at_the_end_of_a_value_takes_no_line_along() -> None:
    with pytest.raises(InputError, match=r"GLOBAL/PROJECT_NAME: .*backslash at its end"):
        render({"GLOBAL": {"PROJECT_NAME": "water \\ "}})


@pytest.mark.parametrize("dft", [{"SCF": {"SMEAR": {"_": "ON"}}}, {"KPOINTS": {"SCHEME": "MONKHORST-PACK 2 2 2"}}])
@pytest.mark.parametrize("wanted", ["wannier", "field_x", "linres"])
def test_smearing_and_kpoints_in_the_overrides_do_not_get_past_the_refusals(dft: dict[str, Any], wanted: str) -> None:
    crystal = bulk("MgO", "rocksalt", a=4.21, cubic=True) * (2, 2, 2)
    with pytest.raises(InputError, match="overrides: Wannier centres, fields and linear response with DFT/SCF/SMEAR or"):
        refuse(crystal, settings({"FORCE_EVAL": {"DFT": dft}}), [wanted])


def test_the_strength_of_the_fields_is_that_of_their_inputs(tmp_path: Any) -> None:
    field = "&FORCE_EVAL\n &DFT\n  &PERIODIC_EFIELD\n   INTENSITY {} ! a.u.\n  &END\n &END\n&END\n"
    one, other, none = (tmp_path / f"{name}.inp" for name in ("one", "other", "none"))
    for path, strength in ((one, "2.0D-3"), (other, "0.001")):
        path.write_text(field.format(strength))
    none.write_text("&FORCE_EVAL\n&END\n")
    assert field_strength([one]) == 0.002
    with pytest.raises(InputError, match=r"other\.inp: a field of 0\.001 a\.u\., one\.inp has 0\.002"):
        field_strength([one, other])
    with pytest.raises(InputError, match=r"none\.inp: no INTENSITY of a field"):
        field_strength([none])
