"""What CP2K's log says of a run: energies, forces, stress, steps, what did not converge, and how the run ended.

One pass over the text at the speed of a search. Sources of the formats, in CP2K's repository, versions 8 to 2025.1:
    src/force_env_methods.F and src/particle_methods.F: ``ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]:`` (``[hartree]``
        without a colon since 2024), ``ATOMIC FORCES in [a.u.]`` (``FORCES| Atomic forces [hartree/bohr]`` since 2024).
    src/virial_methods.F: ``STRESS| Analytical stress tensor [GPa]`` (``[bar]`` since 2023.2); positive under compression.
    src/motion/md_energies.F: ``MD| Step number``, after the moments of the same step; ``MD_INI|`` after those of the start.
    src/surface_dipole.F, printed by src/qs_scf_output.F: the dipole of the density along the normal, in electrons.
    src/qs_scf.F, src/qs_linres_methods.F: what did not converge; src/common/cp_log_handling.F and base_hooks.F: ABORT.
"""

from __future__ import annotations

import itertools
import mmap
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vibraloom.calculators.cp2k.output_blocks import (
    problem_of_abort,
    read_abort,
    read_forces,
    read_stress,
    seconds_between,
    shown,
)
from vibraloom.errors import InputError
from vibraloom.units import EV_PER_HARTREE

Ended = Literal["normal", "walltime", "cut_off", "aborted"]
Problem = Literal["scf", "linres", "stars", "truncated", "input", "basis", "memory", "other"]

TESTED_VERSIONS = ("2023.1",)
"""Versions whose real output the tests hold; others are read by their print styles, and a warning says so."""
MOST_WARNINGS = 20

_NUMBER = rb"[-+]?\d*\.?\d+(?:[eEdD][-+]?\d+)?"
# every mark begins a line: a search for the line end before it runs at memory speed
_EVENT = re.compile(
    rb"\n[ *]*+(?:"
    rb"ENERGY\| Total FORCE_EVAL \([^)\n]*\) energy [\[(](?:a\.u\.|hartree)[\])]:? *"
    rb"(?P<energy>" + _NUMBER + rb"|\*+|NaN|[-+]?Infinity) *\r?\n"
    rb"|(?P<forces>ATOMIC FORCES in \[a\.u\.\]|FORCES\| Atomic forces \[(?:hartree/bohr|a\.u\.)\])"
    rb"|STRESS\| (?:Analytical|Numerical) stress tensor \[(?P<stress>\w+)\]"
    rb"|STRESS TENSOR \[(?P<old_stress>\w+)\]"
    rb"|(?:MD\| Step number|STEP NUMBER +=) +(?P<step>\d+)"
    rb"|(?P<start>MD_INI\| MD initialization)"
    rb"|(?:MD_PAR|MD)\| Print MD information every +(?P<every>\d+)"
    rb"|(?P<moments>The electric/magnetic moments are written to file)"
    rb"|(?P<unconverged>SCF run NOT converged)"
    rb"|(?P<unsolved>The linear solver did)"
    rb"|(?P<solved>The linear solver converged)"
    rb"|(?P<unlocalised>Crazy Wannier localization not converged)"
    rb"|(?P<warning>WARNING in [^\n]*)"
    rb"|(?P<polar>POLAR\| (?:xx|xy|yx)[^\n]*)"
    rb"|Fermi [Ee]nergy \[eV\] *:? +(?P<fermi>" + _NUMBER + rb")"
    rb"|Fermi [Ee]nergy: +(?P<fermi_atomic>" + _NUMBER + rb")"
    rb"|the slab \[electrons-Angstroem\]: +(?P<surface_dipole>" + _NUMBER + rb")"
    rb"|(?P<walltime>[A-Z_]{2,12} run terminated - exceeded requested|Walltime exceeded)"
    rb"|(?P<abort>\[ABORT\])"
    rb"|(?P<optimised>GEOMETRY OPTIMIZATION COMPLETED)"
    rb"|(?P<exhausted>MAXIMUM NUMBER OF OPTIMIZATION STEPS REACHED)"
    rb"|PROGRAM STARTED AT +(?P<began>[-\d]+ [:.\d]+)"
    rb"|PROGRAM ENDED AT +(?P<over>[-\d]+ [:.\d]+)"
    rb"|CP2K\| version string: +(?P<version>[^\n]*\S)"
    rb"|GLOBAL\| Run type +(?P<run_type>\w+)"
    rb")"
)
# branches that begin with a letter are told apart at once; one that begins with a group is tried at every line
_CANDIDATE = re.compile(
    rb"\n[ *]*+(?:ENERGY\| T|ATOMIC F|FORCES\| A|STRESS\| [AN]|STRESS T|MD\| [SP]|STEP N|MD_INI|MD_PAR|The [el]|SCF r|GLOBAL\||"
    rb"Crazy|WARNING|POLAR\| [xy]|Fermi|the slab|[A-Z_]{2,12} run t|Walltime|\[ABORT|GEOMETRY|MAXIMUM|PROGRAM [SE]|CP2K\| v)"
)
_WARNED = (
    (b"SCF run NOT converged", "unconverged"),
    (b"The linear solver did", "unsolved"),
    (b"localization not converged", "unlocalised"),
)
_OPTIMISATIONS = (b"GEO_OPT", b"GEOMETRY_OPTIMIZATION", b"CELL_OPT")
_MEMORY = re.compile(
    rb"oom[-_ ]?kill|[Oo]ut [Oo]f [Mm]emory|OUT_OF_MEMORY|bad_alloc|[Cc]annot allocate memory|[Nn]ot enough memory|"
    rb"memory allocation failed|[Aa]llocation would exceed memory limit"
)
_FROM_OUTSIDE = re.compile(rb"DUE TO TIME LIMIT|DUE TO NODE FAILURE|DUE TO PREEMPTION|CANCELLED AT")
_TAIL = 1 << 20


