"""DatasetData: labelled frames as an AiiDA node."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from aiida.orm import FolderData

from vibraloom.files.dataset import LABELS_FILE, RECORD_FILE, Dataset, read_dataset, units_of, write_dataset_files
from vibraloom.files.dataset import SCHEMA as SEVERAL_SYSTEMS

SCHEMA = 1


class DatasetData(FolderData):
    """``labels.npz`` (frames and their labels) and ``labels.json`` (methods, sources, counts).

    Schema 1, the result of one label job, holds one system and its settings. Schema 2 holds one or several, and where each frame
    came from (:mod:`vibraloom.files.dataset`).
    """

    @classmethod
    def from_labels(cls, labels: Path, summary: Path) -> DatasetData:
        """Make an unstored node from the files of a label job."""
        node = cls()
        node.base.repository.put_object_from_file(str(labels), LABELS_FILE)
        node.base.repository.put_object_from_file(str(summary), RECORD_FILE)
        with np.load(labels, allow_pickle=False) as arrays:
            node.base.attributes.set_many(
                {
                    "schema": SCHEMA,
                    "frames": len(arrays["energy"]),
                    "atoms": int(arrays["positions"].shape[1]),
                    "arrays": sorted(arrays.files),
                    "settings": json.loads(summary.read_text(encoding="utf-8")),
                }
            )
        return node

    @classmethod
    def from_dataset(cls, dataset: Dataset) -> DatasetData:
        """Make an unstored node of schema 2.

        Raises:
            InputError: the dataset is not sound.
        """
        node = cls()
        with tempfile.TemporaryDirectory() as folder:
            write_dataset_files(folder, dataset)
            for name in (LABELS_FILE, RECORD_FILE):
                node.base.repository.put_object_from_file(str(Path(folder) / name), name)
        systems: list[dict[str, Any]] = [
            {
                "formula": system.formula,
                "atoms": system.atoms,
                "frames": system.frames,
                "pbc": list(system.pbc),
                "labels": {name: int(system.present(name).sum()) for name in system.labels},
            }
            for system in dataset.systems
        ]
        node.base.attributes.set_many(
            {
                "schema": SEVERAL_SYSTEMS,
                "frames": dataset.frames,
                "systems": systems,
                "units": units_of(dataset),
                "sources": list(dataset.sources),
                "methods": list(dataset.methods),
                "history": list(dataset.history),
            }
        )
        return node

    def to_dataset(self) -> Dataset:
        """The frames, of any schema; those of schema 1 come from this node.

        Raises:
            InputError: a newer schema, or damaged files.
        """
        with self.as_path() as folder:
            dataset = read_dataset(folder)
        if self.base.attributes.get("schema", SCHEMA) == SCHEMA:
            return replace(dataset, sources=({"format": "node", "uuid": self.uuid},))
        return dataset
