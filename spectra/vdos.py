"""Vibrational density of states, whole and by parts, from velocities taken a stretch of frames and a tile of atoms at a time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, Unpack

import numpy as np
from numpy.typing import NDArray

from vibraloom.errors import InputError
from vibraloom.spectra.decomposition import decomposition_of
from vibraloom.spectra.estimator import Estimator, positive
from vibraloom.spectra.estimator_options import EstimatorOptions, estimator_for, takes
from vibraloom.spectra.finite_frames import refuse_not_finite
from vibraloom.spectra.lag_products import Pairing, Segment, add_segment
from vibraloom.spectra.short_blocks import ShortBlocks
from vibraloom.spectra.spectrum import Spectrum
from vibraloom.units import (
    AMU_ANGSTROM2_PER_FS2_IN_EV,
    BOLTZMANN_EV_PER_K,
    SPEED_OF_LIGHT_CM_PER_FS,
)

Array = NDArray[np.float64]

TILE_ATOMS = 256
"""Most atoms that are transformed at a time by a thread."""
TILE_BYTES = 4 * 2**20
"""Memory that the padded columns of one tile of atoms may take; four times that where all velocities are in memory."""
SHORT_TILE_ATOMS = 32
"""Atoms that are transformed at a time where blocks are short and all velocities are in memory."""
READ_BYTES = 32 * 2**20
"""Memory that frames read from a file at a time may take, of a tile by each thread or of all atoms."""


class Frames(Protocol):
    """Values per frame and atom that are read when they are needed, such as velocities in a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(F, A, 3), or (F, A) for weights."""
        ...

    def read(self, start: int, stop: int, atoms: slice | None = None) -> NDArray[Any]:
        """Frames ``start`` to ``stop``, of ``atoms`` or of all, as an Array."""
        ...


@takes(EstimatorOptions)
def vdos(
    velocities: NDArray[Any] | Frames | Sequence[NDArray[Any] | Frames],
    masses: NDArray[Any],
    timestep: float,
    *,
    temperature: float | None,
    groups: Mapping[str, NDArray[Any]] | None = None,
    weights: Mapping[str, Any] | None = None,
    contributions: Mapping[str, Any] | None = None,
    remove_drift: bool = False,
    **options: Unpack[EstimatorOptions],
) -> Spectrum:
    """Vibrational density of states S(nu) = (2 c / kT) Sum_j m_j FT<v_j v_j>, in states per cm⁻¹ (unit cm).

    Its integral is the number of moving degrees of freedom, 3N less those removed, at the temperature given
    (Berens et al., J. Chem. Phys. 79, 2375 (1983)); it stands in ``conventions.extra["modes"]``.

    Args:
        velocities: (Å/fs) Array with shape (F, A, 3), or :class:`Frames` of it, which are read a stretch at a time; or a
            list of such (independent runs).
        masses: (amu) Array with shape (A,); 0 for virtual sites, which add nothing.
        timestep: (fs) time between frames.
        temperature: K; None: that of the velocities' own mean kinetic energy, which makes the integral 3N whatever their
            unit. It stands in ``conventions.extra["kinetic_temperature"]`` in either case.
        groups: label ``decomposition/name`` -> indices of atoms; each atom in exactly one group of a
            decomposition.
        weights: label ``decomposition/name`` -> Array with shape (F, A) (or a list of such, for a list of
            runs), which sum to 1 within a decomposition: the membership of an atom in each frame. The part is
            m <w(0) v(0).v(t)>, symmetrised in time.
        contributions: label ``decomposition/name`` -> (Å/fs) velocities like ``velocities`` (or a list of such), which
            sum to them within a decomposition, as from :func:`vibraloom.spectra.molecular_motion.split_motion`. The
            part is m <u(0).v(t)>, symmetrised in time.
        remove_drift: subtract the velocity of the centre of mass in each frame.
        options: of the estimate, see :class:`vibraloom.spectra.estimator_options.EstimatorOptions`; not ``cepstral``.

    Raises:
        InputError: wrong shape, NaN, masses or groups that do not fit, a correlation longer than the run.
    """
    masses = np.asarray(masses, dtype=np.float64)
    if masses.ndim != 1 or not np.isfinite(masses).all() or (masses < 0).any() or not masses.any():
        raise InputError(f"masses: shape {masses.shape}; give one non-negative number in amu per atom")
    if temperature is not None:
        temperature = positive(temperature, "temperature", "K")
    membership = _membership(groups or {}, len(masses))
    runs: list[Any] = list(velocities) if isinstance(velocities, (list, tuple)) else [velocities]
    if not runs:
        raise InputError("velocities: an empty list; give at least one run")
    runs = [each if hasattr(each, "read") else _real(np.asarray(each)) for each in runs]
    for each in runs:
        _check_shape(each.shape, len(masses))
    frames = [each.shape[0] for each in runs]
    shares = _shares(weights or {}, frames, (len(masses),), "weights")
    shares |= _shares(contributions or {}, frames, (len(masses), 3), "contributions")
    if contributions and remove_drift:
        raise InputError("remove_drift: contributions sum to the velocities as they are; keep the drift")
    plan = estimator_for(frames, timestep, **options)
    sums = []
    for replica, run in enumerate(runs):
        own = {label: each[replica] for label, each in shares.items()}
        sums.append(_run_sums(run, masses, membership, own, plan, replica, remove_drift))
    pooled, each_block = plan.densities(sums)
    wavenumber = plan.wavenumber
    degrees = 3 * int(np.count_nonzero(masses)) - 3 * remove_drift
    if not degrees:
        raise InputError("remove_drift: one atom has no motion but its drift; keep the drift")
    ends = (pooled[0, 0] + pooled[0, -1]) / 2  # half weight: both ends are shared with the mirror image
    per_kelvin = 2 * SPEED_OF_LIGHT_CM_PER_FS * AMU_ANGSTROM2_PER_FS2_IN_EV / BOLTZMANN_EV_PER_K
    modes = float((pooled[0].sum() - ends) * wavenumber[1]) * per_kelvin
    kinetic = modes / degrees
    if temperature is None:
        temperature = positive(kinetic, "velocities: kinetic temperature", "K")
    factor = per_kelvin / temperature
    curves = pooled * factor
    error, verdict = plan.judge(curves[0], each_block[:, 0] * factor)
    labels = [*membership, *shares]
    return Spectrum(
        quantity="vdos",
        wavenumber=wavenumber,
        intensity=curves[0],
        unit="cm",
        conventions=plan.conventions(
            curves[0],
            derivative="none: velocities",
            quantum=None,
            temperature=temperature,
            form="S = (2c/kT) Sum_j m_j FT<v_j v_j>, integral 3N less removed degrees of freedom",
            extra={
                "modes": modes / temperature,
                "degrees_of_freedom": degrees,
                "kinetic_temperature": kinetic,
                "drift_removed": remove_drift,
            },
        ),
        standard_error=error,
        verdict=verdict,
        parts={label: curves[1 + number] for number, label in enumerate(labels)},
    )


def _run_sums(
    run: Any,
    masses: Array,
    membership: Mapping[str, Array],
    shares: Mapping[str, Any],
    estimator: Estimator,
    replica: int,
    remove_drift: bool,
) -> Array:
    """Mass-weighted sums over pairs of frames of the total and of each part: (blocks, 1 + parts, lags)."""
    atoms = len(masses)
    stored = hasattr(run, "read")
    alone = not shares and not remove_drift  # atoms need nothing of each other
    blocks = estimator.short_blocks(replica) if alone else None
    if blocks is not None:
        return _with_total(_short_block_sums(run, masses, membership, blocks), membership)
    # read a tile at a time, which leaves room for long stretches
    tiled = stored and alone
    together = min(atoms, TILE_ATOMS) if tiled else atoms
    longest = max(1, READ_BYTES // (12 * together)) if stored else None
    count = len(membership) or 1
    sums: Array = np.zeros((max(1, estimator.blocks[replica]), count + len(shares), estimator.max_lag + 1))
    with ThreadPoolExecutor(_threads()) as pool:
        for stretch in estimator.segments(replica, longest):
            # read anew for each stretch: only one is in memory at a time
            frames = None if tiled else _frames(run, masses, stretch, remove_drift)
            moving = [] if frames is None else [frames, *_moving(frames, shares, stretch)]
            columns = 12 * max(len(moving), 1) * (stretch.reach - stretch.start + estimator.max_lag)
            room = TILE_BYTES if stored else 4 * TILE_BYTES
            width = TILE_ATOMS if tiled else max(8, min(TILE_ATOMS, -(-atoms // 2), room // columns))

            def tile(first: int, moving: list[NDArray[Any]] = moving, stretch: Segment = stretch, width: int = width) -> Array:
                inside = slice(first, min(first + width, atoms))
                members = [values[inside] for values in membership.values()]
                parts = [each[:, inside] for each in moving] or [run.read(stretch.start, stretch.reach, inside)]
                rows = [each.reshape(len(each), -1) for each in parts]
                series = rows[0] if len(rows) == 1 else np.hstack(rows)
                pairings = _pairings(masses[inside], members, len(shares))
                found = estimator.stretch_sums(series, stretch, pairings).mean(axis=2)
                if not np.isfinite(found).all():
                    refuse_not_finite(parts[0], "velocities", stretch.start)
                return found

            add_segment(sums, stretch, np.sum(list(pool.map(tile, range(0, atoms, width))), axis=0))
            del frames, moving, tile
    return _with_total(sums, membership)


def _short_block_sums(run: Any, masses: Array, membership: Mapping[str, Array], blocks: ShortBlocks) -> Array:
    """As :func:`_run_sums` of atoms by themselves, in blocks that are each transformed once."""
    stored = hasattr(run, "read")
    longest = int(np.diff(blocks.edges).max())
    # of each column its frames, and twice as much of two transforms, are in memory
    room = max(SHORT_TILE_ATOMS, READ_BYTES // (60 * longest))
    width = min(TILE_ATOMS, room) if stored else SHORT_TILE_ATOMS

    def tile(first: int) -> tuple[Array, NDArray[np.complex128]]:
        inside = slice(first, min(first + width, len(masses)))

        def read(start: int, stop: int) -> NDArray[Any]:
            rows: NDArray[Any] = run.read(start, stop, inside) if stored else run[start:stop, inside]
            return rows.reshape(len(rows), -1)

        pairings = _pairings(masses[inside], [values[inside] for values in membership.values()], 0)
        power, cross = blocks.spectra(read, pairings)
        finite = np.isfinite(power).reshape(len(power), -1).all(axis=1)
        if not finite.all():
            start, stop = blocks.edges[int(np.argmin(finite)) :][:2]
            refuse_not_finite(read(int(start), int(stop)), "velocities", int(start))
        return power, cross

    power, cross = np.zeros(()), np.zeros((), dtype=np.complex128)
    with ThreadPoolExecutor(_threads()) as pool:
        for one, other in pool.map(tile, range(0, len(masses), width)):
            power, cross = power + one, cross + other
    return blocks.sums(power, cross)


def _with_total(sums: Array, membership: Mapping[str, Array]) -> Array:
    """The sum over the first decomposition, in which every atom stands once, before the sums of the groups."""
    if not membership:
        return sums
    decompositions = [decomposition_of(label) for label in membership]
    of_first = [number for number, name in enumerate(decompositions) if name == decompositions[0]]
    return np.concatenate([sums[:, of_first].sum(axis=1, keepdims=True), sums], axis=1)


def _frames(run: Any, masses: Array, stretch: Segment, remove_drift: bool) -> NDArray[Any]:
    """Velocities of a stretch, without the drift of the centre of mass if asked."""
    frames = _rows(run, stretch.start, stretch.reach)
    if not remove_drift:
        return frames
    drift = np.einsum("fax,a->fx", frames, masses, dtype=np.float64) / masses.sum()
    return frames - drift[:, None]


def _threads() -> int:
    """Threads for the tiles: the cores of this process, as OMP_NUM_THREADS limits them, at most 4."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return max(1, min(4, cores, int(limit) if limit.isdigit() and int(limit) > 0 else cores))


