"""What is changed in a CP2K input after a failure: small steps, gentlest first, each taken once.

Inputs are nested dicts in the convention of :mod:`.input_text`. Nothing here runs anything.

A remedy that changes the physics (:data:`OTHER_PHYSICS`) is never taken in dynamics: steps before and after it would lie on
two energy surfaces and be no one ensemble. Such a trajectory ends with its reason instead, and is to be begun anew with the wider
smearing or the finer grid in its settings. Elsewhere the result is one of the changed input alone, and carries a warning.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from vibraloom.calculators.cp2k.linear_response import RESPONSE_CUTOFF

Section = dict[str, Any]

OUTER_CYCLES = 20
"""Least number of outer SCF cycles after the first remedy."""
DIAGONALISATION_CYCLES = 300
"""Least number of SCF cycles of a diagonalisation after the first remedy."""
HOTTEST_ELECTRONS = 1500.0
"""(K) Smearing is not widened beyond this."""
FRESH = "fresh wavefunction"
"""Name of the remedy after which no earlier wavefunction is read."""
OTHER_PHYSICS = {
    "wider smearing": "energy and forces are those of warmer electrons",
    "finer grid": "linear response was computed on another grid than energy and forces",
    "fields instead": "linear response failed: the polarizability is that of finite fields",
    "fields alone": "linear response failed: the polarizability of the fields was not checked against it",
}
"""Remedies after which the result is another quantity than the one asked for, and what a reader must know."""
TIGHT_SCF = 1e-8
"""Convergence of the wavefunction from which linear response starts again."""


def next_input(parameters: Mapping[str, Any], problem: str, tried: Sequence[str]) -> tuple[Section, str] | None:
    """The input for the next attempt after ``problem``.

    Args:
        parameters: nested CP2K input of the run that failed; it is not changed.
        problem: ``"scf"``, ``"linres"`` or ``"stars"`` (numbers too large to print), as the converter names it.
        tried: words of the remedies that were taken before.

    Returns:
        The changed input and the words that say what was changed, or None when nothing is left to try.
    """
    for name, remedy in _LADDERS.get(problem, ()):
        if any(words.split(":")[0] == name for words in tried) or (name in OTHER_PHYSICS and _is_dynamics(parameters)):
            continue
        changed = copy.deepcopy(dict(parameters))
        if words := remedy(changed):
            return changed, f"{name}: {words}"
    return None


def in_force(remedies: Sequence[str]) -> list[str]:
    """The words of those remedies that the result rests on: with fields in its place, none of linear response."""
    fields = any(words.startswith("fields ") for words in remedies)
    dropped = {name for name, _ in _RESPONSE} if fields else set()
    return [words for words in remedies if words.split(":")[0] not in dropped]


def physics_warnings(remedies: Sequence[str]) -> list[str]:
    """One line for each remedy in force that changes what was computed."""
    return [
        f"{OTHER_PHYSICS[words.split(':')[0]]} ({words})" for words in in_force(remedies) if words.split(":")[0] in OTHER_PHYSICS
    ]


def has_linear_response(parameters: Mapping[str, Any]) -> bool:
    """Whether the input asks for linear response."""
    return any(True for _ in _linear_response(parameters))


def allows_field(parameters: Mapping[str, Any]) -> bool:
    """Whether a periodic field is defined for this input: no smeared occupations, no k-points."""
    for dft in _dft(parameters):
        smeared = any(scf.get("SMEAR") is not None for scf in sections(dft, "SCF"))
        if smeared or dft.get("KPOINTS") is not None:
            return False
    return True


# --- nested inputs ---


def sections(section: Mapping[str, Any], *path: str) -> Iterator[Section]:
    """All sections under ``path``; a repeated section gives several."""
    if not path:
        yield section  # type: ignore[misc]
        return
    value = section.get(path[0])
    for one in value if isinstance(value, list | tuple) else [value]:
        if isinstance(one, Mapping):
            yield from sections(one, *path[1:])


def made(section: Section, name: str) -> Section:
    """The section ``name`` inside ``section``, made if it is not there."""
    value = section.get(name)
    if not isinstance(value, dict):
        value = {} if value is None else {"_": value}
        section[name] = value
    return value


def _dft(parameters: Mapping[str, Any]) -> Iterator[Section]:
    yield from sections(parameters, "FORCE_EVAL", "DFT")


def _scf(parameters: Mapping[str, Any]) -> Iterator[Section]:
    yield from sections(parameters, "FORCE_EVAL", "DFT", "SCF")


def _linear_response(parameters: Mapping[str, Any]) -> Iterator[Section]:
    yield from sections(parameters, "FORCE_EVAL", "PROPERTIES", "LINRES")


def _number(section: Mapping[str, Any], name: str, default: float) -> float:
    try:
        return float(section.get(name, default))
    except (TypeError, ValueError):
        return default  # with a unit, or a list: left to CP2K


# --- SCF ---


def _is_dynamics(parameters: Mapping[str, Any]) -> bool:
    run_type = str(parameters.get("GLOBAL", {}).get("RUN_TYPE") or "").upper()
    return run_type in ("MD", "MOLECULAR_DYNAMICS")


def _uses_ot(scf: Section) -> bool:
    ot = scf.get("OT")
    return isinstance(ot, Mapping) and str(ot.get("_") or "T").upper() not in ("F", "FALSE", ".FALSE.", "OFF")


def _longer(parameters: Section) -> str | None:
    words = None
    for scf in _scf(parameters):
        scf["SCF_GUESS"] = "RESTART"
        if _uses_ot(scf):
            outer = made(scf, "OUTER_SCF")
            before = int(_number(outer, "MAX_SCF", 0))
            after = max(4 * before, OUTER_CYCLES)
            outer["MAX_SCF"] = after
            outer["EPS_SCF"] = scf.get("EPS_SCF") or 1e-5
            words = f"outer SCF cycles {before} to {after}, from the last wavefunction"
        else:
            before = int(_number(scf, "MAX_SCF", 50))
            after = max(4 * before, DIAGONALISATION_CYCLES)
            scf["MAX_SCF"] = after
            words = f"SCF cycles {before} to {after}, from the last wavefunction"
    return words


def _conjugate_gradients(parameters: Section) -> str | None:
    words = None
    for scf in _scf(parameters):
        if _uses_ot(scf):
            ot = made(scf, "OT")
            before = f"{ot.get('MINIMIZER') or 'CG'} with {ot.get('PRECONDITIONER') or 'FULL_KINETIC'}"
            steady = {"MINIMIZER": "CG", "LINESEARCH": "3PNT", "PRECONDITIONER": "FULL_ALL", "ENERGY_GAP": 0.001}
            for name, value in steady.items():
                ot[name] = value
            words = f"{before} to CG with FULL_ALL and a three-point line search"
    return words


def _fresh(parameters: Section) -> str | None:
    words = None
    for scf in _scf(parameters):
        if _uses_ot(scf):
            scf["SCF_GUESS"] = "ATOMIC"
            words = "the wavefunction is made anew from atoms"
    return words


def _gentler_mixing(parameters: Section) -> str | None:
    words = None
    for scf in _scf(parameters):
        if not _uses_ot(scf):
            mixing = made(scf, "MIXING")
            before = _number(mixing, "ALPHA", 0.4)
            after = min(before / 2, 0.1)
            gentle = {"METHOD": "BROYDEN_MIXING", "ALPHA": after, "BETA": 1.5, "NBROYDEN": 12}
            for name, value in gentle.items():
                mixing[name] = value
            words = f"Broyden mixing, alpha {before:g} to {after:g}, beta 1.5"
    return words


def _wider_smearing(parameters: Section) -> str | None:
    words = None
    for smear in sections(parameters, "FORCE_EVAL", "DFT", "SCF", "SMEAR"):
        before = _number(smear, "ELECTRONIC_TEMPERATURE", 300.0)
        after = min(2 * before, HOTTEST_ELECTRONS)
        if after > before:
            smear["ELECTRONIC_TEMPERATURE"] = after
            words = f"electronic temperature {before:g} to {after:g} K; compare energies at one temperature only"
    return words


# --- linear response ---


def _steadier_response(parameters: Section) -> str | None:
    words = None
    for response in _linear_response(parameters):
        before = (str(response.get("PRECONDITIONER") or "NONE").upper(), _number(response, "ENERGY_GAP", 0.2))
        cycles = int(_number(response, "MAX_ITER", 50))
        if before == ("FULL_SINGLE_INVERSE", 0.02) and cycles >= 200:
            continue
        response["PRECONDITIONER"] = "FULL_SINGLE_INVERSE"
        response["ENERGY_GAP"] = 0.02
        response["MAX_ITER"] = max(2 * cycles, 200)
        words = f"preconditioner {before[0]} to FULL_SINGLE_INVERSE, energy gap 0.02, cycles {cycles} to {max(2 * cycles, 200)}"
    return words


def _tighter_wavefunction(parameters: Section) -> str | None:
    if not has_linear_response(parameters):
        return None
    words = None
    for dft in _dft(parameters):
        for scf in sections(dft, "SCF"):
            before = _number(scf, "EPS_SCF", 1e-5)
            if before <= TIGHT_SCF:
                continue
            scf["EPS_SCF"] = TIGHT_SCF
            for outer in sections(scf, "OUTER_SCF"):
                outer["EPS_SCF"] = TIGHT_SCF
            quickstep = made(dft, "QS")
            quickstep["EPS_DEFAULT"] = min(_number(quickstep, "EPS_DEFAULT", 1e-10), 1e-14)
            words = f"SCF convergence {before:g} to {TIGHT_SCF:g}"
    return words


def _finer_grid(parameters: Section) -> str | None:
    if not has_linear_response(parameters):
        return None
    words = None
    for dft in _dft(parameters):
        grid = made(dft, "MGRID")
        before = _number(grid, "CUTOFF", 280.0)
        if before < RESPONSE_CUTOFF:
            grid["CUTOFF"] = RESPONSE_CUTOFF
            words = f"cutoff {before:g} to {RESPONSE_CUTOFF:g} Ry"
    return words


_RESPONSE: tuple[tuple[str, Callable[[Section], str | None]], ...] = (
    ("response preconditioner", _steadier_response),
    ("tighter wavefunction", _tighter_wavefunction),
    ("finer grid", _finer_grid),
)
_LADDERS: dict[str, tuple[tuple[str, Callable[[Section], str | None]], ...]] = {
    "scf": (
        ("longer", _longer),
        ("conjugate gradients", _conjugate_gradients),
        (FRESH, _fresh),
        ("gentler mixing", _gentler_mixing),
        ("wider smearing", _wider_smearing),
    ),
    "linres": _RESPONSE,
    "stars": _RESPONSE,
}
