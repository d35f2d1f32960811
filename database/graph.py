"""The provenance graph behind the database: entries, where each came from, and archives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.common.links import LinkType

from vibraloom.durable import replacing
from vibraloom.errors import ComputationError, InputError
from vibraloom.nodes.collection import Collection
from vibraloom.nodes.spectrum import SpectrumData

_BACKWARDS = (LinkType.CREATE, LinkType.INPUT_CALC)
"""Links of the data provenance, followed from a result to what it was made from."""
SHORTEST_PREFIX = 4


@dataclass(frozen=True)
class Entry:
    """One deposited spectrum, read from attributes alone."""

    uuid: str
    created: str
    collections: tuple[str, ...]
    attributes: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON form, without the fingerprint."""
        kept = {
            key: value for key, value in self.attributes.items() if key != "fingerprint" and not key.startswith("array")
        }
        return {"id": self.uuid, "created": self.created, "collections": list(self.collections), **kept}


def entries(*, collection: str | None = None, quantity: str | None = None, name: str | None = None) -> list[Entry]:
    """Deposited spectra, oldest first; of equal content the earliest owns the entry.

    Args:
        collection: only this collection.
        quantity: only quantities that begin so, e.g. ``raman``.
        name: only runs of this name.
    """
    query = orm.QueryBuilder()
    query.append(Collection, filters={"label": collection} if collection else {}, tag="collection", project="label")
    filters: dict[str, Any] = {}
    if quantity:
        filters["attributes.quantity"] = {"ilike": _literal(quantity) + "%"}
    if name:
        filters["attributes.context.name"] = name
    query.append(
        SpectrumData, with_group="collection", filters=filters, tag="spectrum", project=["uuid", "ctime", "attributes"]
    )
    query.order_by({"spectrum": ["ctime", "uuid"]})
    owners: dict[str, Entry] = {}
    for label, uuid, created, attributes in query.all():
        held = owners.get(attributes["content_hash"])
        if held is None:
            owners[attributes["content_hash"]] = Entry(uuid, created.isoformat(), (label,), attributes)
        elif label not in held.collections:
            owners[attributes["content_hash"]] = Entry(
                held.uuid, held.created, (*held.collections, label), held.attributes
            )
    return list(owners.values())


def _literal(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def find(prefix: str) -> orm.Node:
    """The node whose UUID begins with ``prefix``.

    Raises:
        InputError: too short, none, or several; the message says what to do.
    """
    plain = prefix.strip().lower()
    if len(plain) < SHORTEST_PREFIX or any(letter not in "0123456789abcdef-" for letter in plain):
        raise InputError(
            f"ID {prefix!r}: allowed: at least {SHORTEST_PREFIX} characters of an ID that vibraloom list or status shows"
        )
    query = orm.QueryBuilder().append(orm.Node, filters={"uuid": {"like": f"{plain}%"}})
    found = query.limit(10).all(flat=True)
    if not found:
        raise InputError(f"ID {prefix}: nothing has this ID here; vibraloom list shows what there is")
    if len(found) > 1:
        raise InputError(
            f"ID {prefix}: {len(found)} begin so ({', '.join(node.uuid[:12] for node in found[:4])} …); give more characters"
        )
    return found[0]


def run_of(node: orm.Node) -> orm.ProcessNode | None:
    """The outermost process that made ``node``."""
    process = node if isinstance(node, orm.ProcessNode) else node.creator
    while process is not None and process.caller is not None:
        process = process.caller
    return process


@dataclass(frozen=True)
class Origin:
    """One step back from a node: how it is linked, and to what."""

    label: str
    node: orm.Node


def origins(node: orm.Node) -> list[Origin]:
    """What ``node`` was made from or by, in the order of the link labels."""
    found = []
    for link in node.base.links.get_incoming(link_type=_BACKWARDS).all():
        found.append(Origin(link.link_label, link.node))
    return sorted(found, key=lambda origin: origin.label)


@dataclass(frozen=True)
class Provenance:
    """The graph behind a node: nodes by UUID, and (source, target, label) edges that run forward in time."""

    nodes: dict[str, orm.Node]
    edges: list[tuple[str, str, str]]


def provenance(node: orm.Node) -> Provenance:
    """Everything that ``node`` was made from, back to the first inputs; for a process, what its outputs were made from."""
    nodes: dict[str, orm.Node] = {}
    edges: list[tuple[str, str, str]] = []
    start = [node]
    if isinstance(node, orm.ProcessNode):
        links = node.base.links.get_outgoing(link_type=(LinkType.RETURN, LinkType.CREATE)).all()
        start = [link.node for link in links] or [node]
    waiting = list(start)
    while waiting:
        here = waiting.pop()
        if here.uuid in nodes:
            continue
        nodes[here.uuid] = here
        for origin in origins(here):
            edges.append((origin.node.uuid, here.uuid, origin.label))
            waiting.append(origin.node)
    return Provenance(nodes, edges)


def description(node: orm.Node) -> list[str]:
    """One to three lines that say what a node is."""
    short = node.uuid[:8]
    if isinstance(node, SpectrumData):
        return [node.base.attributes.get("quantity").replace("_", " "), f"spectrum {short}"]
    if isinstance(node, orm.AbstractCode):
        return [node.full_label, f"code {short}"]
    if isinstance(node, orm.ProcessNode):
        lines = [(node.process_label or "process").removesuffix("Calculation"), f"{_said(node)} {short}"]
        return lines
    if isinstance(node, orm.StructureData):
        return [node.get_formula(), f"structure {short}"]
    if isinstance(node, orm.Str):
        return [node.value, f"text {short}"]
    kind = node.class_node_type.rstrip(".").rsplit(".", 1)[-1]
    return [
        {"Dict": "parameters", "SinglefileData": "file", "RemoteData": "folder", "ModelData": "model"}.get(kind, kind),
        short,
    ]


def _said(node: orm.ProcessNode) -> str:
    if node.is_finished_ok:
        return "from cache" if node.base.caching.is_created_from_cache else "done"
    return str(node.process_state.value if node.process_state else "?")


def jobs_under(run: orm.ProcessNode) -> Iterator[orm.ProcessNode]:
    """Processes under a run, depth first, in the order in which they were called."""
    for child in sorted(run.called, key=lambda entry: (entry.ctime, entry.pk)):
        yield child
        yield from jobs_under(child)


def write_archive(nodes: list[orm.Node], path: Path) -> None:
    """Write an ``.aiida`` archive with these nodes and everything that they were made from.

    Raises:
        ComputationError: the archive cannot be written.
    """
    from aiida.tools.archive import create_archive
    from aiida.tools.archive.exceptions import ArchiveExportError

    try:
        with replacing(path) as temporary:
            create_archive(nodes, filename=temporary, overwrite=True, include_comments=True, include_logs=True)
    except ArchiveExportError as error:
        raise ComputationError(f"{path}: the archive cannot be written ({' '.join(str(error).split())})") from error
