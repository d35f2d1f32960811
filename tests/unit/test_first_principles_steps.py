"""From the words of a spec to what CP2K is asked for, and to what the spectra say of themselves."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from vibraloom.app.cli.show import _potential
from vibraloom.calculators.cp2k.input_builder import dynamics
from vibraloom.errors import InputError
from vibraloom.spectra.uncertainty import student_factor
from vibraloom.structures.build import build
from vibraloom.workflows import parameters
from vibraloom.workflows.context import context_of
from vibraloom.workflows.first_principles import AT_ONCE, at_once, potential_of, response_record, warnings_of
from vibraloom.workflows.launch import check_first_principles
from vibraloom.workflows.spec import Spec, load_spec

EXAMPLES = Path(__file__).parents[2] / "examples"


def water(**dynamics_words: Any) -> Spec:
    content = yaml.safe_load((EXAMPLES / "water8-aimd.yaml").read_text(encoding="utf-8"))
    content["dynamics"] |= dynamics_words
    return Spec.model_validate(content)


def slab(fixed_layers: int | None) -> Spec:
    content = yaml.safe_load((EXAMPLES / "au111-water.yaml").read_text(encoding="utf-8"))
    content["system"]["slab"] |= {"layers": 3, "size": [4, 4], "fixed_layers": fixed_layers}
    content["system"]["liquid"] = {"molecule": "H2O", "count": 16, "density": "0.997 g/cm^3"}
    content["dynamics"] = {"engine": "cp2k", "length": "20 fs", "protocol": "fast"}
    return Spec.model_validate({**content, "response": {"model": "dft"}, "spectra": ["vdos"]})


def test_equilibration_has_a_thermostat_and_the_production_has_none() -> None:
    run = water()
    before, after = (parameters.cp2k_dynamics(run, 0, equilibration=flag) for flag in (True, False))
    assert (before.ensemble, before.steps, after.ensemble, after.steps) == ("NVT", 400, "NVE", 4000)
    assert before.temperature == after.temperature == 330.0
    assert parameters.label_stride(run) == 4


def test_an_equilibration_between_two_frames_is_lengthened_to_the_next() -> None:
    run = water(every="2 fs", equilibration="3 fs", length="200 fs")
    assert [parameters.cp2k_dynamics(run, 0, equilibration=flag).steps for flag in (True, False)] == [8, 400]


def test_replicas_begin_with_other_velocities() -> None:
    run = water(seed=2**31 - 1)
    atoms, _ = build(run.system)
    plans = [parameters.cp2k_dynamics(run, replica, equilibration=True) for replica in range(3)]
    inputs = [dynamics(atoms, parameters.cp2k_settings(run), plan) for plan in plans]
    assert len({one["GLOBAL"]["SEED"] for one in inputs}) == 3


@pytest.mark.parametrize(
    ("scheduler", "transport", "cores", "frames"),
    [
        ("core.direct", "core.local", 1, 4),
        ("core.direct", "core.local", 3, 1),
        ("core.direct", "core.local", 16, 1),
        ("core.direct", "core.ssh_async", 1, 1),
        ("vibraloom.slurm", "core.local", 16, AT_ONCE),
    ],
)
def test_frames_are_labelled_as_many_at_a_time_as_the_computer_bears(
    scheduler: str, transport: str, cores: int, frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    computer: Any = SimpleNamespace(scheduler_type=scheduler, transport_type=transport)
    assert at_once(computer, cores) == frames


def test_a_narrow_cell_and_a_small_basis_are_stamped_on_the_spectra() -> None:
    run = water()
    atoms, report = build(run.system)
    warnings = warnings_of(run, atoms)
    assert any("Gamma point in a cell 6.2 Å wide is too small" in line for line in warnings)
    assert any("basis small for a response" in line for line in warnings)
    context = context_of(run, report, {"cp2k": "CP2K 2023.1"}, warnings)
    assert context["stamps"] == ["classical nuclei", *warnings]
    assert context["fidelity"] == "DFT"
    assert context["seed"] == {"dynamics": 7, "structure": 7}
    method = context["method"]
    assert (method["dynamics"]["functional"], method["dynamics"]["protocol"]) == ("PBE-D3", "fast")
    assert (method["electronic_structure"]["basis"], method["electronic_structure"]["cutoff"]) == ("DZVP", 300.0)


def test_a_wide_cell_with_a_good_basis_is_not_warned_about() -> None:
    run = water(protocol="balanced")
    wide = run.model_copy(update={"system": run.system.model_copy(update={"count": 32})})
    assert warnings_of(wide, build(wide.system)[0]) == []


def test_the_basis_for_a_free_molecule_is_warned_about() -> None:
    run = load_spec(EXAMPLES / "h2o-aimd.yaml")
    assert any("too small for a free molecule's response" in line for line in warnings_of(run, build(run.system)[0]))


@pytest.mark.parametrize(("fixed_layers", "held"), [(None, 48), (0, 0), (2, 32)])
def test_a_metal_slab_gets_smearing_and_holds_its_lowest_layers(fixed_layers: int | None, held: int) -> None:
    run = slab(fixed_layers)
    atoms, report = build(run.system)
    molecules = atoms.arrays["molecule"].tolist()
    chosen = parameters.held_atoms(run, atoms.positions[:, 2], molecules)
    assert len(chosen) == held
    others = np.setdiff1d(np.flatnonzero(np.array(molecules) < 0), chosen)
    assert not held or not len(others) or atoms.positions[chosen, 2].max() < atoms.positions[others, 2].min()
    settings = parameters.cp2k_settings(run)
    assert settings.scf == "diagonalisation" and settings.smearing is not None
    check_first_principles(run)  # the slab is taken to the middle of its cell
    assert "layers" in parameters.correlation(run, {**report, "molecule": molecules})


def test_what_is_kept_at_a_stride_is_kept_of_the_production_alone() -> None:
    run = slab(None)
    words = {"model": "dft", "wannier_every": None, "potential_every": "2 fs"}
    content = {**run.model_dump(mode="json", exclude_none=True), "response": words}
    run = Spec.model_validate(content)
    before, after = (parameters.cp2k_dynamics(run, 0, equilibration=flag) for flag in (True, False))
    assert (before.hartree_every, after.hartree_every, after.wannier_every) == (0, 4, 0)
    content = {**water().model_dump(mode="json", exclude_none=True), "response": {"wannier_every": "3 fs"}, "spectra": ["ir"]}
    waters = Spec.model_validate(content)
    assert parameters.cp2k_dynamics(waters, 0, equilibration=False).wannier_every == 6


def test_a_basis_takes_the_place_of_the_protocols() -> None:
    run = water(basis="TZV2P")
    settings = parameters.cp2k_settings(run)
    assert (settings.protocol, settings.basis, settings.cutoff) == ("fast", "TZV2P", 300.0)
    assert not any("basis" in line for line in warnings_of(run, build(run.system)[0]))


def network(**response: Any) -> Spec:
    run = water(model="committee-water", functional=None, protocol=None)
    content = run.model_dump(mode="json", exclude_none=True)
    return Spec.model_validate({**content, "response": response, "spectra": ["ir", "vdos"] if response else ["vdos"]})


def test_a_network_says_what_it_is_and_names_its_functional_only_where_frames_are_computed_by_it() -> None:
    atoms, report = build(water().system)
    alone, by_dft = network(), network(dipole_every="2 fs")
    assert [line.split(":")[0] for line in warnings_of(alone, atoms)] == ["committee-water"]
    assert any("Gamma point" in line for line in warnings_of(by_dft, atoms))
    contexts = [context_of(run, report, {}, []) for run in (alone, by_dft)]
    assert [context["fidelity"] for context in contexts] == ["ML", "ML"]
    assert "electronic_structure" not in contexts[0]["method"]
    assert contexts[1]["method"]["electronic_structure"]["functional"] == "PBE-D3"
    assert [parameters.label_stride(run) for run in (alone, by_dft)] == [None, 4]
    assert response_record(by_dft, {}) == {"label_stride": 4, "failures": {}, "labelled_dipole": True}
    assert "labelled_dipole" not in response_record(water(), {})


def report_of(work: float | None, error: float | None = None) -> dict[str, Any]:
    return {} if work is None else {"work_function_ev": work, "work_function_standard_error_ev": error}


def test_the_potential_stands_on_the_hydrogen_scale_with_both_errors() -> None:
    words = {"potential_every": "2 fs", "hydrogen_reference": "4.44 V", "hydrogen_reference_error": "0.03 V"}
    content = slab(None).model_dump(mode="json", exclude_none=True)
    run = Spec.model_validate({**content, "response": words})
    found = potential_of(run, [report_of(5.0, 0.04)])
    assert found is not None
    assert found["potential_cshe_v"] == pytest.approx(0.56)
    assert found["potential_cshe_standard_error_v"] == pytest.approx(0.05)
    assert (found["work_function_ev"], found["work_function_standard_error_ev"]) == (5.0, 0.04)
    without = Spec.model_validate({**content, "response": {"potential_every": "2 fs"}})
    assert potential_of(without, [report_of(5.0, None)]) == {"work_function_ev": 5.0, "work_function_standard_error_ev": None}
    assert potential_of(run, [report_of(None)]) is None


def test_of_several_replicas_the_error_is_that_between_them() -> None:
    content = slab(None).model_dump(mode="json", exclude_none=True)
    run = Spec.model_validate({**content, "response": {"potential_every": "2 fs"}})
    found = potential_of(run, [report_of(value, 1e-6) for value in (4.9, 5.0, 5.1)])
    assert found is not None and found["work_function_ev"] == pytest.approx(5.0)
    assert found["work_function_standard_error_ev"] == pytest.approx(0.1 / np.sqrt(3) * student_factor(3))


def test_show_tells_the_potential_in_words() -> None:
    record = {"work_function_ev": 5.0, "work_function_standard_error_ev": None}
    assert _potential(None) is None
    assert _potential(record) == "work function 5.000 eV, standard error unknown"
    scale = {
        "potential_cshe_v": 0.56,
        "potential_cshe_standard_error_v": 0.05,
        "hydrogen_reference_v": 4.44,
        "hydrogen_reference_standard_error_v": 0.03,
    }
    said = _potential({**record, "work_function_standard_error_ev": 0.04, **scale})
    assert said == (
        "0.560 ± 0.050 V against the computational hydrogen electrode "
        "(work function 5.000 ± 0.040 eV; reference 4.440 ± 0.030 V)"
    )


def test_an_insulating_slab_keeps_its_levels_full_and_takes_fields_in_its_plane() -> None:
    run = load_spec(EXAMPLES / "mgo-water.yaml")
    settings = parameters.cp2k_settings(run)
    assert (settings.scf, settings.smearing) == ("ot", None)
    assert parameters.label_axes(run) == "xy"
    atoms, report = build(run.system)
    held = parameters.held_atoms(run, atoms.positions[:, 2], atoms.arrays["molecule"].tolist())
    # the lower of two planes, of both elements
    assert sorted({atoms.symbols[index] for index in held}) == ["Mg", "O"]
    assert 2 * len(held) == np.sum(atoms.arrays["molecule"] < 0) and np.ptp(atoms.positions[held, 2]) < 1e-6
    assert any("Gamma point in a cell 6.0 Å wide is too small" in line for line in warnings_of(run, atoms))
    raman = {**run.model_dump(mode="json", exclude_none=True), "spectra": ["raman"], "response": {"polarizability_every": "2 fs"}}
    check_first_principles(Spec.model_validate(raman))  # no field along the vacuum
    assert "layers" in parameters.correlation(run, {**report, "molecule": atoms.arrays["molecule"].tolist()})


def test_a_method_that_is_impossible_for_the_system_is_refused_before_anything_runs() -> None:
    run = water()
    narrow = run.model_copy(update={"system": run.system.model_copy(update={"count": 3})})
    with pytest.raises(InputError, match=r"^water8-aimd: system.count: 3: structure: cell: 4.48 Å wide"):
        check_first_principles(narrow)


def test_the_volume_goes_to_the_spectra_of_a_liquid() -> None:
    run = water()
    atoms, report = build(run.system)
    record = parameters.correlation(run, {**report, "molecule": atoms.arrays["molecule"].tolist()})
    assert record["kind"] == "liquid"
    assert record["volume"] == pytest.approx(atoms.get_volume())