@dataclass(frozen=True)
class Outcome:
    """How a run of CP2K ended; the content of ``outcome.json`` besides its schema number.

    Attributes:
        engine_version: such as ``CP2K 2023.1``; None where the text does not hold the head of the log.
        ended: ``walltime`` is CP2K's own stop before the limit, ``cut_off`` an end without its last lines.
        problem: what a handler acts on, or None.
        message: one line for a person.
        last_step: last complete step of molecular dynamics, or None.
        steps_wanted: last step that the whole run is to reach, or None.
        partial: a result is there, but not all of it.
        warnings: CP2K's own, and those of the reader.
        energy_ev: (eV) last total energy, or None.
        scf_unconverged_steps: steps (or force evaluations, counted from 0) whose SCF did not converge.
        wall_seconds: between CP2K's first and last line, or None.
    """

    engine_version: str | None
    ended: Ended
    problem: Problem | None
    message: str
    last_step: int | None = None
    steps_wanted: int | None = None
    partial: bool = False
    warnings: tuple[str, ...] = ()
    energy_ev: float | None = None
    scf_unconverged_steps: tuple[int, ...] = ()
    wall_seconds: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Entries of ``outcome.json``."""
        values = asdict(self)
        return {
            "schema": 1,
            **values,
            "warnings": list(self.warnings),
            "scf_unconverged_steps": list(self.scf_unconverged_steps),
        }


@dataclass(frozen=True)
class Log:
    """What a log holds.

    Attributes:
        outcome: how the run ended.
        energies: (eV) Array with shape (E,), one per force evaluation.
        forces: (eV/Å) Array with shape (A, 3) of the last evaluation, or None where none are printed.
        stress: (eV/Å³) Array with shape (3, 3) of the last evaluation, positive under compression, or None (also in a unit that
            is not known).
        steps: Array of int, the steps of molecular dynamics in the order they were printed.
        first_step: step from which molecular dynamics starts, or None where the log does not say.
        moment_steps: for each print of moments into their own file, its step; None where the log does not say.
        solved, unsolved: how many response equations converged, and how many did not.
        unlocalised: how many localisations of Wannier functions did not converge.
        fermi: (eV) last Fermi energy, or None.
        fermi_of_step: (eV) Fermi energy of each step of molecular dynamics that printed one.
        dipole_normal: (e·Å) last dipole along the normal of a slab that the dipole correction printed, or None.
        dipole_normal_of_step: (e·Å) the same, of each step of molecular dynamics.
        optimised: True after a converged optimisation, False when its steps ran out, else None.
    """

    outcome: Outcome
    energies: NDArray[np.float64]
    forces: NDArray[np.float64] | None
    stress: NDArray[np.float64] | None
    steps: NDArray[np.int64]
    first_step: int | None
    moment_steps: tuple[int | None, ...]
    solved: int
    unsolved: int
    unlocalised: int
    fermi: float | None
    fermi_of_step: dict[int, float]
    dipole_normal: float | None
    dipole_normal_of_step: dict[int, float]
    optimised: bool | None


def read_log(path: str | Path) -> Log:
    """Read a whole log of CP2K.

    Raises:
        InputError: no such file, an empty one, or one that another program wrote.
    """
    try:
        with Path(path).open("rb") as handle:
            if Path(path).stat().st_size == 0:
                raise InputError(f"{path}: an empty file: the program wrote nothing; check that the code's path is CP2K")
            with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as text:
                head = text[: 1 << 16]
                if not any(mark in head for mark in (b"CP2K|", b"DBCSR|", b"PROGRAM STARTED AT", b"[ABORT]")):
                    raise InputError(
                        f"{path}: not written by CP2K ({shown(head)}); check that the code's path is CP2K"
                    )
                return _read(text)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); run CP2K first") from error


def diagnose(text: str) -> Outcome:
    """How the run ended, from a log, a log's tail, or what the scheduler and the loader said (joined in any order)."""
    return _read(text.encode("utf-8", errors="replace")).outcome


