"""Write the reference pages from the code: ``python docs/reference/generate.py``; ``--check`` only compares.

Whole pages: cli.md, spec.md, processes.md, python-api.md. In settings.md, exit-codes.md and files.md what
stands between ``<!-- generated: name -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import tempfile
import tomllib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from docstrings import first_line, python_page
from pydantic import BeforeValidator

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
NOTE = "<!-- Made by docs/reference/generate.py: edit the code, then run it again. -->"
HELP_WIDTH = 100
"""Width of the help texts in characters."""


def cell(text: str) -> str:
    """Text that is safe in a cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")


def table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(headings) + " |", "| " + " | ".join("---" for _ in headings) + " |"]
    return "\n".join(lines + ["| " + " | ".join(map(cell, row)) + " |" for row in rows])


# --- command line -------------------------------------------------------------------------------


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command with its full name, the program itself first."""
    from vibraloom.app.cli import main

    def walk(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
        yield name, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for child in command.list_commands(context):
                found = command.get_command(context, child)
                assert found is not None, child
                yield from walk(f"{name} {child}", found)

    return walk("vibraloom", main)


def cli_page() -> str:
    """cli.md."""
    parts = ["# Command line", NOTE, "What `--help` says for every command."]
    for name, command in commands():
        names = {"help_option_names": ["-h", "--help"]} if isinstance(command, click.Group) else {}
        context = click.Context(command, info_name=name, terminal_width=HELP_WIDTH, max_content_width=HELP_WIDTH, **names)
        text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
        parts += [f"## {name}", f"```text\n{text}\n```"]
    return "\n\n".join(parts) + "\n"


# --- spec ---------------------------------------------------------------------------------------


def _bounds(model: type[Any], key: str, unit: str) -> str:
    """Bounds of a quantity with a unit, as its validator states them when they are broken."""
    for entry in model.model_fields[key].metadata:
        if isinstance(entry, BeforeValidator):
            try:
                entry.func(f"-1e300 {unit}")
            except ValueError as error:
                return str(error).removeprefix("allowed: ")
    return ""


def _units(schema: dict[str, Any]) -> list[str]:
    """Units in the pattern of a quantity; empty if it is none."""
    found = re.search(r"\\s\*\(([^()]+)\)\\s\*\$$", schema.get("pattern", ""))
    return [name.replace("\\", "") for name in found.group(1).split("|")] if found else []


def _type_and_allowed(schema: dict[str, Any]) -> tuple[str, str, str]:
    """Type, unit and allowed values of a key."""
    if "anyOf" in schema and "items" not in schema:
        inner = [each for each in schema["anyOf"] if each.get("type") != "null"]
        return _type_and_allowed(inner[0])
    if "const" in schema:
        return "text" if schema.get("type") == "string" else "whole number", "", str(schema["const"])
    if "enum" in schema:
        return "one of", "", ", ".join(dict.fromkeys(map(str, schema["enum"])))
    units = _units(schema)
    if units:
        found = re.search(r"with its unit, (.*)", schema.get("description", ""))
        return "quantity", ", ".join(units), found.group(1) if found else ""
    kind = schema.get("type", "")
    low = schema.get("minimum")
    if kind == "integer":
        return "whole number", "", f"{low} to {schema['maximum']}" if "maximum" in schema else ""
    if kind == "boolean":
        return "true or false", "", "true, false"
    if kind == "array" and "prefixItems" in schema:
        _, _, allowed = _type_and_allowed(schema["prefixItems"][0])
        return f"list of {len(schema['prefixItems'])}", "", f"whole numbers, {allowed}"
    if kind == "array":
        items = schema["items"]
        allowed = ", ".join(items["enum"]) if "enum" in items else ""
        return "list", "", allowed
    allowed = f"matches `{schema['pattern']}`" if "pattern" in schema else ""
    if "maxLength" in schema:
        allowed = f"{schema.get('minLength', 0)} to {schema['maxLength']} characters"
    return "text", "", allowed


def spec_rows() -> list[tuple[str, ...]]:
    """Key, type, units, default, allowed, description of every key of a spec."""
    from vibraloom.structures import spec as structure_spec
    from vibraloom.workflows import spec as workflow_spec
    from vibraloom.workflows import words

    schema = workflow_spec.json_schema()
    definitions = schema["$defs"]
    rows: list[tuple[str, ...]] = []

    def walk(prefix: str, name: str) -> None:
        block = schema if name == "Spec" else definitions[name]
        model = next(found for module in (workflow_spec, words, structure_spec) if (found := getattr(module, name, None)))
        for key, entry in block["properties"].items():
            path = f"{prefix}{key}"
            text = _description(path, entry)
            required = key in block.get("required", ())
            references = _references(entry)
            if path == "system":
                rows.append(("`system`", "block", "–", "required", "one of the kinds below", text))
                for reference in references:
                    kind = definitions[reference]["properties"]["kind"]["const"]
                    walk(f"system({kind}).", reference)
            elif references:
                rows.append((f"`{path}`", "block", "–", "required" if required else "–", "–", text))
                walk(f"{path}.", references[0])
            elif path == "spectra":
                rows.append(("`spectra`", "list", "–", "required", "ir, raman, vdos", text))
                resolved = "how one is resolved, written `{vdos: {by: [species, layer]}}`"
                rows.append(("`spectra[].by`", "list", "–", "–", "species, layer", resolved))
            else:
                kind, units, allowed = _type_and_allowed(entry)
                if kind == "quantity" and not allowed:
                    allowed = _bounds(model, key, units.split(", ")[0])
                shown = "required" if required else _default(entry)
                rows.append((f"`{path}`", kind, units or "–", shown, allowed or "–", text))

    walk("", "Spec")
    return rows


def _default(entry: dict[str, Any]) -> str:
    value = entry.get("default")
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return "–" if value is None else str(value)


def _description(path: str, entry: dict[str, Any]) -> str:
    """What a key is."""
    if not entry.get("description"):
        raise SystemExit(f"{path}: no description in the schema; give the field one")
    return str(entry["description"])


def spec_page() -> str:
    """spec.md."""
    return f"""# Spec

