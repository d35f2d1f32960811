"""CalcJob of the committee network of water that ships with CP2K's data, as an engine that labels frames."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from aiida import orm
from aiida.common import datastructures
from aiida.common.exceptions import InputValidationError
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec

from vibraloom.calculators.committee.input_writer import (
    CELLS_FILE,
    FRAMES_FILE,
    cells_text,
    frames_text,
    network_labels_input,
)
from vibraloom.calculators.cp2k.input_text import render
from vibraloom.calculators.cp2k.method_sections import STRUCTURE_FILE
from vibraloom.calculators.script import JOB_FILE, EngineCalculation, ScriptParser, existing
from vibraloom.errors import InputError
from vibraloom.nodes.dataset import DatasetData


class CommitteeLabelCalculation(EngineCalculation):
    """Energies, forces and virials of many frames in one run of CP2K, with the spread of the committee."""

    MODULE = "vibraloom.calculators.committee.labels"
    PARSER = "vibraloom.committee.labels"

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input("frames", valid_type=orm.SinglefileData, help="Geometries, extxyz, Å; one composition, a cell in each.")
        spec.input("metadata.options.output_filename", valid_type=str, default="cp2k.out")
        spec.output("dataset", valid_type=DatasetData, help="Labelled frames.")

    def prepare_for_submission(self, folder: Folder) -> datastructures.CalcInfo:
        """Write CP2K's input and the frames."""
        from ase.io import read

        with self.inputs.frames.open(mode="r") as handle:
            frames = read(handle, index=":", format="extxyz")
        first = frames[0]
        for number, frame in enumerate(frames):
            if not np.array_equal(frame.numbers, first.numbers):
                raise InputValidationError(f"frames: frame {number}: other atoms than frame 0; give one composition at a time")
            if not frame.pbc.all():
                raise InputValidationError(f"frames: frame {number}: no periodic cell; the network was trained on bulk water")
        arrays = {
            "numbers": first.numbers,
            "positions": np.array([frame.positions for frame in frames]),
            "cell": np.array([frame.cell.array for frame in frames]),
        }
        stored = io.BytesIO()
        np.savez(stored, **arrays)
        try:
            text = render(network_labels_input(first, len(frames)))
        except InputError as error:
            raise InputValidationError(str(error)) from error
        first.arrays = {name: first.arrays[name] for name in ("numbers", "positions")}
        structure = io.StringIO()
        first.write(structure, format="xyz")
        contents = {
            "cp2k.inp": text.encode(),
            STRUCTURE_FILE: structure.getvalue().encode(),
            FRAMES_FILE: frames_text(first.get_chemical_symbols(), arrays["positions"]).encode(),
            CELLS_FILE: cells_text(arrays["cell"]).encode(),
            "frames.npz": stored.getvalue(),
            JOB_FILE: json.dumps({"record": self.inputs.parameters.get_dict()}, indent=1, sort_keys=True).encode(),
        }
        for name, data in contents.items():
            folder.create_file_from_filelike(io.BytesIO(data), name, mode="wb")
        return self.engine_info(["-i", "cp2k.inp"], "cp2k.err", ["labels.npz", "labels.json"])


class CommitteeLabelParser(ScriptParser):
    """Turns ``labels.npz`` into a DatasetData."""

    def collect(self, folder: Path) -> dict[str, Any]:
        self.out("dataset", DatasetData.from_labels(existing(folder, "labels.npz"), existing(folder, "labels.json")))
        return {}