@dataclass
class _Found:
    """What was found so far."""

    energies: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    moment_steps: list[int | None] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    initial: list[int] = field(default_factory=list)
    doubtful: int = 0
    initial_doubtful: bool = False
    doubtful_steps: list[int] = field(default_factory=list)
    doubtful_evaluations: list[int] = field(default_factory=list)
    every: int = 1
    warnings: dict[str, None] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    words: dict[str, bytes] = field(default_factory=dict)
    stars: str = ""
    # "fermi" and "normal" (the dipole along it): the last one, those that wait for their step, those of the start, by step
    values: dict[str, float] = field(default_factory=dict)
    waiting_values: dict[str, float] = field(default_factory=dict)
    initial_values: dict[str, float] = field(default_factory=dict)
    values_of_step: dict[str, dict[int, float]] = field(default_factory=lambda: {"fermi": {}, "normal": {}})
    optimised: bool | None = None
    decided: int | None = None


def _read(text: bytes | mmap.mmap) -> Log:
    found = _Found()
    # the first line has no line end before it
    first = _EVENT.match(b"\n" + text[: text.find(b"\n") + 1])
    events = (_EVENT.match(text, candidate.start()) for candidate in _CANDIDATE.finditer(text))
    for event in itertools.chain((first,), events):
        if event is None:
            continue
        kind = str(event.lastgroup)
        if kind == "warning":
            kind = next((name for words, name in _WARNED if words in event[kind]), kind)
        found.counts[kind] = found.counts.get(kind, 0) + 1
        _take(found, kind, event)
    pressure = found.words.get("stress") or found.words.get("old_stress") or b""
    forces = stress = None
    fault = ""
    if "forces" in found.places:
        forces, fault = read_forces(text, found.places["forces"])
    place = found.places.get("stress", found.places.get("old_stress"))
    if place is not None:
        stress, wrong = read_stress(text, place, pressure.decode())
        fault = fault or wrong
    found.stars = found.stars or fault
    return Log(
        _outcome(text, found),
        np.array(found.energies),
        forces,
        stress,
        np.array(found.steps, dtype=np.int64),
        found.steps[0] - found.every if found.steps else None,
        tuple(found.moment_steps),
        found.counts.get("solved", 0),
        found.counts.get("unsolved", 0),
        found.counts.get("unlocalised", 0),
        found.values.get("fermi"),
        found.values_of_step["fermi"],
        found.values.get("normal"),
        found.values_of_step["normal"],
        found.optimised,
    )


def _take(found: _Found, kind: str, event: re.Match[bytes]) -> None:
    value = event[event.lastgroup or 0]
    if kind == "energy":
        try:
            energy = float(value) * EV_PER_HARTREE
        except ValueError:
            energy = np.nan
        found.energies.append(energy)
        if not np.isfinite(energy):
            found.stars = found.stars or f"total energy {shown(value)}"
    elif kind == "step":
        _take_step(found, int(value))
    elif kind == "start":
        found.initial, found.waiting = found.waiting, []
        found.initial_doubtful, found.doubtful = found.doubtful > 0, 0
        found.initial_values, found.waiting_values = found.waiting_values, {}
    elif kind == "every":
        found.every = max(1, int(value))
    elif kind == "moments":
        found.waiting.append(len(found.moment_steps))
        found.moment_steps.append(None)
    elif kind == "unconverged":
        found.doubtful += 1
        found.doubtful_evaluations.append(len(found.energies))
    elif kind == "polar" and b"*" in value:
        found.stars = found.stars or f"polarizability {shown(value)}"
    elif kind == "warning":
        if len(found.warnings) < MOST_WARNINGS:
            found.warnings[" ".join(value.decode("utf-8", errors="replace").strip(" *\r").split())] = None
    elif kind in ("fermi", "fermi_atomic"):
        found.values["fermi"] = found.waiting_values["fermi"] = float(value) * (1.0 if kind == "fermi" else EV_PER_HARTREE)
    elif kind == "surface_dipole":
        # of the electrons as they are counted: the dipole is the opposite
        found.values["normal"] = found.waiting_values["normal"] = -float(value)
    elif kind in ("optimised", "exhausted"):
        found.optimised = kind == "optimised"
        found.decided = len(found.energies) - 1
    else:
        found.places[kind] = event.start()
        if kind != "began" or kind not in found.words:
            found.words[kind] = value