{NOTE}

A spec is one YAML file. Quantities are text with a unit, such as `300 K`; unknown keys are refused.
Keys under `system` depend on its `kind`, which stands in brackets here: `system(interface).slab` is written
`system: {{kind: interface, slab: ...}}`. `vibraloom run SPEC.yaml --check` also checks the rules between
keys; `vibraloom schema` prints the JSON schema.

{table(("key", "type", "units", "default", "allowed", "what it is"), spec_rows())}

## Rules between keys

- `dynamics.every`, `length` and `equilibration` are whole multiples of `timestep`; `length` holds at least
  20 stored frames.
- With `dynamics.engine: lammps`, `dynamics.model` names a classical model and `response.model` is
  `point-charges`. With `ase` there is no `dynamics.model`; the words `labels` and `model` are needed and
  `response.model` is `learned`.
- A molecule runs on a learned surface or in `cp2k`, an interface on a classical model, a liquid in `cp2k`.
- With `dynamics.engine: cp2k` there are no `labels` and `model`; `functional` (left out: PBE-D3) and `protocol` (left
  out: balanced) say how forces are computed, `response.model` is `dft`, and `length` is a multiple of `every`.
- With `cp2k`, `raman` needs `response.polarizability_every`, a multiple of `dynamics.every` that leaves room for seven
  polarizabilities. `wannier_every` needs a gap, `potential_every` an interface, `hydrogen_reference` both
  `potential_every` and a metal.
- An interface with a metal slab has `ir` along its normal and `vdos`; one with a gap `ir`, `raman` in its plane and `vdos`.
- `dynamics.model: committee-water` is for a liquid of H2O. `ir` then needs `response.dipole_every` or
  `polarizability_every`, and `functional`, `protocol` and `basis` are those of these frames.
- A slab of a compound runs in `cp2k`.
- Point charges give IR and VDOS; Raman needs a polarizability. `model.targets` must hold what the
  spectra need: dipole for `ir`, polarizability for `raman`, energy always.
- `by: [layer]` needs an interface.
- `system.liquid` has exactly one of `thickness` and `count`. `system.slab.size` needs an even second number
  where the orthogonal cell does (or `orthogonal: false`). Facets: 100, 110, 111 for fcc and bcc metals, 0001
  for hcp metals.

`deposit` and `resources` change no number: two specs that differ in them alone are the same run.
"""


def _references(entry: dict[str, Any]) -> list[str]:
    """Names of the definitions that a key points to."""
    options = [entry, *entry.get("anyOf", ()), *entry.get("oneOf", ())]
    return [each["$ref"].rsplit("/", 1)[1] for each in options if "$ref" in each]


# --- processes ----------------------------------------------------------------------------------


def _own_exit_codes(process: Any) -> list[tuple[str, ...]]:
    """Exit codes that a process class of ours adds to AiiDA's."""
    from aiida.engine import BaseRestartWorkChain, CalcJob, WorkChain

    inherited: set[int] = set()
    for base in (CalcJob, WorkChain, BaseRestartWorkChain):
        if issubclass(process, base):
            inherited |= {code.status for code in base.spec().exit_codes.values()}
    codes = sorted(process.spec().exit_codes.values(), key=lambda code: code.status)
    return [(str(code.status), _label(process, code), code.message) for code in codes if code.status not in inherited]


def _label(process: Any, code: Any) -> str:
    return next(name for name, each in process.spec().exit_codes.items() if each == code)