def _rows(values: Any, start: int, stop: int) -> NDArray[Any]:
    rows: NDArray[Any] = values.read(start, stop) if hasattr(values, "read") else values[start:stop]
    return rows


def _moving(frames: NDArray[Any], shares: Mapping[str, Any], stretch: Segment) -> list[NDArray[Any]]:
    """Velocities of each part in a stretch: weights times the velocities, or the contribution itself.

    Raises:
        InputError: parts of a decomposition that do not sum to the whole.
    """
    moving: dict[str, NDArray[Any]] = {}
    given: dict[str, NDArray[Any]] = {}
    for label, values in shares.items():
        given[label] = _rows(values, stretch.start, stretch.reach)
        weight = given[label].ndim == 2
        moving[label] = frames * given[label][:, :, None].astype(frames.dtype) if weight else given[label].astype(frames.dtype)
    for decomposition in {decomposition_of(label) for label in shares}:
        labels = [label for label in shares if decomposition_of(label) == decomposition]
        weight = given[labels[0]].ndim == 2
        gap = np.asarray(np.sum([given[label] for label in labels], axis=0, dtype=np.float64))
        gap -= 1.0 if weight else frames
        tolerance = 1e-6 if weight else 1e-5 * float(np.abs(frames).max())
        wrong = ~(np.abs(gap).reshape(len(gap), -1).max(axis=1) <= tolerance)
        if wrong.any():
            raise InputError(
                f"{'weights' if weight else 'contributions'}: {', '.join(labels)} do not sum to"
                f" {'1' if weight else 'the velocities'} in frame {stretch.start + int(np.argmax(wrong))}; add the missing part"
            )
    return list(moving.values())


