"""Every key of the spec's schema, broken in turn, gives one line with file, dotted key, value and what is allowed."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from pydantic import BaseModel

from vibraloom.app.cli import main
from vibraloom.validation import _models_in
from vibraloom.workflows.spec import Spec, json_schema, load_spec

EXAMPLES = Path(__file__).parents[2] / "examples"
FULL = {
    "molecule": EXAMPLES / "h2o-full.yaml",
    "interface": EXAMPLES / "au111-water-full.yaml",
    "liquid": EXAMPLES / "water8-aimd-full.yaml",
}
COMPOUND = EXAMPLES / "mgo-water.yaml"
"""Has the material of a slab, which excludes its element."""


def keys_of(model: type[BaseModel], content: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of ``model`` that ``content`` holds, as paths."""
    for name, field in model.model_fields.items():
        if name not in content:
            continue
        yield (*path, name)
        for inner in _models_in(field.annotation):
            if isinstance(content[name], dict) and set(content[name]) <= set(inner.model_fields):
                yield from keys_of(inner, content[name], (*path, name))


def loaded(kind: str) -> dict[str, Any]:
    return yaml.safe_load(FULL.get(kind, COMPOUND).read_text(encoding="utf-8"))


FREE_TEXT = {("labels", "functional"), ("labels", "basis"), ("resources", "computer"), ("deposit", "collection")}
"""Keys that take any text; what it names is looked up when the run begins."""
EVERY_KEY = [(kind, path) for kind in FULL for path in keys_of(Spec, loaded(kind))]
EVERY_KEY.append(("compound", ("system", "slab", "material")))


def run_with(tmp_path: Path, content: Any) -> tuple[int, str, str]:
    path = tmp_path / "broken.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    done = CliRunner().invoke(main, ["run", str(path)])
    return done.exit_code, done.stderr, str(path)


def replaced(content: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(content)
    here = changed
    for name in path[:-1]:
        here = here[name]
    here[path[-1]] = value
    return changed


def test_the_full_examples_hold_every_key_of_the_schema() -> None:
    seen = {path[-1] for _, path in EVERY_KEY}
    schema = json_schema()
    known = set(schema["properties"])
    for name, definition in schema["$defs"].items():
        if name != "Requested":
            known |= set(definition.get("properties", {}))
    assert known == seen
    assert ("system", "liquid", "count") not in dict.fromkeys(path for _, path in EVERY_KEY), "it excludes thickness: see below"


@pytest.mark.parametrize(
    ("kind", "path"), EVERY_KEY, ids=lambda value: ".".join(value) if isinstance(value, tuple) else value
)
def test_a_broken_value_gives_exit_2_and_one_line(kind: str, path: tuple[str, ...], tmp_path: Path) -> None:
    wrongs: list[Any] = [-7.5, [["x"]]]
    if path not in FREE_TEXT:
        wrongs.append("no such thing !")
    for wrong in wrongs:
        code, said, file = run_with(tmp_path, replaced(loaded(kind), path, wrong))
        assert code == 2, said
        assert said.count("\n") == 1
        assert said.startswith(f"error: {file}: {'.'.join(path)}"), said
        assert "allowed" in said
        shown = repr(wrong) if isinstance(wrong, str) else str(wrong)
        inner = str(wrong[0]) if isinstance(wrong, list) else shown
        assert shown in said or inner in said, said


@pytest.mark.parametrize(
    ("kind", "path"), EVERY_KEY, ids=lambda value: ".".join(value) if isinstance(value, tuple) else value
)
def test_a_misspelt_key_is_refused_with_the_right_one(kind: str, path: tuple[str, ...], tmp_path: Path) -> None:
    content = loaded(kind)
    here = content
    for name in path[:-1]:
        here = here[name]
    here[path[-1] + "x"] = here.pop(path[-1])
    code, said, file = run_with(tmp_path, content)
    assert code == 2
    assert said.startswith(f"error: {file}: ")
    assert said.count("\n") == 1
    if path[-1] != "kind":
        assert f"{'.'.join(path)}x: " in said
        assert f"did you mean '{path[-1]}'?" in said
        assert "unknown key; allowed: " in said


def test_count_is_checked_like_every_other_key(tmp_path: Path) -> None:
    content = loaded("interface")
    del content["system"]["liquid"]["thickness"]
    for wrong in (0, 1.5, "many"):
        content["system"]["liquid"]["count"] = wrong
        code, said, file = run_with(tmp_path, content)
        assert (code, said.split(" allowed: ")[0]) == (2, f"error: {file}: system.liquid.count: {wrong!r}:")


@pytest.mark.parametrize("kind", FULL)
def test_a_missing_word_is_named(kind: str, tmp_path: Path) -> None:
    for name, field in Spec.model_fields.items():
        if field.is_required():
            content = loaded(kind)
            del content[name]
            code, said, file = run_with(tmp_path, content)
            assert code == 2
            assert said.startswith(f"error: {file}: {name}: missing; allowed: ")


@pytest.mark.parametrize("name", ["h2o", "au111-water", "water8-aimd"])
def test_minimal_and_full_examples_are_the_same_run(name: str) -> None:
    minimal, full = load_spec(EXAMPLES / f"{name}.yaml"), load_spec(EXAMPLES / f"{name}-full.yaml")
    assert minimal == full
    assert minimal.content_hash() == full.content_hash()


def test_a_spec_survives_its_own_json() -> None:
    for path in sorted(set(EXAMPLES.glob("*.yaml")) - {EXAMPLES / "full-profile.yaml"}):
        spec = load_spec(path)
        assert Spec.model_validate(spec.model_dump(mode="json", exclude_none=True)) == spec


def test_units_may_be_written_differently_without_changing_the_run(tmp_path: Path) -> None:
    text = (EXAMPLES / "h2o.yaml").read_text(encoding="utf-8")
    other = tmp_path / "other.yaml"
    other.write_text(re.sub("length: 4 ps", "length: 4000 fs", text), encoding="utf-8")
    assert load_spec(other).content_hash() == load_spec(EXAMPLES / "h2o.yaml").content_hash()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "not YAML"),
        ("version: 1\nversion: 1\n", "given twice"),
        ("- 1\n- 2\n", "allowed: a block of keys"),
        ("", "allowed: a block of keys"),
        ("x: !!python/object/apply:os.system [true]\n", "not YAML"),
    ],
)
def test_a_file_that_is_no_spec_gives_one_line(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(text, encoding="utf-8")
    done = CliRunner().invoke(main, ["run", str(path)])
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert str(path) in done.stderr
    assert said in done.stderr


def test_a_file_that_is_not_there_gives_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["run", str(tmp_path / "none.yaml")])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "no such file" in done.stderr


def test_the_schema_for_editors_takes_the_examples_and_refuses_a_unit() -> None:
    schema = json_schema()
    timestep = schema["$defs"]["Dynamics"]["properties"]["timestep"]
    assert timestep["type"] == "string"
    assert re.match(timestep["pattern"], "0.5 fs")
    assert not re.match(timestep["pattern"], "0.5 K")
    assert schema["additionalProperties"] is False
