"""How a dataset looks on a terminal."""

from __future__ import annotations

from typing import Any, TextIO

from vibraloom.errors import InputError
from vibraloom.files.dataset import Dataset


def dataset_record(dataset: Dataset) -> dict[str, Any]:
    """Statistics with the molecules of each system; plain JSON types."""
    from vibraloom.calculators.dipole_sense import dipole_sense
    from vibraloom.calculators.molecule_labels import species
    from vibraloom.files.dataset_statistics import statistics

    record = statistics(dataset)
    for entry, system in zip(record["systems"], dataset.systems, strict=True):
        try:
            entry["molecules"] = species(system)
        except InputError as error:
            # a dataset may hold what has no molecules; the rest of the record stands
            entry["molecules"] = {}
            entry["molecules_unknown"] = str(error)
    record["dipole_sense"] = [
        {"source": source, "mean_cosine": cosine} for source, cosine in sorted(dipole_sense(dataset).items())
    ]
    return record


def summary_record(dataset: Dataset) -> dict[str, Any]:
    """Frames, systems and the last operation with what it has to tell; plain JSON types."""
    systems = [
        {
            "formula": system.formula,
            "frames": system.frames,
            "labels": {name: int(system.present(name).sum()) for name in system.labels},
        }
        for system in dataset.systems
    ]
    return {"frames": dataset.frames, "systems": systems, "last": dataset.history[-1] if dataset.history else {}}


def summary_lines(dataset: Dataset, where: str) -> list[str]:
    """One line on what a dataset holds, and what its last operation has to tell."""
    listed = ", ".join(f"{system.frames} of {system.formula}" for system in dataset.systems[:5])
    more = f" and {len(dataset.systems) - 5} more systems" if len(dataset.systems) > 5 else ""
    lines = [f"{where}: {dataset.frames} frames ({listed}{more})"]
    last = dataset.history[-1] if dataset.history else {}
    if last.get("duplicates_dropped"):
        completed = f"; {last['frames_completed']} got labels of the other" if last["frames_completed"] else ""
        lines.append(f"  {last['duplicates_dropped']} frames were there twice{completed}")
    for conflict in last.get("conflicts", [])[:5]:
        first, second = conflict["frames"]
        lines.append(
            f"  warning: {first} and {second} are one geometry, but {conflict['label']} differs by"
            f" {conflict['largest_difference']:.3g}; both are kept"
        )
    if len(last.get("conflicts", [])) > 5:
        lines.append(f"  warning: {len(last['conflicts']) - 5} more of that kind; vibraloom dataset info --json names them")
    return lines


def show_dataset(record: dict[str, Any], stream: TextIO) -> None:
    """Print what :func:`dataset_record` tells."""
    from rich.table import Table

    from vibraloom.app.presentation import console

    screen = console(stream)
    for system in record["systems"]:
        title = f"{system['formula']}: {system['frames']} frames of {system['atoms']} atoms"
        if density := system.get("density"):
            title += f", {density['min']:.4g}–{density['max']:.4g} g/cm^3"
        table = Table(title=title)
        for heading in ("label", "frames", "what", "mean", "standard deviation", "min", "max", "unit"):
            table.add_column(heading)
        for name, label in system["labels"].items():
            numbers = [f"{label[key]:.6g}" for key in ("mean", "standard_deviation", "min", "max")]
            table.add_row(name, str(label["frames"]), label["quantity"], *numbers, label["unit"])
        screen.print(table)
        counts = [
            f"{name} {each['most'] if each['fewest'] == each['most'] else '{}–{}'.format(each['fewest'], each['most'])}"
            for name, each in system["molecules"].items()
        ]
        if counts:
            screen.print(f"molecules in a frame: {', '.join(counts)}", highlight=False, markup=False)
    for entry in record["outliers"]:
        text = f"{entry['label']} {entry['value']:.6g} {entry['unit']}, {entry['score']:+.1f} robust deviations from the median"
        screen.print(f"outlier: {entry['origin']}: {text}", highlight=False, markup=False, soft_wrap=True)
    for entry in record["not_positive_definite"]:
        text = f"{entry['label']} has the eigenvalue {entry['smallest_eigenvalue']:.4g} {entry['unit']}"
        screen.print(f"not positive definite: {entry['origin']}: {text}", highlight=False, markup=False, soft_wrap=True)
    for key, shown in (("outliers", "outliers"), ("not_positive_definite", "tensors that are not positive definite")):
        if (hidden := record[f"{key}_in_all"] - len(record[key])) > 0:
            screen.print(f"{hidden} more {shown}", highlight=False)
    for entry in record["dipole_sense"]:
        if entry["mean_cosine"] < 0:
            source = record["sources"][entry["source"]]
            told = f"dipoles point from hydrogens to heavy atoms (mean cosine {entry['mean_cosine']:.2f}), against the usual sign"
            screen.print(f"{source.get('path') or source.get('uuid')}: {told}", highlight=False, markup=False, soft_wrap=True)
    for text, count in record["remarks"].items():
        screen.print(f"{count} frames: {text}", highlight=False, markup=False, soft_wrap=True)
    methods = [", ".join(f"{key} {value}" for key, value in method.items()) or "not stated" for method in record["methods"]]
    screen.print(f"method: {'; '.join(methods)}", highlight=False, markup=False, soft_wrap=True)
    for source in record["sources"]:
        identity = source.get("path") or source.get("uuid")
        sum_ = f", sha256 {source['sha256'][:12]}…" if "sha256" in source else ""
        screen.print(f"from: {source['format']} {identity}{sum_}", highlight=False, markup=False, soft_wrap=True)
