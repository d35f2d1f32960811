"""DatasetData: labelled frames as an AiiDA node."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from aiida.orm import FolderData

SCHEMA = 1


class DatasetData(FolderData):
    """``labels.npz`` (frames with energy, forces, dipole, polarizability) and ``labels.json`` (settings, counts)."""

    @classmethod
    def from_labels(cls, labels: Path, summary: Path) -> DatasetData:
        """Make an unstored node from the files of a label job."""
        node = cls()
        node.base.repository.put_object_from_file(str(labels), "labels.npz")
        node.base.repository.put_object_from_file(str(summary), "labels.json")
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
