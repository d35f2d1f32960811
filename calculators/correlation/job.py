"""From trajectories and responses to spectra: ``python -m vibraloom.calculators.correlation.job job.json``.

Reads ``trajectory-RR.h5`` and ``response-RR.npz`` of every replica, writes one ``spectrum-<label>.json`` per spectrum.
Keys: ``kind`` (molecule, interface, liquid), ``requests`` ([{"quantity", "by"}]), ``temperature`` (K),
``integration_timestep`` (fs), ``axis_end`` (cm⁻¹), ``laser_wavelength`` (nm), ``molecules`` (molecule of each atom, -1:
slab), and for interfaces ``layers`` (edges Å, names, width Å) and ``area`` (Å²), for molecules ``reference_positions`` (Å,
Eckart frame), for liquids ``volume`` (Å³). Dipoles and polarizabilities that stand at a stride of their own, with
``dipole_step`` and ``polarizability_step``, have their own time between frames.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.calculators.charges.elements import SYMBOLS
from vibraloom.calculators.job import Progress, required, run_job
from vibraloom.errors import InputError
from vibraloom.files.frames import Frames
from vibraloom.files.h5md_frames import stored_frames
from vibraloom.files.tables import write_json
from vibraloom.files.trajectory import Trajectory, frame_interval, read_trajectory
from vibraloom.spectra import infrared, raman, slab_response, vdos
from vibraloom.spectra.corrections import verlet_wavenumber
from vibraloom.spectra.estimator import DIFFERENCE, difference_attenuation
from vibraloom.spectra.molecular_frame import eckart_rotation, rotate_dipoles, rotate_polarizabilities
from vibraloom.spectra.oriented_raman import oriented_raman
from vibraloom.spectra.spectrum import Spectrum
from vibraloom.structures.layers import layer_weights
from vibraloom.structures.molecules import molecule_centres

BOUNDARY = "fixed D along z (slab-corrected electrostatics), fixed E in the plane"
IN_PLANE = ("xx", "yy", "xy")
"""Polarisations of the incident and the scattered light in the plane of a slab."""
VERLET_SAMPLE = 3400.0
"""Wavenumber (cm⁻¹) at which the shift by the integration time step is reported."""


@dataclass
class Replica:
    """One trajectory (its positions and velocities stay in the file) and its response, aligned by step."""

    path: Path
    trajectory: Trajectory
    response: dict[str, NDArray[Any]]


def read_replicas(folder: Path) -> list[Replica]:
    """Every replica in ``folder``, response frames matched to trajectory frames by step number.

    Raises:
        InputError: no trajectory, a response is missing, or the steps do not agree.
    """
    replicas = []
    for path in sorted(folder.glob("trajectory-*.h5")):
        trajectory = read_trajectory(path, arrays=False)
        response_path = folder / f"response-{path.stem.split('-')[1]}.npz"
        if not response_path.is_file():
            raise InputError(f"{response_path.name}: no such file beside {path.name}; run the response first")
        with np.load(response_path, allow_pickle=False) as arrays:
            response = {name: arrays[name] for name in arrays.files}
        if not np.array_equal(response["step"], trajectory.step):
            raise InputError(f"{response_path.name}: its steps are not those of {path.name}; run the response again")
        replicas.append(Replica(path, trajectory, response))
    if not replicas:
        raise InputError("trajectory-*.h5: no such file in the job's folder; run the dynamics first")
    return replicas


def polarizabilities(replica: Replica) -> tuple[NDArray[np.float64], NDArray[np.int64], float]:
    """Polarizabilities of a replica.

    Returns:
        (Å³) Array with shape (L, 3, 3), the frames of the trajectory that they belong to, with shape (L,), and the time
        from one to the next in fs.

    Raises:
        InputError: there are none, or they belong to no frames or to unevenly spaced ones.
    """
    name = f"response-{replica.path.stem.split('-')[1]}.npz"
    if "polarizability" not in replica.response:
        raise InputError(f"{name}: has no polarizability; compute it along the trajectory, or leave raman out")
    trajectory = replica.trajectory
    step = replica.response.get("polarizability_step", trajectory.step)
    frames = np.searchsorted(trajectory.step, step)
    if not np.array_equal(trajectory.step[np.minimum(frames, trajectory.frames - 1)], step):
        raise InputError(f"{name}: a polarizability belongs to no frame of {replica.path.name}; run the response again")
    return replica.response["polarizability"], frames, frame_interval(step, trajectory.timestep, f"{name}: polarizability")


def dipoles_of(replicas: list[Replica]) -> tuple[list[NDArray[np.float64]], float]:
    """(e·Å) Dipole of each replica, Arrays with shape (L, 3), and the time from one to the next in fs.

    Of a metal slab only the component along its normal is known; the others are 0.

    Raises:
        InputError: one has none, or unevenly spaced ones.
    """
    dipoles, interval = [], replicas[0].trajectory.frame_interval
    for entry in replicas:
        response = entry.response
        if "dipole" not in response and "dipole_normal" not in response:
            raise InputError(f"{entry.path.name}: its response has no dipole; leave ir out")
        if "dipole" in response:
            dipoles.append(response["dipole"])
        else:
            dipoles.append(np.outer(response["dipole_normal"], [0.0, 0.0, 1.0]))
        if "dipole_step" in response:
            interval = frame_interval(response["dipole_step"], entry.trajectory.timestep, f"{entry.path.name}: dipole")
    return dipoles, interval


def molecule_spectra(job: dict[str, Any], replicas: list[Replica]) -> dict[str, Spectrum]:
    """Spectra of a free molecule, in the laboratory frame and (``…_eckart``) in the Eckart frame."""
    interval = replicas[0].trajectory.frame_interval
    # frames of one NVE replica share its energy: only replicas are independent
    options: dict[str, Any] = {
        "temperature": job["temperature"],
        "blocks": len(replicas) if len(replicas) > 1 else None,
    }
    reference = np.asarray(required(job, "reference_positions"), dtype=np.float64)
    # a molecule's trajectory is small: it is taken into memory
    positions = [np.asarray(stored_frames(entry.path, "position")) for entry in replicas]
    masses = replicas[0].trajectory.masses
    rotations = [eckart_rotation(places, masses, reference) for places in positions]
    groups = species_groups(replicas[0].trajectory.numbers)
    found: dict[str, Spectrum] = {}
    for request in job["requests"]:
        if request["quantity"] == "ir":
            dipoles, _ = dipoles_of(replicas)
            turned = [rotate_dipoles(dipole, turn) for dipole, turn in zip(dipoles, rotations, strict=True)]
            found["ir"] = infrared(dipoles, interval, **options)
            found["ir_eckart"] = in_eckart_frame(infrared(turned, interval, **options))
        elif request["quantity"] == "raman":
            sampled = [polarizabilities(entry) for entry in replicas]
            tensors, between = [tensor for tensor, _, _ in sampled], sampled[0][2]
            turned = [
                rotate_polarizabilities(tensor, turn[frames])
                for (tensor, frames, _), turn in zip(sampled, rotations, strict=True)
            ]
            laser = job["laser_wavelength"]
            for name, spectrum in raman(tensors, between, laser_wavelength=laser, **options).items():
                found[f"raman_{name}"] = spectrum
            fixed = raman(turned, between, laser_wavelength=laser, **options)
            found["raman_anisotropic_eckart"] = in_eckart_frame(fixed["anisotropic"])
        else:
            velocities = [stored_frames(entry.path, "velocity") for entry in replicas]
            chosen = groups if "species" in request["by"] else None
            found["vdos"] = vdos(velocities, masses, interval, groups=chosen, **options)
            turned = [
                internal_velocities(places, masses, turn, interval)
                for places, turn in zip(positions, rotations, strict=True)
            ]
            whole = vdos(turned, masses, interval, groups=chosen, **options)
            found["vdos_eckart"] = in_eckart_frame(undifferenced(whole, interval))
    return found


def internal_velocities(
    positions: NDArray[Any], masses: NDArray[np.float64], rotations: NDArray[Any], interval: float
) -> NDArray[np.float64]:
    """Velocities relative to the Eckart frame: forward differences of the turned, centred positions, (F - 1, A, 3) in Å/fs."""
    places = positions.astype(np.float64)
    centred = places - np.einsum("a,fai->fi", masses / masses.sum(), places)[:, None, :]
    turned = np.einsum("fij,faj->fai", rotations, centred)
    return np.diff(turned, axis=0) / interval


def undifferenced(spectrum: Spectrum, interval: float) -> Spectrum:
    """The VDOS of forward-differenced positions with the difference's attenuation divided out."""
    gain = 1 / difference_attenuation(spectrum.wavenumber, interval)
    return replace(
        spectrum,
        intensity=spectrum.intensity * gain,
        standard_error=None if spectrum.standard_error is None else spectrum.standard_error * gain,
        parts={name: values * gain for name, values in spectrum.parts.items()},
        conventions=replace(spectrum.conventions, derivative=DIFFERENCE),
    )


