"""ModelData: a learned surface (energy, dipole or polarizability) as an AiiDA node."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from aiida.orm import SinglefileData

from vibraloom.errors import InputError

SCHEMA = 1
TARGETS = ("energy", "dipole", "polarizability")
_MARKS = {b"descrpt": "deepmd-tensorflow"}
"""Names that a frozen graph of each backend contains."""


class ModelData(SinglefileData):
    """A frozen model; target, backend, type map, cutoff, training record and sha256 are attributes."""

    @classmethod
    def from_file(cls, path: Path, *, target: str, record: dict[str, Any]) -> ModelData:
        """Make an unstored node.

        Args:
            path: frozen DeePMD model (TensorFlow graph, ``.pb``).
            target: one of :data:`TARGETS`.
            record: type map, cutoff, seed, steps, validation errors; plain JSON types.

        Raises:
            InputError: the file is not a frozen DeePMD model, or the target is unknown.
        """
        if target not in TARGETS:
            raise InputError(f"{path}: target {target!r}; allowed: {', '.join(TARGETS)}")
        node = cls(file=str(path), filename="model.pb")
        node.base.attributes.set_many(
            {
                "schema": SCHEMA,
                "target": target,
                "backend": backend_of(path),
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "record": record,
            }
        )
        return node


def backend_of(path: Path) -> str:
    """Backend of a frozen model file.

    Raises:
        InputError: the file is none that is known.
    """
    data = path.read_bytes()
    for mark, backend in _MARKS.items():
        if mark in data:
            return backend
    raise InputError(f"{path}: not a frozen DeePMD model (TensorFlow graph); train one or give another file")