def _pairings(masses: Array, membership: Sequence[Array], shares: int) -> list[Pairing]:
    """Each group with itself (or all atoms), then the columns of each share with those of the whole."""
    mass = np.repeat(masses, 3)
    columns = np.arange(len(mass))
    groups = membership or [np.ones(len(masses))]
    pairings = []
    for members in groups:
        inside = np.flatnonzero(np.repeat(members, 3))
        pairings.append(Pairing.of(inside, weights=mass[inside]))
    return pairings + [Pairing.of(columns + (1 + part) * len(mass), columns, mass) for part in range(shares)]


def _real(velocities: NDArray[Any]) -> NDArray[Any]:
    """Velocities as the loops take them, float32 or float64 in the machine's order of bytes."""
    if velocities.dtype.kind not in "fiu":
        raise InputError(f"velocities: type {velocities.dtype}; it must be real numbers")
    if velocities.dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        return velocities
    single = velocities.dtype.kind == "f" and velocities.dtype.itemsize <= 4
    return velocities.astype(np.float32 if single else np.float64)


def _check_shape(shape: tuple[int, ...], atoms: int) -> None:
    if len(shape) != 3 or shape[1:] != (atoms, 3):
        raise InputError(f"velocities: shape {shape}; it must be (frames, {atoms}, 3) with one mass per atom")
    if shape[0] < 2:
        raise InputError(f"velocities: {shape[0]} frames; at least 2 are needed")


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


def _shares(shares: Mapping[str, Any], frames: list[int], shape: tuple[int, ...], name: str) -> dict[str, list[Any]]:
    """Weights or velocities of each part, one entry per run."""
    wanted = f"(frames, {', '.join(map(str, shape))})"
    result: dict[str, list[Any]] = {}
    for label, values in shares.items():
        runs = list(values) if isinstance(values, (list, tuple)) else [values]
        runs = [each if hasattr(each, "read") else np.asarray(each) for each in runs]
        if [each.shape for each in runs] != [(count, *shape) for count in frames]:
            found = ", ".join(str(each.shape) for each in runs)
            raise InputError(f"{name}: {label!r} has shape {found}; it must be {wanted} for each run")
        result[label] = runs
    return result
