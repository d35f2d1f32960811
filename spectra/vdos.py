"""Vibrational density of states, whole and by parts, from velocities taken a tile of atoms at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.spectra.decomposition import decomposition_of
from vibraloom.spectra.estimator import Estimator, positive
from vibraloom.spectra.lag_products import Pairing
from vibraloom.spectra.spectrum import Spectrum
from vibraloom.units import (
    AMU_ANGSTROM2_PER_FS2_IN_EV,
    BOLTZMANN_EV_PER_K,
    SPEED_OF_LIGHT_CM_PER_FS,
)

Array = NDArray[np.float64]

TILE_ATOMS = 256
"""Atoms whose velocities are transformed at a time."""


def vdos(
    velocities: NDArray[Any] | list[NDArray[Any]] | Iterator[NDArray[Any]],
    masses: NDArray[Any],
    timestep: float,
    *,
    temperature: float,
    groups: Mapping[str, NDArray[Any]] | None = None,
    weights: Mapping[str, NDArray[Any] | list[NDArray[Any]]] | None = None,
    contributions: Mapping[str, NDArray[Any] | list[NDArray[Any]]] | None = None,
    remove_drift: bool = False,
    correlation_time: float | None = None,
    window: str = "hann",
    blocks: int | None = None,
    normalization: str = "unbiased",
) -> Spectrum:
    """Vibrational density of states S(nu) = (2 c / kT) Sum_j m_j FT<v_j v_j>, in states per cm⁻¹ (unit cm).

    Its integral is the number of moving degrees of freedom, 3N less those removed, at the temperature given
    (Berens et al., J. Chem. Phys. 79, 2375 (1983)); it stands in ``conventions.extra["modes"]``.

    Args:
        velocities: (Å/fs) Array with shape (F, A, 3); or a list of such (independent runs); or an iterator
            of tiles of consecutive atoms, shape (F, a, 3), of one run.
        masses: (amu) Array with shape (A,); 0 for virtual sites, which add nothing.
        timestep: (fs) time between frames.
        temperature: K.
        groups: label ``decomposition/name`` -> indices of atoms; each atom in exactly one group of a
            decomposition.
        weights: label ``decomposition/name`` -> Array with shape (F, A) (or a list of such, for a list of
            runs), which sum to 1 within a decomposition: the membership of an atom in each frame. The part is
            m <w(0) v(0).v(t)>, symmetrised in time.
        contributions: label ``decomposition/name`` -> (Å/fs) velocities like ``velocities`` (or a list of such), which
            sum to them within a decomposition, as from :func:`vibraloom.spectra.molecular_motion.split_motion`. The
            part is m <u(0).v(t)>, symmetrised in time.
        remove_drift: subtract the velocity of the centre of mass in each frame (needs arrays, not tiles).
        correlation_time, window, blocks, normalization: as in :func:`vibraloom.spectra.infrared.infrared`.

    Raises:
        InputError: wrong shape, NaN, masses or groups that do not fit, a correlation longer than the run.
    """
    masses = np.asarray(masses, dtype=np.float64)
    if masses.ndim != 1 or not np.isfinite(masses).all() or (masses < 0).any() or not masses.any():
        raise InputError(f"masses: shape {masses.shape}; give one non-negative number in amu per atom")
    temperature = positive(temperature, "temperature", "K")
    membership = _membership(groups or {}, len(masses))
    runs: list[Any]
    if isinstance(velocities, Iterator):
        if remove_drift:
            raise InputError("remove_drift: needs the whole array of velocities; give arrays instead of tiles")
        first = next(velocities, None)
        if first is None:
            raise InputError("velocities: no tile of atoms; give at least one")
        runs, frames = [(first, velocities)], [len(first)]
    else:
        runs = list(velocities) if isinstance(velocities, (list, tuple)) else [velocities]
        runs = [np.asarray(each) for each in runs]
        for each in runs:
            _check_tile(each, len(each), len(masses), 0)
        frames = [len(each) for each in runs]
    shares = _shares(weights or {}, frames, len(masses), "weights")
    moves = _shares(contributions or {}, frames, len(masses), "contributions")
    if moves and (remove_drift or isinstance(velocities, Iterator)):
        raise InputError("contributions: need whole arrays of velocities as they are; give arrays, keep the drift")
    for replica, run in enumerate(runs if moves else ()):
        _check_sum({label: each[replica] for label, each in moves.items()}, run, "contributions")
    estimator = Estimator.plan(
        frames,
        timestep,
        correlation_time=correlation_time,
        window=window,
        normalization=normalization,
        blocks=blocks,
    )
    products = []
    for replica, run in enumerate(runs):
        tiles = _tiles(run, frames[replica], masses, remove_drift)
        own = [each[replica] for each in (*shares.values(), *moves.values())]
        products.append(_run_sums(tiles, masses, membership, own, estimator, replica))
    pooled, each_block = estimator.densities(products)
    wavenumber = estimator.wavenumber
    factor = 2 * SPEED_OF_LIGHT_CM_PER_FS * AMU_ANGSTROM2_PER_FS2_IN_EV / (BOLTZMANN_EV_PER_K * temperature)
    curves = pooled * factor
    error, verdict = estimator.judge(curves[0], each_block[:, 0] * factor)
    ends = (curves[0, 0] + curves[0, -1]) / 2  # half weight: both ends are shared with the mirror image
    modes = float((curves[0].sum() - ends) * wavenumber[1])
    labels = [*membership, *shares, *moves]
    return Spectrum(
        quantity="vdos",
        wavenumber=wavenumber,
        intensity=curves[0],
        unit="cm",
        conventions=estimator.conventions(
            curves[0],
            derivative="none: velocities",
            quantum=None,
            temperature=temperature,
            form="S = (2c/kT) Sum_j m_j FT<v_j v_j>, integral 3N less removed degrees of freedom",
            extra={
                "modes": modes,
                "degrees_of_freedom": 3 * int(np.count_nonzero(masses)) - 3 * remove_drift,
                "drift_removed": remove_drift,
            },
        ),
        standard_error=error,
        verdict=verdict,
        parts={label: curves[1 + number] for number, label in enumerate(labels)},
    )


def _run_sums(
    tiles: Iterator[tuple[int, NDArray[Any]]],
    masses: Array,
    membership: Mapping[str, Array],
    shares: list[NDArray[Any]],
    estimator: Estimator,
    replica: int,
) -> Array:
    """Mass-weighted sums over pairs of frames of the total and of each part: (blocks, 1 + parts, lags)."""
    sums: Any = 0
    for start, tile in tiles:
        frames, atoms = tile.shape[:2]
        mass = np.repeat(masses[start : start + atoms], 3)
        columns = np.arange(3 * atoms)
        pairings = []
        for members in membership.values() if membership else [np.ones(len(masses))]:
            inside = np.flatnonzero(np.repeat(members[start : start + atoms], 3))
            pairings.append(Pairing.of(inside, weights=mass[inside]))
        series = tile.reshape(frames, -1)
        if shares:
            here = [values[:, start : start + atoms] for values in shares]
            moving = [each if each.ndim == 3 else tile * each[:, :, None].astype(tile.dtype) for each in here]
            series = np.hstack([series, *(each.reshape(frames, -1).astype(tile.dtype, copy=False) for each in moving)])
            pairings += [Pairing.of(columns + (1 + part) * 3 * atoms, columns, mass) for part in range(len(shares))]
        found = estimator.lag_sums(replica, series, pairings)
        if not np.isfinite(found).all():
            _refuse_not_finite(tile, start)
        sums = sums + found
    if not membership:
        return np.asarray(sums)
    # every atom stands once in the first decomposition
    decompositions = [decomposition_of(label) for label in membership]
    first = [number for number, name in enumerate(decompositions) if name == decompositions[0]]
    return np.concatenate([sums[:, first].sum(axis=1, keepdims=True), sums], axis=1)


def _tiles(run: Any, frames: int, masses: Array, remove_drift: bool) -> Iterator[tuple[int, NDArray[Any]]]:
    """First atom and velocities of each tile; checks that the tiles hold all atoms."""
    if isinstance(run, tuple):
        first, rest = run
        start, tile = 0, first
        while tile is not None:
            values = np.asarray(tile)
            _check_tile(values, frames, None, start)
            if start + values.shape[1] > len(masses):
                raise InputError(f"velocities: more atoms than the {len(masses)} masses; give one mass per atom")
            yield start, values
            start += values.shape[1]
            tile = next(rest, None)
        if start != len(masses):
            raise InputError(f"velocities: tiles of {start} atoms for {len(masses)} masses; give one mass per atom")
        return
    drift: Any = 0.0
    if remove_drift:
        drift = np.zeros((frames, 3))
        for start in range(0, len(masses), TILE_ATOMS):
            drift += np.einsum(
                "fax,a->fx", run[:, start : start + TILE_ATOMS].astype(np.float64), masses[start : start + TILE_ATOMS]
            )
        drift = (drift / masses.sum())[:, None]
    for start in range(0, len(masses), TILE_ATOMS):
        tile = run[:, start : start + TILE_ATOMS]
        yield start, tile - drift if remove_drift else tile


def _check_tile(values: NDArray[Any], frames: int, atoms: int | None, start: int) -> None:
    wanted = f"(frames, {'atoms' if atoms is None else atoms}, 3)"
    if (
        values.ndim != 3
        or values.shape[2] != 3
        or len(values) != frames
        or (atoms or values.shape[1]) != values.shape[1]
    ):
        raise InputError(f"velocities: shape {values.shape}; it must be {wanted} with one mass per atom")
    if frames < 2:
        raise InputError(f"velocities: {frames} frames; at least 2 are needed")


def _refuse_not_finite(tile: NDArray[Any], start: int) -> None:
    finite = np.isfinite(tile).all(axis=(1, 2))
    raise InputError(
        f"velocities: frame {int(np.argmin(finite))}, atoms from {start}, is not finite; mend or cut the run there"
    )


def _membership(groups: Mapping[str, NDArray[Any]], atoms: int) -> dict[str, Array]:
    """1 for the atoms of each group, 0 elsewhere."""
    result: dict[str, Array] = {}
    covered: dict[str, NDArray[np.int64]] = {}
    for label, members in groups.items():
        indices = np.asarray(members, dtype=np.int64).ravel()
        if indices.size and (indices.min() < 0 or indices.max() >= atoms):
            raise InputError(f"groups: {label!r} names atom {indices.max()}; allowed: 0 to {atoms - 1}")
        counts = np.bincount(indices, minlength=atoms)
        covered[decomposition_of(label)] = covered.get(decomposition_of(label), 0) + counts
        result[label] = counts.astype(np.float64)
    for decomposition, counts in covered.items():
        if (counts != 1).any():
            atom = int(np.argmax(counts != 1))
            raise InputError(
                f"groups: atom {atom} stands {counts[atom]} times in decomposition {decomposition!r};"
                " each atom must stand in exactly one group"
            )
    return result


def _shares(shares: Mapping[str, Any], frames: list[int], atoms: int, name: str) -> dict[str, list[NDArray[Any]]]:
    """Weights or velocities of each part, one array per run; weights sum to 1 within each decomposition."""
    result: dict[str, list[NDArray[Any]]] = {}
    shape = (atoms,) if name == "weights" else (atoms, 3)
    wanted = f"(frames, {', '.join(map(str, shape))})"
    for label, values in shares.items():
        runs = [np.asarray(each) for each in values] if isinstance(values, (list, tuple)) else [np.asarray(values)]
        if [each.shape for each in runs] != [(count, *shape) for count in frames]:
            found = ", ".join(str(each.shape) for each in runs)
            raise InputError(f"{name}: {label!r} has shape {found}; it must be {wanted} for each run")
        result[label] = runs
    if name == "weights" and result:
        for run, count in enumerate(frames):
            _check_sum({label: each[run] for label, each in result.items()}, np.ones((count, atoms)), name)
    return result


def _check_sum(parts: Mapping[str, NDArray[Any]], total: NDArray[Any], name: str) -> None:
    """Refuse parts that do not sum to ``total`` within each decomposition."""
    tolerance = 1e-6 if name == "weights" else 1e-5 * float(np.abs(total).max())
    for decomposition in {decomposition_of(label) for label in parts}:
        labels = [label for label in parts if decomposition_of(label) == decomposition]
        gap = np.abs(np.sum([parts[label] for label in labels], axis=0, dtype=np.float64) - total)
        wrong = gap.reshape(len(gap), -1).max(axis=1) > tolerance
        if wrong.any():
            wanted = "1" if name == "weights" else "the velocities"
            raise InputError(
                f"{name}: {', '.join(labels)} do not sum to {wanted} in frame {int(np.argmax(wrong))}; add the missing part"
            )