def processes_page() -> str:
    """processes.md."""
    # importing AiiDA makes a folder: not in the user's home
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.environ["AIIDA_PATH"] = folder
        from aiida.engine import CalcJob, Process

    points = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    titles = {
        "aiida.workflows": "Workflows",
        "aiida.calculations": "Calculations",
        "aiida.parsers": "Parsers",
        "aiida.schedulers": "Schedulers",
        "aiida.data": "Data",
        "aiida.groups": "Groups",
    }
    parts = ["# Processes and entry points", NOTE]
    parts.append("An entry point is never renamed: stored nodes name it.")
    codes: dict[tuple[str, ...], list[str]] = {}
    jobs: list[str] = []
    for group, title in titles.items():
        rows = []
        for name, target in sorted(points[group].items()):
            module, _, attribute = target.partition(":")
            thing = getattr(importlib.import_module(module), attribute)
            rows.append((f"`{name}`", f"`{target}`", first_line(thing).replace("``", "`")))
            if isinstance(thing, type) and issubclass(thing, Process):
                jobs += [f"`{name}`"] if issubclass(thing, CalcJob) else []
                for own in _own_exit_codes(thing):
                    codes.setdefault(own, []).append(f"`{name}`")
        parts += [f"## {title}", f"`{group}`", table(("entry point", "where", "what it does"), rows)]
    from vibraloom.workflows.build import ERROR_STRUCTURE
    from vibraloom.workflows.deposit import ERROR_REFUSED

    parts.append("## Exit codes")
    parts.append(
        "2xx: wrong input; 3xx: a computation failed; 4xx: it was interrupted and can go on. AiiDA's own codes stand beside them."
    )
    named = {"ERROR_STRUCTURE": "the structure cannot be built", "ERROR_REFUSED": "a spectrum was refused"}
    rows = [("`vibraloom.build`", str(ERROR_STRUCTURE), "ERROR_STRUCTURE", named["ERROR_STRUCTURE"])]
    rows.append(("`vibraloom.deposit`", str(ERROR_REFUSED), "ERROR_REFUSED", named["ERROR_REFUSED"]))
    for (status, label, message), names in codes.items():
        who = "every job" if names == jobs else ", ".join(names)
        rows.append((who, status, label, f"`{message}`"))
    rows.sort(key=lambda row: (row[1], row[0]))
    parts.append(table(("process", "code", "label", "message"), rows))
    parts.append("`{message}` stands for the line that the job itself wrote.")
    return "\n\n".join(parts) + "\n"


# --- parts of written pages ---------------------------------------------------------------------


def settings_table() -> str:
    """Settings with their variables and defaults."""
    from vibraloom.settings import DEFAULTS

    defaults = {**DEFAULTS, "cores": "2, or the number of cores where that is 1"}
    return table(
        ("setting", "variable", "default"),
        [(f"`{name}`", f"`VIBRALOOM_{name.upper()}`", value) for name, value in defaults.items()],
    )


def exit_codes_table() -> str:
    """Exit codes of the command line."""
    from vibraloom import errors
    from vibraloom.app.cli.errors import INTERRUPTED

    said = {"VibraloomError": "A fault in vibraloom itself; please report it."}
    rows = [("0", "Done.")]
    for name in ("VibraloomError", "InputError", "ComputationError", "MissingError"):
        kind = getattr(errors, name)
        rows.append((str(kind.exit_code), said.get(name, first_line(kind))))
    rows.append((str(INTERRUPTED), "Interrupted by Ctrl-C."))
    return table(("code", "meaning"), rows)


def schema_numbers() -> str:
    """Schema numbers of what is stored."""
    from vibraloom.files import trajectory
    from vibraloom.spectra import spectrum
    from vibraloom.workflows import profile, spec

    rows = [
        ("spec (`version`)", spec.VERSION),
        ("trajectory (`/vibraloom`, attribute `schema`)", trajectory.SCHEMA),
        ("spectrum: CSV, JSON, JCAMP-DX, NumPy archive, node (`schema`)", spectrum.SCHEMA),
        ("project folder (`.vibraloom/made-by-init`, key `schema`)", profile.SCHEMA),
    ]
    return table(("what", "number"), [(name, str(number)) for name, number in rows])


def units_table() -> str:
    """Units of what a trajectory holds."""
    from vibraloom.files.trajectory import UNITS

    return table(("element", "unit"), [(f"`{name}`", unit) for name, unit in UNITS.items()])


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli_page,
    "spec.md": spec_page,
    "processes.md": processes_page,
    "python-api.md": lambda: python_page(NOTE),
}
PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "settings.md": {"settings": settings_table},
    "exit-codes.md": {"exit codes": exit_codes_table},
    "files.md": {"schema numbers": schema_numbers, "units": units_table},
}


def generated() -> dict[Path, str]:
    """Every reference page as it should be."""
    pages = {FOLDER / name: make() for name, make in PAGES.items()}
    for name, parts in PARTS.items():
        text = (FOLDER / name).read_text(encoding="utf-8")
        for part, make in parts.items():
            start, end = f"<!-- generated: {part} -->", "<!-- end -->"
            before, found, rest = text.partition(start)
            if not found or end not in rest:
                raise SystemExit(f"{name}: {start} … {end} is missing; put it where the table belongs")
            text = f"{before}{start}\n{make()}\n{end}{rest.partition(end)[2]}"
        pages[FOLDER / name] = text
    return pages


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` name those that are stale."""
    stale = {path: text for path, text in generated().items() if not path.is_file() or path.read_text(encoding="utf-8") != text}
    if arguments == ["--check"]:
        for path in stale:
            print(f"{path.name}: stale; run: python docs/reference/generate.py", file=sys.stderr)
        return 1 if stale else 0
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
