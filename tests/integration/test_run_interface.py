"""An interface from its spec to the database, with the real engines, as a user runs it."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest

from vibraloom.files.jcamp import read_jcamp
from vibraloom.files.tables import read_csv, read_json

if TYPE_CHECKING:
    from tests.conftest import Project


def test_the_database_lists_what_was_deposited(film_project: Project) -> None:
    entries = film_project.json("list")
    assert {entry["quantity"] for entry in entries} == {"slab_response_parallel", "slab_response_normal", "vdos"}
    for entry in entries:
        assert entry["context"]["name"] == "thin-film"
        assert entry["context"]["fidelity"] == "test"
        assert "water-only response, no image charge" in entry["context"]["stamps"]
        assert "water-only response, no image charge" in entry["conventions"]["notes"]
        assert entry["verdict"]["converged"] is False
        assert entry["conventions"]["temperature"] == 300.0
    assert "not converged" in " ".join(film_project.run("list").split())


def test_filters_choose_entries(film_project: Project) -> None:
    assert len(film_project.json("list", "--quantity", "slab")) == 2
    assert len(film_project.json("list", "--quantity", "s%")) == 0
    assert film_project.json("list", "--collection", "other") == []
    assert len(film_project.json("list", "--name", "thin-film")) == 3


def test_show_walks_back_to_structure_seed_inputs_and_versions(film_project: Project) -> None:
    identifier = film_project.json("list")[0]["id"]
    text = " ".join(film_project.run("show", identifier[:8]).split())
    steps = ("Correlation", "ChargeResponse", "TrajectoryFile", "Lammps", "build_structure")
    for needed in (*steps, "system", "seeds", "lmp@localhost"):
        assert needed in text
    record = film_project.json("show", identifier)
    context = record["attributes"]["context"]
    assert context["seed"] == {"dynamics": 7, "structure": 3}
    assert context["versions"]["lammps"][:4].strip(), "LAMMPS says which release ran"
    assert set(context["versions"]) >= {"lammps", "numpy", "python", "vibraloom"}
    assert "pyscf" not in context["versions"], "only what ran is recorded"
    inputs = [node["inputs"] for node in record["provenance"]["nodes"].values() if node["inputs"]]
    assert any(one.get("kind") == "interface" and one["seed"] == 3 for one in inputs)
    assert any("settings" in one and one["settings"]["seed"] == 7 for one in inputs)


def test_the_density_of_states_counts_the_modes_of_the_liquid(film_project: Project) -> None:
    spectrum = read_csv(film_project.folder / "output" / "vdos.csv")
    entry = film_project.json("list", "--quantity", "vdos")[0]
    waters = int(entry["context"]["system"]["formula"].split("O")[-1])
    # at the temperature stated; a film this small and short is not at it to better than a third
    assert spectrum.area(0, 4500) == pytest.approx(9 * waters, rel=0.33)
    for kind in ("species/", "layer/"):
        parts = [values for label, values in spectrum.parts.items() if label.startswith(kind)]
        assert len(parts) >= 2
        np.testing.assert_allclose(sum(parts), spectrum.intensity, atol=1e-10 * spectrum.intensity.max())


def test_the_slab_response_is_a_length_resolved_by_layer(film_project: Project) -> None:
    for name in ("ir_parallel", "ir_normal"):
        spectrum = read_csv(film_project.folder / "output" / f"{name}.csv")
        assert spectrum.unit == "angstrom"
        assert spectrum.conventions.area == pytest.approx(115.2279, rel=1e-4)
        assert "fixed D" in str(spectrum.conventions.boundary)
        layers = [values for label, values in spectrum.parts.items() if label.startswith("layer/")]
        np.testing.assert_allclose(sum(layers), spectrum.intensity, atol=1e-10 * np.abs(spectrum.intensity).max())


def test_every_export_is_read_back_to_the_last_digit(film_project: Project) -> None:
    identifier = film_project.json("list", "--quantity", "slab_response_normal")[0]["id"][:8]
    for form, suffix, read in (("csv", "csv", read_csv), ("json", "json", read_json), ("jcamp", "jdx", read_jcamp)):
        film_project.run("export", identifier, "--format", form, "-o", f"one.{suffix}")
        spectrum = read(film_project.folder / f"one.{suffix}")
        reference = read_csv(film_project.folder / "output" / "ir_normal.csv")
        np.testing.assert_array_equal(spectrum.intensity, reference.intensity)
        np.testing.assert_array_equal(spectrum.wavenumber, reference.wavenumber)
        assert spectrum.conventions == reference.conventions
        assert spectrum.standard_error is not None
    import jcamp

    data = jcamp.readfile(str(film_project.folder / "one.jdx"))
    np.testing.assert_array_equal(data["y"], reference.intensity)


def test_the_archive_holds_the_provenance(film_project: Project) -> None:
    identifier = film_project.json("list")[0]["id"][:8]
    film_project.run("export", identifier, "--format", "archive", "-o", "one.aiida")
    with zipfile.ZipFile(film_project.folder / "one.aiida") as archive:
        assert "db.sqlite3" in archive.namelist()
        assert json.loads(archive.read("metadata.json"))["aiida_version"] == "2.9.4"


def test_a_run_leaves_pictures_tables_and_its_graph(film_project: Project) -> None:
    names = {path.name for path in (film_project.folder / "output").iterdir()}
    assert names >= {"overview.png", "provenance.png", "vdos.png", "vdos.csv", "vdos.jdx", "ir_normal.jdx"}
    for path in (film_project.folder / "output").glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size > 20_000


def test_a_finished_spec_is_not_run_again(film_project: Project) -> None:
    before = film_project.json("status")
    record = film_project.json("run", "film.yaml")
    assert film_project.json("status") == before
    assert record["run"] == before[-1]["id"]


def test_again_takes_every_job_from_the_cache_and_deposits_nothing_twice(film_project: Project) -> None:
    entries = film_project.json("list")
    record = film_project.json("run", "film.yaml", "--again")
    steps = film_project.json("status", record["run"])
    jobs = [step for step in steps if step["name"] in ("dynamics_0", "response", "spectra", "build", "deposit")]
    engines = [step for step in steps if step["cached"]]
    assert len(engines) >= 4, "build, dynamics, response and spectra come from the cache"
    assert not [step for step in jobs if step["name"] in ("response", "spectra") and not step["cached"]]
    assert film_project.json("list") == entries


def test_the_collection_is_no_part_of_the_computation(film_project: Project) -> None:
    film_project.write_film("0.6 ps", "elsewhere.yaml", **{"response:": "deposit: {collection: elsewhere}\nresponse:"})
    record = film_project.json("run", "elsewhere.yaml")
    assert record["collection"] == "elsewhere"
    entries = film_project.json("list")
    assert len(entries) == 3, "equal content stays one entry"
    assert all(set(entry["collections"]) == {"default", "elsewhere"} for entry in entries)
    assert {entry["id"] for entry in film_project.json("list", "--collection", "default")} == {entry["id"] for entry in entries}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("show", "xyz"), 2, "allowed: at least 4 characters"),
        (("show", "00000000"), 2, "nothing has this ID here"),
        (("plot", "00000000"), 2, "nothing has this ID here"),
        (("export", "00000000", "--format", "csv"), 2, "nothing has this ID here"),
        (("status", "00000000"), 2, "nothing has this ID here"),
    ],
)
def test_an_id_that_names_nothing_gives_one_line(film_project: Project, arguments: tuple[str, ...], code: int, said: str) -> None:
    error = film_project.run(*arguments, code=code)
    assert error.count("\n") == 1
    assert said in error


def test_a_missing_folder_for_an_export_gives_one_line_and_no_file(film_project: Project) -> None:
    identifier = film_project.json("list")[0]["id"][:8]
    error = film_project.run("export", identifier, "--format", "csv", "-o", "none/one.csv", code=2)
    assert "folder none does not exist" in error
    assert not (film_project.folder / "none").exists()


def test_wrong_physics_is_refused_before_anything_runs(film_project: Project) -> None:
    before = film_project.json("status")
    film_project.write_film("0.6 ps", "bad.yaml", **{"spc/fw": "tip9p"})
    assert "dynamics.model: 'tip9p': allowed: spc/fw" in film_project.run("run", "bad.yaml", code=2)
    film_project.write_film("0.6 ps", "bad.yaml", **{"size: [4, 4]": "size: [1, 2]"})
    assert "system.slab.size" in film_project.run("run", "bad.yaml", code=2)
    assert film_project.json("status")[: len(before)] == before
    assert len(film_project.json("list")) == 3
