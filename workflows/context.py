"""What a spectrum is of: the record that travels with it into the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vibraloom.workflows import parameters
from vibraloom.workflows.spec import Spec
from vibraloom.workflows.word_rules import doubts_about


def context_of(
    spec: Spec, report: dict[str, Any], versions: dict[str, str], warnings: Sequence[str] = ()
) -> dict[str, Any]:
    """System, method, fidelity, seeds, versions and stamps of the spectra of a run.

    Args:
        spec: the run.
        report: the structure's report.
        versions: versions of the engines that ran, by package.
        warnings: what is doubtful about the method; each becomes a stamp, as do those of the report and of the words.
    """
    learned = spec.is_learned
    method: dict[str, Any] = {
        "dynamics": spec.dynamics.model_dump(mode="json", exclude={"seed"}),
        "response": spec.response.model_dump(mode="json"),
    }
    seed: dict[str, int] = {"dynamics": spec.dynamics.seed}
    # a narrow cell matters to responses by DFT alone, and the method's own warning says more
    of_structure = [line for line in report["warnings"] if "Gamma point" not in line]
    stamps = ["classical nuclei", *of_structure, *doubts_about(spec), *warnings]
    if learned and spec.labels is not None and spec.model is not None:
        method["labels"] = spec.labels.model_dump(mode="json", exclude={"seed"})
        method["model"] = spec.model.model_dump(mode="json", exclude={"seed"})
        seed |= {"labels": spec.labels.seed, "model": spec.model.seed}
    if spec.has_electrons or (spec.is_first_principles and parameters.label_stride(spec) is not None):
        method["electronic_structure"] = parameters.cp2k_settings(spec).record()
    if spec.system.kind != "molecule":
        seed["structure"] = spec.system.seed
        if spec.system.kind == "interface" and not learned and not spec.is_first_principles:
            stamps.append("water-only response, no image charge")
    return {
        "name": spec.name,
        "system": {
            "kind": spec.system.kind,
            "formula": report["formula"],
            "spec": spec.system.model_dump(mode="json"),
        },
        "method": method,
        # a classical water model over rigid metal shows the pipeline at work; it predicts nothing
        "fidelity": "DFT" if spec.has_electrons else "ML" if learned or spec.is_first_principles else "test",
        "isotopes": "natural",
        "seed": seed,
        "stamps": stamps,
        "versions": versions,
    }
