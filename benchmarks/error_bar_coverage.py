"""How often the error bars cover the truth: 400 synthetic runs of processes whose spectra are known exactly.

Each process is linear and Gaussian, sampled without integration error: damped resonances driven by noise, AR(2), and coupled
oscillators with Langevin friction, whose state after a time step is a matrix exponential of the state before plus Gaussian
noise. Its correlation function is known to rounding; the expected spectrum is the transform of that function times the
window, as the estimator states it. The cepstral estimator has no window and is held against the spectrum itself.

The stated 68 % interval should cover the expected value in 63 to 73 % of the bins of the resolved range, from one resolution
above zero to one below the Nyquist limit.

Prints the table of docs/explanation/error-bars.md: ``.venv/bin/python benchmarks/error_bar_coverage.py [RUNS]``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import scipy.fft
import scipy.linalg
from numpy.typing import NDArray

from vibraloom.spectra import infrared, infrared_from_current, raman, slab_response, vdos
from vibraloom.spectra.correlation import spectral_density
from vibraloom.spectra.spectrum import Spectrum
from vibraloom.spectra.welch import taper_lags
from vibraloom.units import AMU_ANGSTROM2_PER_FS2_IN_EV, BOLTZMANN_EV_PER_K, SPEED_OF_LIGHT_CM_PER_FS

Array = NDArray[np.float64]
TEMPERATURE = 300.0


@dataclass(frozen=True)
class Process:
    """Series y = B s of a stationary Gaussian state, s' = A s + noise.

    Attributes:
        step: Array with shape (n, n), A.
        covariance: Array with shape (n, n) of s in equilibrium.
        observed: Array with shape (columns, n), B.
        timestep: fs.
    """

    step: Array
    covariance: Array
    observed: Array
    timestep: float

    def series(self, rng: np.random.Generator, frames: int) -> Array:
        """One run that begins in equilibrium: (frames, columns)."""
        noise = _root(self.covariance - self.step @ self.covariance @ self.step.T)
        start = _root(self.covariance) @ rng.standard_normal(len(self.step))
        return _walk(self.step, noise, self.observed, start, rng.standard_normal((frames, len(self.step))))

    def correlation(self, quadratic: Array, lags: int) -> Array:
        """Sum_ij Q_ij <y_i(0) y_j(k)> for k from 0 to ``lags``."""
        form = self.observed.T @ quadratic @ self.observed
        moved = self.covariance
        result = np.empty(lags + 1)
        for lag in range(lags + 1):
            result[lag] = np.sum(form * moved)
            moved = self.step @ moved
        return result


def _root(covariance: Array) -> Array:
    values, vectors = np.linalg.eigh(covariance)
    return np.ascontiguousarray(vectors * np.sqrt(np.maximum(values, 0.0)))


@numba.njit(cache=True)
def _walk(step: Array, noise: Array, observed: Array, state: Array, random: Array) -> Array:
    frames, size = random.shape
    result = np.empty((frames, len(observed)))
    new = np.empty(size)
    for frame in range(frames):
        for column in range(len(observed)):
            total = 0.0
            for j in range(size):
                total += observed[column, j] * state[j]
            result[frame, column] = total
        for i in range(size):
            total = 0.0
            for j in range(size):
                total += step[i, j] * state[j] + noise[i, j] * random[frame, j]
            new[i] = total
        state[:] = new
    return result


def resonance(radius: float = 0.85, angle: float = 0.35, copies: int = 3, timestep: float = 1.0) -> Process:
    """AR(2) with poles at radius exp(± i angle), once for each column."""
    step = np.array([[2 * radius * np.cos(angle), -(radius**2)], [1.0, 0.0]])
    covariance = scipy.linalg.solve_discrete_lyapunov(step, np.diag([1.0, 0.0]))
    return Process(*(np.kron(np.eye(copies), each) for each in (step, covariance, np.array([[1.0, 0.0]]))), timestep)


def oscillators(
    observed: Callable[[int], Array],
    *,
    friction: float,
    wavenumbers: tuple[float, ...] = (600.0, 1650.0, 3400.0),
    coupling: float = 0.2,
    copies: int = 3,
    timestep: float = 2.0,
) -> Process:
    """Coupled oscillators of 1 amu with Langevin friction at 300 K, once for each direction.

    Args:
        observed: makes B from the number of oscillators n; the state is n positions (Å) and n velocities (Å/fs).
        friction: cm⁻¹, the width of a band.
        wavenumbers: (cm⁻¹) of the oscillators without coupling.
        coupling: off-diagonal force constant over the geometric mean of its neighbours on the diagonal.
    """
    count = len(wavenumbers)
    angular = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * np.array(wavenumbers)
    force = np.diag(angular**2)
    for i in range(count - 1):
        force[i, i + 1] = force[i + 1, i] = coupling * angular[i] * angular[i + 1]
    damping = 2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * friction * np.eye(count)
    empty, one = np.zeros((count, count)), np.eye(count)
    step = scipy.linalg.expm(timestep * np.block([[empty, one], [-force, -damping]]))
    thermal = BOLTZMANN_EV_PER_K * TEMPERATURE / AMU_ANGSTROM2_PER_FS2_IN_EV
    covariance = thermal * scipy.linalg.block_diag(np.linalg.inv(force), one)
    return Process(*(np.kron(np.eye(copies), each) for each in (step, covariance, observed(count))), timestep)


def charges(count: int) -> Array:
    """A dipole from the positions."""
    return np.concatenate([np.array([0.4, -0.3, 0.5])[:count], np.zeros(count)])[None]


def velocities(count: int) -> Array:
    """The velocities themselves."""
    return np.hstack([np.zeros((count, count)), np.eye(count)])


def polarizabilities(count: int) -> Array:
    """A tensor xx yy zz xy yz zx from the positions."""
    tensors = np.array([[1.0, 0.8, 1.2, 0.1, 0.0, -0.2], [0.5, -0.4, 0.1, 0.3, 0.2, 0.0], [0.6, 0.9, 0.7, 0.0, -0.1, 0.2]])
    return np.hstack([tensors[:count].T, np.zeros((6, count))])


@dataclass(frozen=True)
class Case:
    """A process and the function that makes its spectrum.

    Attributes:
        analyse: series and options -> spectrum.
        quadratic: Array (columns, columns): the spectrum is a factor times the transform of Sum Q_ij <y_i y_j>, of the
            forward differences where ``differenced``.
        kick: Array (columns,) with kick Q kick > 0.
    """

    name: str
    process: Process
    analyse: Callable[..., Spectrum]
    quadratic: Array
    kick: Array
    differenced: bool = False

    def correlation(self, lags: int) -> Array:
        """Exact correlation function behind the spectrum, lags 0 to ``lags``."""
        whole = self.process.correlation(self.quadratic, lags + 1)
        if not self.differenced:
            return whole[:-1]
        before = np.abs(np.arange(lags + 1) - 1)
        return (2 * whole[:-1] - whole[before] - whole[1:]) / self.process.timestep**2

    def expected(self, made: Spectrum, options: dict[str, Any]) -> Array:
        """Exact expectation of a spectrum on the axis of ``made``: the windowed one, of the cepstral estimator the plain one."""
        timestep = self.process.timestep
        depth = round(made.conventions.correlation_time / timestep)
        method = options.get("estimator", "correlation")
        if method == "cepstral":
            points = 2 * (len(made.wavenumber) - 1)
            correlation = self.correlation(points * max(1, 40000 // points))
            folded = np.zeros(points)  # a coarse axis of the whole function: lags that differ by its length coincide
            np.add.at(folded, np.arange(len(correlation)) % points, correlation * timestep * 2)
            folded[0] -= correlation[0] * timestep
            density = scipy.fft.rfft(folded).real
        elif method == "welch":
            density = spectral_density(self.correlation(depth) * taper_lags("hann", depth + 1), timestep, "none")[1]
        else:
            density = spectral_density(self.correlation(depth), timestep, "hann")[1]
        return density * self._factor(depth)

    def _factor(self, depth: int) -> Array:
        """What the function multiplies a density by, from a single kick whose density is flat."""
        frames = 4 * depth
        series = np.zeros((frames + self.differenced, len(self.kick)))
        series[frames // 2 :] = self.kick * self.process.timestep if self.differenced else 0.0
        if not self.differenced:
            series[frames // 2] = self.kick
        options = {"correlation_time": depth * self.process.timestep, "normalization": "biased", "blocks": 0}
        flat = self.analyse(series, **options).intensity
        return flat * frames / (self.process.timestep * (self.kick @ self.quadratic @ self.kick))


def cases(friction: float = 100.0, timestep: float = 2.0) -> list[Case]:
    """One case for each function and process; bands of the oscillators are ``friction`` (cm⁻¹) wide."""
    made: dict[str, Any] = {"friction": friction, "timestep": timestep}
    thermal: dict[str, Any] = {"temperature": TEMPERATURE}
    trace = np.kron(np.diag([1.0, 0.0]), np.ones((3, 3))) / 9
    squares = np.diag([1.0, 1.0, 1.0, 2.0, 2.0, 2.0]) - 3 * trace
    masses = np.ones(3)

    def tensors(name: str) -> Callable[..., Spectrum]:
        return lambda y, **options: raman(y, timestep, components="xx,yy,zz,xy,yz,zx", **thermal, **options)[name]

    return [
        Case(
            "AR(2), infrared from current",
            resonance(),
            lambda y, **options: infrared_from_current(y, 1.0, **thermal, **options),
            np.eye(3),
            np.array([1.0, 0, 0]),
        ),
        Case(
            "AR(2), slab normal",
            resonance(),
            lambda y, **options: slab_response(
                y, 1.0, area=100.0, boundary="fixed E", source="current", **thermal, **options
            )["normal"],
            np.diag([0.0, 0, 1]),
            np.array([0.0, 0, 1]),
        ),
        Case(
            "oscillators, infrared",
            oscillators(charges, **made),
            lambda y, **options: infrared(y, timestep, volume=1000.0, **thermal, **options),
            np.eye(3),
            np.array([1.0, 0, 0]),
            differenced=True,
        ),
        Case(
            "oscillators, density of states",
            oscillators(velocities, **made),
            # columns: direction by direction, each with its oscillators
            lambda y, **options: vdos(y.reshape(len(y), 3, 3).transpose(0, 2, 1), masses, timestep, **thermal, **options),
            np.eye(9),
            np.eye(9)[0],
        ),
        Case(
            "oscillators, Raman isotropic",
            oscillators(polarizabilities, copies=1, **made),
            tensors("isotropic"),
            trace,
            np.array([1.0, 1, 1, 0, 0, 0]),
            differenced=True,
        ),
        Case(
            "oscillators, Raman VH",
            oscillators(polarizabilities, copies=1, **made),
            tensors("vh"),
            squares,
            np.array([0.0, 0, 0, 1, 0, 0]),
            differenced=True,
        ),
    ]


@dataclass(frozen=True)
class Coverage:
    """What many runs of a case show; shares are of bins and runs.

    Attributes:
        whole: share of intervals that hold the expected value, in the resolved range.
        bands: the same above a hundredth of the maximum.
        wings: the same below it (NaN where there is no such bin).
        relative: mean of the error over the value.
        blocks: behind an error bar, 0 where theory gives it.
        depths: length of a block in correlation depths.
    """

    whole: float
    bands: float
    wings: float
    relative: float
    blocks: int
    depths: float


def coverage(case: Case, frames: int, runs: int, seed: int = 1, **options: Any) -> Coverage:
    """Make ``runs`` spectra of ``frames`` frames and count the intervals that hold the exact expectation."""
    rng = np.random.default_rng(seed)
    made = [case.analyse(case.process.series(rng, frames), **options) for _ in range(runs)]
    first = made[0]
    expected = case.expected(first, options)
    resolution = first.conventions.extra["resolution"]
    inside = (first.wavenumber >= resolution) & (first.wavenumber <= first.wavenumber[-1] - resolution)
    values = np.array([one.intensity for one in made])
    errors = np.array([one.standard_error for one in made])
    hits = (np.abs(values - expected) <= errors).mean(axis=0)
    strong = expected > 0.01 * expected[inside].max()
    blocks = first.conventions.blocks
    return Coverage(
        float(hits[inside].mean()),
        float(hits[inside & strong].mean()),
        float(hits[inside & ~strong].mean()) if (inside & ~strong).any() else float("nan"),
        float((errors[:, inside & strong] / expected[inside & strong]).mean()),
        blocks,
        frames * case.process.timestep / max(blocks, 1) / first.conventions.correlation_time,
    )


# frames, and options: default settings for a long and a short run, other numbers of blocks, the other estimators
STUDIES: list[tuple[str, int, dict[str, Any]]] = [
    ("default, 80 ps", 40000, {}),
    ("default, 8 ps", 4000, {}),
    ("250 fs", 40000, {"correlation_time": 250.0}),
    ("250 fs, 8 blocks", 40000, {"correlation_time": 250.0, "blocks": 8}),
    ("250 fs, 4 blocks", 5000, {"correlation_time": 250.0, "blocks": 4}),
    ("250 fs, 8 short blocks", 2100, {"correlation_time": 250.0, "blocks": 8}),
    ("Welch, 250 fs", 10000, {"correlation_time": 250.0, "estimator": "welch"}),
    ("cepstral, 250 fs", 5000, {"correlation_time": 250.0, "estimator": "cepstral"}),
]


def main() -> None:
    """Print the table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    print("| process and function | settings | blocks | depths each | relative error | covered | in bands | in wings |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for case in cases():
        for name, frames, options in STUDIES:
            if "density of states" in case.name and options.get("estimator") == "cepstral":
                continue  # makes whole spectra of a few columns only
            if case.process.timestep == 1.0:  # as many depths of half the time
                options = {**options, **({"correlation_time": 60.0} if options else {})}
                frames = frames * 60 // 125 if options else frames
            found = coverage(case, frames, runs, **options)
            shares = " | ".join(f"{100 * each:.1f} %" for each in (found.whole, found.bands, found.wings))
            blocks = f"{found.blocks} | {found.depths:.1f}" if found.blocks else "– | –"
            print(f"| {case.name} | {name} | {blocks} | {100 * found.relative:.0f} % | {shares} |", flush=True)


if __name__ == "__main__":
    main()
