"""The deposit: a gate that refuses a spectrum without its conventions, and the collection that takes the rest."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ExitCode, calcfunction

from vibraloom.nodes.collection import Collection
from vibraloom.nodes.spectrum import SpectrumData

ERROR_REFUSED = 220
FIDELITIES = ("test", "classical", "ML", "DFT", "measured")
_CONVENTIONS = (
    "estimator",
    "window",
    "correlation_time",
    "derivative",
    "timestep",
    "frames",
    "replicas",
    "blocks",
    "form",
)
_CONTEXT = ("name", "system", "method", "fidelity", "seed", "versions", "isotopes")
_CORRECTED = ("infrared", "raman", "slab_response")


def refusals(attributes: dict[str, Any]) -> list[str]:
    """Why a spectrum with these node attributes may not be deposited; empty if it may.

    A spectrum that is not converged may be deposited, since its verdict says so; one without a verdict may not.
    """
    quantity = attributes.get("quantity") or "spectrum"
    reasons = []
    conventions = attributes.get("conventions") or {}
    for key in _CONVENTIONS:
        if conventions.get(key) is None:
            reasons.append(f"{quantity}: conventions.{key} is missing")
    if quantity.startswith(_CORRECTED):
        for key in ("quantum_correction", "temperature"):
            if conventions.get(key) is None:
                reasons.append(f"{quantity}: conventions.{key} is missing")
    if not attributes.get("unit"):
        reasons.append(f"{quantity}: unit is missing")
    verdict = attributes.get("verdict")
    if not verdict or "converged" not in verdict or not verdict.get("reason"):
        reasons.append(f"{quantity}: the convergence verdict is missing; compute it with error bars (blocks above 0)")
    context = attributes.get("context") or {}
    for key in _CONTEXT:
        if context.get(key) in (None, {}):
            reasons.append(f"{quantity}: context.{key} is missing")
    if context.get("fidelity") is not None and context["fidelity"] not in FIDELITIES:
        reasons.append(f"{quantity}: context.fidelity is {context['fidelity']!r}; allowed: {', '.join(FIDELITIES)}")
    return reasons


@calcfunction
def deposit(collection: orm.Str, **spectra: SpectrumData) -> orm.Dict | ExitCode:
    """Check every spectrum; all of them pass, or none is deposited.

    Returns:
        Dict with the collection and one entry per spectrum: label, quantity, content hash, verdict, fidelity.
    """
    reasons = [reason for node in spectra.values() for reason in refusals(node.base.attributes.all)]
    if reasons:
        return ExitCode(ERROR_REFUSED, f"deposit refused: {'; '.join(reasons)}", invalidates_cache=True)
    entries = [
        {
            "label": label,
            "quantity": node.base.attributes.get("quantity"),
            "content_hash": node.base.attributes.get("content_hash"),
            "converged": node.base.attributes.get("verdict")["converged"],
            "fidelity": node.base.attributes.get("context")["fidelity"],
        }
        for label, node in sorted(spectra.items())
    ]
    return orm.Dict({"collection": collection.value, "entries": entries})


def add_to_collection(name: str, spectra: list[SpectrumData]) -> int:
    """Put spectra into a collection in one transaction; content that it holds already is left out.

    Returns:
        How many were new.
    """
    collection, _ = Collection.collection.get_or_create(label=name)
    query = orm.QueryBuilder()
    query.append(Collection, filters={"id": collection.pk}, tag="collection")
    query.append(SpectrumData, with_group="collection", project="attributes.content_hash")
    held = set(query.all(flat=True))
    new: dict[str, SpectrumData] = {}
    for node in sorted(spectra, key=lambda entry: (entry.ctime, entry.uuid)):
        digest = node.base.attributes.get("content_hash")
        if digest not in held:
            new.setdefault(digest, node)
    collection.add_nodes(list(new.values()))
    return len(new)