def _take_step(found: _Found, step: int) -> None:
    if not found.steps:
        # what was printed before the first step belongs to the step that the run starts from
        for index in found.initial:
            found.moment_steps[index] = step - found.every
        if found.initial_doubtful:
            found.doubtful_steps.append(step - found.every)
        for name, value in found.initial_values.items():
            found.values_of_step[name][step - found.every] = value
    for index in found.waiting:
        found.moment_steps[index] = step
    if found.doubtful:
        found.doubtful_steps.append(step)
    found.waiting, found.doubtful = [], 0
    for name, value in found.waiting_values.items():
        found.values_of_step[name][step] = value
    # what an earlier step printed is not the next one's
    found.waiting_values = {}
    found.steps.append(step)


def _unconverged(found: _Found) -> list[int]:
    """Steps of dynamics, or else force evaluations, whose SCF did not converge and whose values are in the record."""
    if found.steps:
        return found.doubtful_steps
    # the evaluation that a walltime broke off is no result
    stopped = found.doubtful if "walltime" in found.places else 0
    doubtful = list(dict.fromkeys(found.doubtful_evaluations[: len(found.doubtful_evaluations) - stopped]))
    if found.optimised is None and found.words.get("run_type") not in _OPTIMISATIONS:
        return doubtful
    # the way to a minimum is no result: what counts is the step that decided, and the evaluation at the end of it
    last = len(found.energies) - 1 if found.decided is None else found.decided
    return [evaluation for evaluation in doubtful if evaluation >= last]


def _outcome(text: bytes | mmap.mmap, found: _Found) -> Outcome:
    version = found.words.get("version", b"").decode("utf-8", errors="replace").replace("CP2K version", "CP2K").strip() or None
    warnings = list(found.warnings)
    if version and not any(version == f"CP2K {tested}" for tested in TESTED_VERSIONS):
        warnings.append(f"{version}: read by its print styles; the reader was tested on CP2K {', '.join(TESTED_VERSIONS)}")
    if found.counts.get("unlocalised"):
        warnings.append(f"{found.counts['unlocalised']} localisation(s) of Wannier functions did not converge")
    stopped, over = "walltime" in found.places, "over" in found.words
    unconverged = _unconverged(found)
    if not found.steps and (passed := len({*found.doubtful_evaluations} - {*unconverged})) and not stopped:
        warnings.append(f"{passed} SCF run(s) on the way of the optimisation did not converge")
    outcome = Outcome(
        version,
        "normal",
        None,
        "CP2K ended normally",
        last_step=found.steps[-1] if found.steps else None,
        warnings=tuple(warnings),
        energy_ev=found.energies[-1] if found.energies and np.isfinite(found.energies[-1]) else None,
        scf_unconverged_steps=tuple(unconverged),
        wall_seconds=seconds_between(found.words.get("began"), found.words.get("over")),
    )
    tail = text[-_TAIL:]
    memory, outside = _MEMORY.search(tail), _FROM_OUTSIDE.search(tail)
    if "abort" in found.places:
        message, place = read_abort(text, found.places["abort"])
        problem: Problem = "memory" if memory is not None else problem_of_abort(message, place)
        return replace(outcome, ended="aborted", problem=problem, message=f"CP2K: {message} ({place})")
    if memory is not None:
        return replace(outcome, ended="normal" if over else "cut_off", problem="memory", message=_line(memory))
    if stopped:
        outcome = replace(outcome, ended="walltime", message="stopped by GLOBAL/WALLTIME; continue from the restart file")
    elif not over:
        reason = _line(outside) if outside else "the log ends before its last lines"
        outcome = replace(outcome, ended="cut_off", problem="truncated", message=f"cut off: {reason}")
    if found.stars:
        return replace(outcome, problem="stars", message=f"a number is no number or did not fit its column: {found.stars}")
    if found.counts.get("unsolved"):
        return replace(
            outcome, problem="linres", message=f"the linear solver did not converge ({found.counts['unsolved']} equation(s))"
        )
    if unconverged:
        where = ", ".join(str(step) for step in unconverged[:5])
        return replace(outcome, problem="scf", message=f"{len(unconverged)} SCF run(s) did not converge (step {where})")
    return outcome


def _line(mark: re.Match[bytes]) -> str:
    """The line of the text in which ``mark`` was found."""
    text = mark.string
    end = text.find(b"\n", mark.end())
    line = text[text.rfind(b"\n", 0, mark.start()) + 1 : end if end >= 0 else None]
    return " ".join(line.decode("utf-8", errors="replace").split())[:200]
