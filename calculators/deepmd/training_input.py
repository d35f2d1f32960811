"""The input.json of ``dp train`` (TensorFlow backend) for an energy, a dipole or a polarizability."""

from __future__ import annotations

from typing import Any

from vibraloom.calculators.deepmd.plane_markers import MARKER
from vibraloom.calculators.deepmd.training_sets import TrainingSets
from vibraloom.calculators.job import required, whole_number

STEPS = {"energy": 8000, "dipole": 12000, "polarizability": 8000}
"""Enough for one small molecule: 0.01 eV/Å in the forces of water with 80 frames."""
CUTOFF = {"energy": 6.0, "dipole": 4.0, "polarizability": 4.0}
"""(Å)"""
SMOOTH_FROM = {"energy": 3.0, "dipole": 2.5, "polarizability": 2.5}
"""(Å) From here to the cutoff the neighbours fade out."""
RATE = {"energy": [1e-2, 1e-6], "dipole": [1e-2, 1e-6], "polarizability": [2e-2, 1e-5]}
"""First and last rate. Measured with 81 frames of water against the harmonic answer of the labels' own level: infrared bands of
60 and 45 or 56 km/mol (two seeds) against 63 and 48; a rate that starts at 5e-3, or fading from 0.5 Å, gives 100."""
DEFAULT_DESCRIPTOR: dict[str, Any] = {"neuron": [8, 16], "axis_neuron": 4}
DEFAULT_FITTING = [24, 24]
PERIODIC_NEIGHBOURS = "auto:1.2"
"""deepmd-kit counts the neighbours in the labels of a cell, and leaves room for a fifth more in dynamics."""
VIRIAL_PREFACTORS = {"start_pref_v": 0.02, "limit_pref_v": 1.0}
"""Without virials in the loss the pressure of a liquid is off by gigapascals."""


def training_input(job: dict[str, Any], sets: TrainingSets, folders: dict[str, list[str]]) -> dict[str, Any]:
    """The input.json of ``dp train``.

    Args:
        job: see :mod:`vibraloom.calculators.deepmd.training`.
        sets: what is trained and validated on.
        folders: of each part, in the order of its sets.

    Raises:
        InputError: bad numbers.
    """
    target = required(job, "target")
    seed = whole_number(job, "seed", minimum=0)
    steps = whole_number(job, "steps", STEPS[target])
    counts = sets.most_of_each()
    descriptor = {
        "type": "se_e2_a",
        "sel": PERIODIC_NEIGHBOURS if counts is None else counts,
        "rcut": CUTOFF[target],
        "rcut_smth": SMOOTH_FROM[target],
        "resnet_dt": False,
        "seed": seed + 1,
        **DEFAULT_DESCRIPTOR,
        **job.get("descriptor", {}),
    }
    fitting: dict[str, Any] = {
        "neuron": job.get("fitting", DEFAULT_FITTING),
        "resnet_dt": True,
        "seed": seed + 2,
    }
    if target == "energy":
        virial = any("virial" in each.labels for each in sets.train)
        loss: dict[str, Any] = {
            "type": "ener",
            "start_pref_e": 0.02,
            "limit_pref_e": 1,
            "start_pref_f": 1000,
            "limit_pref_f": 10,
            **(VIRIAL_PREFACTORS if virial else {"start_pref_v": 0, "limit_pref_v": 0}),
            **job.get("loss", {}),
        }
    else:
        fitting |= {"type": "dipole" if target == "dipole" else "polar", "sel_type": answering_types(target, sets)}
        loss = {"type": "tensor", "pref": 0.0 if sets.is_atomic else 1.0, "pref_atomic": 1.0 if sets.is_atomic else 0.0}
    rate = job.get("learning_rate", RATE[target])
    batch = whole_number(job, "batch_size", 8)
    members = {"train": sets.train, "validation": sets.validation}
    data = {
        part: {"systems": places, "batch_size": [min(batch, each.frames) for each in members[part]]}
        for part, places in folders.items()
    }
    return {
        "model": {"type_map": list(sets.type_map), "descriptor": descriptor, "fitting_net": fitting},
        "learning_rate": {
            "type": "exp",
            "start_lr": rate[0],
            "stop_lr": rate[1],
            "decay_steps": max(1, min(5000, steps // 80)),
        },
        "loss": loss,
        "training": {
            "training_data": data["train"],
            "validation_data": data["validation"],
            "numb_steps": steps,
            "seed": seed,
            "disp_file": "lcurve.out",
            "disp_freq": max(1, min(200, steps // 10)),
            "save_freq": max(1, min(2000, steps // 4)),
            "save_ckpt": "model.ckpt",
            "max_ckpt_keep": 2,
        },
    }


def answering_types(target: str, sets: TrainingSets) -> list[int]:
    """Indices of the types whose atoms carry the tensor: those with labels of their own, where there are such.

    The dipole of a whole molecule sits on its heavy atoms, which see every bond: with few frames that generalises better than a
    share on each atom. On the heavy atom alone water's polarizability error is forty times larger, so there every type answers.
    """
    elements = sets.type_map
    if sets.is_atomic:
        return [elements.index(symbol) for symbol in sets.carriers]
    heavy = [index for index, element in enumerate(elements) if element not in ("H", MARKER)]
    return heavy if target == "dipole" and heavy else list(range(len(elements)))