def in_eckart_frame(spectrum: Spectrum) -> Spectrum:
    """The spectrum named and stamped as taken in the Eckart frame."""
    conventions = spectrum.conventions
    note = "Eckart frame: band positions without rotation; absolute intensities belong to the laboratory frame"
    return replace(
        spectrum,
        quantity=f"{spectrum.quantity}_eckart",
        conventions=replace(conventions, notes=(*conventions.notes, note)),
    )


def species_groups(numbers: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Atoms of each species, ``species/O`` and so on."""
    return {f"species/{SYMBOLS[number]}": np.flatnonzero(numbers == number) for number in np.unique(numbers)}


def interface_spectra(job: dict[str, Any], replicas: list[Replica]) -> dict[str, Spectrum]:
    """VDOS of the liquid and response of the slab, by species and by layer."""
    trajectory = replicas[0].trajectory
    interval = trajectory.frame_interval
    member = np.asarray(job["molecules"])
    liquid = np.flatnonzero(member >= 0)
    found: dict[str, Spectrum] = {}
    for request in job["requests"]:
        by = request["by"]
        if request["quantity"] == "ir" and "current" not in replicas[0].response:
            found |= interface_response(job, replicas)
        elif request["quantity"] == "ir":
            currents = [entry.response["current"] for entry in replicas]
            resolved = by or ["layer", "species"]
            labels = [
                name for name in replicas[0].response if name.startswith(tuple(f"part:{kind}/" for kind in resolved))
            ]
            parts = {
                label.removeprefix("part:"): [entry.response[label] for entry in replicas]
                for label in labels
                if any(np.any(entry.response[label]) for entry in replicas)
            }
            pair = slab_response(
                currents,
                interval,
                temperature=job["temperature"],
                area=required(job, "area"),
                boundary=BOUNDARY,
                source="current",
                parts=parts,
            )
            found |= {f"ir_{direction}": spectrum for direction, spectrum in pair.items()}
        elif request["quantity"] == "raman":
            found |= in_plane_raman(job, replicas)
        else:
            found["vdos"] = vdos(
                [stored_frames(entry.path, "velocity", atoms=liquid) for entry in replicas],
                trajectory.masses[liquid],
                interval,
                temperature=job["temperature"],
                groups=species_groups(trajectory.numbers[liquid]) if "species" in by else None,
                weights=layer_memberships(job, replicas, liquid) if "layer" in by else None,
            )
    return found


def interface_response(job: dict[str, Any], replicas: list[Replica]) -> dict[str, Spectrum]:
    """Response of a whole slab from its dipole; of a metal, whose dipole has a normal component alone, that one."""
    dipoles, interval = dipoles_of(replicas)
    pair = slab_response(dipoles, interval, temperature=job["temperature"], area=required(job, "area"), boundary=BOUNDARY)
    known = ("normal",) if "dipole_normal" in replicas[0].response else tuple(pair)
    return {f"ir_{direction}": pair[direction] for direction in known}


def in_plane_raman(job: dict[str, Any], replicas: list[Replica]) -> dict[str, Spectrum]:
    """Raman spectra of a slab seen along its normal: polarisations parallel along x and along y, and crossed."""
    sampled = [polarizabilities(entry) for entry in replicas]
    found = oriented_raman(
        [tensor for tensor, _, _ in sampled],
        sampled[0][2],
        geometries=[f"z({pair})-z" for pair in IN_PLANE],
        temperature=job["temperature"],
        laser_wavelength=job["laser_wavelength"],
    )
    return {
        f"raman_{pair}": replace(spectrum, quantity=f"{spectrum.quantity}_{pair}")
        for pair, spectrum in zip(IN_PLANE, found.values(), strict=True)
    }


def liquid_spectra(job: dict[str, Any], replicas: list[Replica]) -> dict[str, Spectrum]:
    """Absorption in cm⁻¹, Raman cross-section of the cell, and VDOS of a bulk liquid."""
    trajectory = replicas[0].trajectory
    interval = trajectory.frame_interval
    temperature = job["temperature"]
    found: dict[str, Spectrum] = {}
    for request in job["requests"]:
        if request["quantity"] == "ir":
            dipoles, between = dipoles_of(replicas)
            found["ir"] = infrared(dipoles, between, temperature=temperature, volume=required(job, "volume"))
        elif request["quantity"] == "raman":
            sampled = [polarizabilities(entry) for entry in replicas]
            tensors, between = [tensor for tensor, _, _ in sampled], sampled[0][2]
            spectra = raman(tensors, between, temperature=temperature, laser_wavelength=job["laser_wavelength"])
            found |= {f"raman_{name}": spectrum for name, spectrum in spectra.items()}
        else:
            found["vdos"] = vdos(
                [stored_frames(entry.path, "velocity") for entry in replicas],
                trajectory.masses,
                interval,
                temperature=temperature,
                groups=species_groups(trajectory.numbers) if "species" in request["by"] else None,
            )
    return found


@dataclass
class LayerWeights:
    """Weight of each liquid atom in one layer, by its molecule's centre of mass in each frame; read as it is needed.

    Attributes:
        positions: of the liquid, in the trajectory's file.
        masses: (amu) Array with shape (A,).
        member: Array of int with shape (A,), molecule of each atom.
        layers: edges (Å), names and width (Å).
        name: the layer.
    """

    positions: Frames
    masses: NDArray[np.float64]
    member: NDArray[np.int64]
    layers: dict[str, Any]
    name: str

    @property
    def shape(self) -> tuple[int, int]:
        """(F, A)."""
        return self.positions.shape[:2]

    def read(self, start: int, stop: int) -> NDArray[np.float64]:
        """Weights in frames ``start`` to ``stop``: Array with shape (stop - start, A)."""
        heights = molecule_centres(self.positions.read(start, stop), self.masses, self.member)[..., 2]
        weights = layer_weights(heights, self.layers["edges"], self.layers["names"], self.layers["width"])
        return weights[self.name][:, self.member]


def layer_memberships(
    job: dict[str, Any], replicas: list[Replica], liquid: NDArray[np.int64]
) -> dict[str, list[LayerWeights]]:
    """Layer weights of the liquid: label → one per replica."""
    layers = required(job, "layers")
    member = np.asarray(job["molecules"])[liquid]
    masses = replicas[0].trajectory.masses[liquid]
    return {
        f"layer/{name}": [
            LayerWeights(stored_frames(entry.path, "position", atoms=liquid), masses, member, layers, name) for entry in replicas
        ]
        for name in layers["names"]
    }


def shortened(spectrum: Spectrum, job: dict[str, Any]) -> Spectrum:
    """The spectrum up to the axis end, with the shift by the integration time step on record."""
    timestep = job["integration_timestep"]
    extra = {
        **spectrum.conventions.extra,
        "integration_timestep": timestep,
        "verlet_shift_at_3400": float(verlet_wavenumber(VERLET_SAMPLE, timestep)) - VERLET_SAMPLE,
    }
    stamps = job.get("context", {}).get("stamps", [])
    made = replace(spectrum.conventions, extra=extra, notes=(*spectrum.conventions.notes, *stamps))
    return replace(spectrum, conventions=made).between(0.0, job["axis_end"])


KINDS = {"molecule": molecule_spectra, "interface": interface_spectra, "liquid": liquid_spectra}
"""Kind of the system to its spectra."""


def main(job: dict[str, Any], progress: Progress) -> None:
    """All requested spectra of the replicas in this folder."""
    replicas = read_replicas(Path())
    progress(0, 1, "correlating")
    spectra = KINDS[job["kind"]](job, replicas)
    for label, spectrum in spectra.items():
        write_json(f"spectrum-{label}.json", shortened(spectrum, job))
    progress(1, 1, f"{len(spectra)} spectra")


if __name__ == "__main__":
    run_job(main)
