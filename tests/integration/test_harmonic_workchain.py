"""The harmonic route as a process in a real profile: from a structure, or from phonopy's files, to nodes with provenance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import phonopy
import pytest
from ase import Atoms
from ase.build import molecule
from phonopy.structure.atoms import PhonopyAtoms

BOND = {"atoms": [0, 1], "length": 1.275, "spring": 32.0}
ENGINE = {"kind": "harmonic", "bonds": [BOND], "charges": [0.18, -0.18]}


def run(**inputs: Any) -> tuple[dict[str, Any], Any]:
    from aiida.engine import run_get_node

    from vibraloom.workflows.harmonic import HarmonicWorkChain

    return run_get_node(HarmonicWorkChain, **inputs)


def job(atoms: Atoms, **parameters: Any) -> dict[str, Any]:
    from aiida import orm

    return {
        "code": orm.load_code("python@localhost"),
        "structure": orm.StructureData(ase=atoms),
        "parameters": orm.Dict(parameters),
    }


def settings(**entries: Any) -> Any:
    from aiida import orm

    return orm.Dict({"name": "harmonic", "temperature": 300.0, **entries})


def test_a_structure_becomes_spectra_that_may_be_deposited(in_project: Path) -> None:
    from aiida import orm

    from vibraloom.workflows.deposit import refusals

    atoms = Atoms("HCl", positions=[[0, 0, 0], [0, 0, 1.3]])
    results, node = run(job=job(atoms, engine=ENGINE), settings=settings(shape="gaussian", masses={"H": 2.014}))
    assert node.is_finished_ok, node.exit_message
    assert set(results["spectra"]) == {"vdos", "infrared"}
    infrared = results["spectra"]["infrared"]
    assert refusals(infrared.base.attributes.all) == []
    spectrum = infrared.to_spectrum()
    reduced = 2.014 * 35.45 / (2.014 + 35.45)
    assert spectrum.intensity.sum() == pytest.approx(974.88 * 0.18**2 / reduced, rel=1e-4)
    (row,) = results["modes"]["rows"]
    assert row["assignment"] == "Cl-H stretch"
    # 1302.79 cm⁻¹ at 1 mdyn/Å (6.2415 eV/Å²) and 1 amu
    assert row["wavenumber"] == pytest.approx(1302.79 * np.sqrt(32.0 / 6.2415 / reduced), rel=1e-4)
    context = infrared.base.attributes.get("context")
    assert context["isotopes"] == "H 2.014 amu" and context["method"]["harmonic"]["engine"] == ENGINE
    # provenance: spectrum, calcfunction, arrays, calculation, structure
    maker = infrared.creator
    assert maker.process_label == "spectra_of_modes"
    assert isinstance(maker.inputs.source, orm.SinglefileData)
    assert maker.inputs.source.creator.process_label == "HarmonicCalculation"


def test_phonopys_files_become_spectra(in_project: Path, tmp_path: Path) -> None:
    from aiida import orm

    cell = 2.8 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    unit = PhonopyAtoms(symbols=["Zn", "S"], cell=cell, scaled_positions=[[0, 0, 0], [0.25, 0.25, 0.25]])
    phonon = phonopy.Phonopy(unit, np.eye(3), primitive_matrix=np.eye(3))
    stiffness = 10.0 * np.eye(3)
    phonon.force_constants = np.array([[stiffness, -stiffness], [-stiffness, stiffness]])
    charge = 2.0 * np.eye(3)
    phonon.nac_params = {"born": [charge, -charge], "dielectric": 5.2 * np.eye(3), "factor": 14.4}
    phonon.save(tmp_path / "phonopy_params.yaml", settings={"force_constants": True, "born_effective_charge": True})
    tensor = np.zeros((2, 3, 3, 3))
    for k in range(3):
        tensor[:, k, (k + 1) % 3, (k + 2) % 3] = tensor[:, k, (k + 2) % 3, (k + 1) % 3] = 2.0
    tensor[1] *= -1
    np.save(tmp_path / "raman.npy", tensor)
    inputs = {"geometries": ["z(xy)z", "z(xx)z"], "raman_unit": "angstrom^2", "mesh": [2, 2, 2], "fidelity": "DFT"}
    results, node = run(phonopy=orm.FolderData(tree=str(tmp_path)), settings=settings(**inputs))
    assert node.is_finished_ok, node.exit_message
    spectra = {label: data.to_spectrum() for label, data in results["spectra"].items()}
    # F2 of zincblende: only the off-diagonal element scatters back from a cube face
    assert spectra["raman_z_xy_z"].intensity.max() > 0 and not spectra["raman_z_xx_z"].intensity.any()
    assert spectra["infrared"].unit == "cm^-1" and "dielectric_imaginary" in spectra
    assert spectra["vdos"].intensity.sum() == pytest.approx(6.0, rel=0.01)
    assert results["spectra"]["infrared"].base.attributes.get("context")["fidelity"] == "DFT"
    assert len(results["modes"]["rows"]) == 3 and "arrays" not in results


def test_a_failure_is_one_line(in_project: Path, tmp_path: Path) -> None:
    from aiida import orm

    results, node = run(job=job(molecule("H2O"), engine={"kind": "none"}), settings=settings())
    assert node.exit_status == 310 and "engine kind is 'none'" in node.exit_message and not results
    (tmp_path / "phonopy.yaml").write_text("a: 1\n")
    _, node = run(phonopy=orm.FolderData(tree=str(tmp_path)), settings=settings())
    assert node.exit_status == 310 and "phonopy.yaml" in node.exit_message and "\n" not in node.exit_message


def test_wrong_settings_and_two_sources_are_refused(in_project: Path, tmp_path: Path) -> None:
    from aiida import orm

    (tmp_path / "phonopy.yaml").write_text("a: 1\n")
    folder = orm.FolderData(tree=str(tmp_path))
    with pytest.raises(ValueError, match="widht: no such key; allowed: temperature"):
        run(phonopy=folder, settings=settings(widht=3.0))
    with pytest.raises(ValueError, match="give either a job"):
        run(settings=settings())
    with pytest.raises(ValueError, match="give either a job"):
        run(phonopy=folder, job=job(molecule("H2O"), engine=ENGINE), settings=settings())
