"""``vibraloom show ID``: a spectrum with its conventions, walked back to structure, seed, inputs and versions; or a run."""

from __future__ import annotations

import json
import sys
from typing import Any

import click


@click.command("show")
@click.argument("identifier", metavar="ID")
@click.option("--profile", help="Use this existing AiiDA profile instead of the project's own.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(identifier: str, profile: str | None, as_json: bool) -> None:
    """Show a spectrum or a run: conventions, verdict, and the tree of everything it was made from."""
    from vibraloom.workflows.profile import load_project_profile

    load_project_profile(profile)
    from aiida import orm

    from vibraloom.app.presentation import console
    from vibraloom.database.graph import find
    from vibraloom.nodes.spectrum import SpectrumData

    node = find(identifier)
    if as_json:
        click.echo(json.dumps(_record(node), indent=1, default=str))
        return
    screen = console(sys.stdout)
    if isinstance(node, SpectrumData):
        _show_spectrum(screen, node)
    if isinstance(node, orm.ProcessNode):
        _show_process(screen, node)
        if not node.is_finished_ok:
            return
    screen.print("\nmade from", style="bold")
    screen.print(_tree(node))


def _record(node: Any) -> dict[str, Any]:
    from vibraloom.database.graph import description, provenance, run_of

    graph = provenance(node)
    run = run_of(node)
    attributes = {key: value for key, value in node.base.attributes.all.items() if not key.startswith("array")}
    return {
        "id": node.uuid,
        "what": description(node),
        "created": node.ctime.isoformat(),
        "run": None if run is None else run.uuid,
        "attributes": attributes,
        "provenance": {
            "nodes": {
                uuid: {"what": description(each), "type": each.node_type, "inputs": _inputs(each)}
                for uuid, each in graph.nodes.items()
            },
            "edges": graph.edges,
        },
    }


def _inputs(node: Any) -> Any:
    from aiida import orm

    return node.get_dict() if isinstance(node, orm.Dict) else None


def _show_spectrum(screen: Any, node: Any) -> None:
    from rich.table import Table

    from vibraloom.database.graph import run_of

    attributes = node.base.attributes.all
    context = attributes["context"]
    run = run_of(node)
    screen.print(
        f"{context['name']}: {attributes['quantity'].replace('_', ' ')} [{attributes['unit']}]  {node.uuid}",
        style="bold",
        markup=False,
    )
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    verdict = attributes["verdict"]
    rows: list[tuple[str, Any]] = [
        ("verdict", ("converged: " if verdict["converged"] else "not converged: ") + verdict["reason"]),
        ("fidelity", context["fidelity"]),
        ("stamps", "; ".join(context["stamps"])),
        ("system", f"{context['system']['formula']} ({context['system']['kind']})"),
        ("seeds", ", ".join(f"{key} {value}" for key, value in context["seed"].items())),
        ("potential", _potential(context.get("potential"))),
        ("isotopes", context["isotopes"]),
        ("versions", ", ".join(f"{key} {value}" for key, value in context["versions"].items())),
        ("content hash", attributes["content_hash"]),
        ("run", None if run is None else run.uuid),
        ("parts", ", ".join(attributes["parts"]) or None),
    ]
    for key, value in attributes["conventions"].items():
        if value not in (None, [], {}):
            shown = "; ".join(value) if key == "notes" else value
            rows.append((key.replace("_", " "), shown))
    for key, value in rows:
        if value not in (None, ""):
            table.add_row(key, str(value))
    screen.print(table, markup=False)


def _potential(record: dict[str, Any] | None) -> str | None:
    """Work function of an interface and its potential, with standard errors, in words."""
    if record is None:
        return None

    def shown(value: float, error: float | None, unit: str) -> str:
        return f"{value:.3f} {unit}, standard error unknown" if error is None else f"{value:.3f} ± {error:.3f} {unit}"

    words = f"work function {shown(record['work_function_ev'], record['work_function_standard_error_ev'], 'eV')}"
    if "potential_cshe_v" not in record:
        return words
    potential = shown(record["potential_cshe_v"], record["potential_cshe_standard_error_v"], "V")
    reference = shown(record["hydrogen_reference_v"], record["hydrogen_reference_standard_error_v"], "V")
    return f"{potential} against the computational hydrogen electrode ({words}; reference {reference})"


def _show_process(screen: Any, node: Any) -> None:
    from rich.text import Text
    from rich.tree import Tree

    from vibraloom.database.graph import description

    def line(process: Any) -> Text:
        name, said = description(process)
        text = Text(f"{name}  {said}")
        if process.exit_message:
            text.append(f"  {process.exit_message}", style="red")
        return text

    def grow(branch: Any, process: Any) -> None:
        for child in sorted(process.called, key=lambda entry: (entry.ctime, entry.pk)):
            grow(branch.add(line(child)), child)

    tree = Tree(line(node))
    grow(tree, node)
    screen.print(tree)


def _tree(node: Any) -> Any:
    """What ``node`` was made from; a node that came before is named, not repeated."""
    from aiida import orm
    from rich.text import Text
    from rich.tree import Tree

    from vibraloom.database.graph import description, origins, provenance

    seen: set[str] = set()

    def text_of(label: str, each: Any) -> Text:
        text = Text(f"{label}: " if label else "")
        text.append(" ".join(description(each)), style="bold" if isinstance(each, orm.ProcessNode) else "")
        if isinstance(each, orm.Dict) and len(each.get_dict()) <= 12:
            brief = json.dumps(each.get_dict(), sort_keys=True)
            text.append(f"  {brief[:100]}{'…' if len(brief) > 100 else ''}", style="dim")
        return text

    def grow(branch: Any, each: Any) -> None:
        for origin in origins(each):
            text = text_of(origin.label, origin.node)
            if origin.node.uuid in seen and origins(origin.node):
                branch.add(text.append("  (see above)", style="dim"))
                continue
            seen.add(origin.node.uuid)
            grow(branch.add(text), origin.node)

    tree = Tree(text_of("", node))
    if isinstance(node, orm.ProcessNode):
        for result in [
            each for each in provenance(node).nodes.values() if each.creator is not None and each.creator.caller == node
        ]:
            grow(tree.add(text_of("", result)), result)
    else:
        grow(tree, node)
    return tree
