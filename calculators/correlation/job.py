"""From trajectories and responses to spectra: ``python -m vibraloom.calculators.correlation.job job.json``.

Reads ``trajectory-RR.h5`` and ``response-RR.npz`` of every replica, writes one ``spectrum-<label>.json`` per spectrum.
Keys: ``kind`` (molecule, interface, liquid), ``requests`` ([{"quantity", "by"}]), ``temperature`` (K),
``integration_timestep`` (fs), ``axis_end`` (cm⁻¹), ``laser_wavelength`` (nm), ``molecules`` (molecule of each atom, -1:
slab), and for interfaces ``layers`` (edges Å, names, width Å), ``area`` (Å²) and ``bonds_break`` (true where molecules are to
be found anew in each frame), for molecules ``reference_positions`` (Å,
Eckart frame), for liquids ``volume`` (Å³). Dipoles and polarizabilities that stand at a stride of their own, with
``dipole_step`` and ``polarizability_step``, have their own time between frames.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibraloom.calculators.charges.elements import SYMBOLS
from vibraloom.calculators.correlation.layer_memberships import layer_memberships
from vibraloom.calculators.correlation.replicas import Replica, dipoles_of, mean_temperature, polarizabilities, read_replicas
from vibraloom.calculators.correlation.temperature import temperature_stamp
from vibraloom.calculators.job import Progress, required, run_job
from vibraloom.errors import InputError
from vibraloom.files.h5md_frames import stored_frames
from vibraloom.files.tables import write_json
from vibraloom.spectra import infrared, raman, slab_response, vdos
from vibraloom.spectra.corrections import verlet_wavenumber
from vibraloom.spectra.estimator import DIFFERENCE, difference_attenuation
from vibraloom.spectra.molecular_frame import eckart_rotation, rotate_dipoles, rotate_polarizabilities
from vibraloom.spectra.oriented_raman import oriented_raman
from vibraloom.spectra.spectrum import Spectrum

BOUNDARY = "fixed D along z (slab-corrected electrostatics), fixed E in the plane"
IN_PLANE = ("xx", "yy", "xy")
"""Polarisations of the incident and the scattered light in the plane of a slab."""
VERLET_SAMPLE = 3400.0
"""Wavenumber (cm⁻¹) at which the shift by the integration time step is reported."""


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


def shortened(spectrum: Spectrum, job: dict[str, Any], mean: float | None = None) -> Spectrum:
    """The spectrum up to the axis end, with the shift by the integration time step and the mean temperature (K) on record."""
    timestep = job["integration_timestep"]
    extra = {**spectrum.conventions.extra, "integration_timestep": timestep}
    # a long step, for heavy atoms, has no such mode
    with contextlib.suppress(InputError):
        extra["verlet_shift_at_3400"] = float(verlet_wavenumber(VERLET_SAMPLE, timestep)) - VERLET_SAMPLE
    if mean is not None:
        extra["mean_temperature"] = mean
    stamps = list(job.get("context", {}).get("stamps", []))
    if stamp := temperature_stamp(mean, job["temperature"]):
        stamps.append(stamp)
    made = replace(spectrum.conventions, extra=extra, notes=(*spectrum.conventions.notes, *stamps))
    return replace(spectrum, conventions=made).between(0.0, job["axis_end"])


KINDS = {"molecule": molecule_spectra, "interface": interface_spectra, "liquid": liquid_spectra}
"""Kind of the system to its spectra."""


def main(job: dict[str, Any], progress: Progress) -> None:
    """All requested spectra of the replicas in this folder."""
    replicas = read_replicas(Path())
    progress(0, 1, "correlating")
    spectra = KINDS[job["kind"]](job, replicas)
    mean = mean_temperature(replicas)
    for label, spectrum in spectra.items():
        write_json(f"spectrum-{label}.json", shortened(spectrum, job, mean))
    progress(1, 1, f"{len(spectra)} spectra")


if __name__ == "__main__":
    run_job(main)
