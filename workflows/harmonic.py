"""The harmonic route as a process: modes by finite displacements, or from phonopy's files, and the spectra of them."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import ExitCode, ToContext, WorkChain, calcfunction, if_
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from ase.data import atomic_masses, atomic_numbers

from vibraloom.calculators.ase.calcjob import HarmonicCalculation
from vibraloom.calculators.job import versions
from vibraloom.errors import InputError, VibraloomError
from vibraloom.files.phonopy_files import read_phonopy, read_phonopy_mesh
from vibraloom.nodes.spectrum import SpectrumData
from vibraloom.spectra.harmonic import HarmonicDerivatives
from vibraloom.spectra.harmonic_spectra import density_of_states, harmonic_spectra
from vibraloom.spectra.mode_assignment import mode_table
from vibraloom.workflows.children import failure_of
from vibraloom.workflows.placement import PlacesJobs

ERROR_INPUT = 210
RAMAN_FILE = "raman.npy"
"""Name of the Raman tensors in a folder of phonopy's files."""

_OPTIONS = (
    "temperature", "width", "shape", "highest", "spacing", "absorption", "laser_wavelength", "form", "detector", "geometries",
)
_OTHERS = ("name", "fidelity", "masses", "mesh", "raman_unit")
_SAME_WEIGHT = 2e-3
"""Share by which a mass may differ from the standard weight of its element."""
_FIDELITY = {"pyscf": "DFT", "deepmd": "ML"}


def _settings_are_known(node: orm.Dict, _: Any) -> str | None:
    settings = node.get_dict()
    allowed = (*_OPTIONS, *_OTHERS)
    if unknown := sorted(set(settings) - set(allowed)):
        return f"settings: {unknown[0]}: no such key; allowed: {', '.join(allowed)}"
    if missing := [key for key in ("name", "temperature") if key not in settings]:
        return f"settings: {missing[0]} is missing; add it"
    return None


def _one_source(inputs: Any, _: Any) -> str | None:
    given = [name for name in ("job", "phonopy") if inputs.get(name)]
    return None if len(given) == 1 else "give either a job (finite displacements) or a folder of phonopy's files"


class HarmonicWorkChain(PlacesJobs, WorkChain):
    """From a structure, or from phonopy's files, to harmonic spectra and the table of modes."""

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        super().define(spec)
        spec.expose_inputs(
            HarmonicCalculation, namespace="job", namespace_options={"required": False, "populate_defaults": False}
        )
        spec.input(
            "phonopy",
            valid_type=orm.FolderData,
            required=False,
            help="phonopy_params.yaml or phonopy.yaml, with FORCE_SETS, BORN and raman.npy where they are needed.",
        )
        spec.input(
            "settings",
            valid_type=orm.Dict,
            validator=_settings_are_known,
            help="name, temperature (K) and, as in harmonic_spectra, width (cm⁻¹), shape, geometries …;"
            " masses (amu by symbol), mesh (three numbers), raman_unit, fidelity.",
        )
        spec.inputs.validator = _one_source
        spec.output_namespace("spectra", valid_type=SpectrumData, help="Spectra by quantity.")
        spec.output("modes", valid_type=orm.Dict, help="Table of modes: wavenumbers, intensities, assignment.")
        spec.output("arrays", valid_type=orm.SinglefileData, required=False, help="Hessian and derivatives (npz).")
        spec.outline(
            if_(cls.is_calculated)(
                cls.calculate,
            ),
            cls.spectra,
        )
        spec.exit_code(310, "ERROR_STEP_FAILED", message="{message}")

    def is_calculated(self) -> bool:
        """Whether the modes are to be calculated."""
        return "phonopy" not in self.inputs

    def calculate(self) -> ToContext:
        """Optimise and displace."""
        inputs = self.exposed_inputs(HarmonicCalculation, "job")
        inputs["metadata"]["call_link_label"] = "harmonic"
        return ToContext(harmonic=self.submit(HarmonicCalculation, **inputs))

    def spectra(self) -> ExitCode | None:
        """Spectra and table."""
        inputs: dict[str, Any] = {"settings": self.inputs.settings}
        if self.is_calculated():
            if message := failure_of(self.ctx.harmonic):
                return self.exit_codes.ERROR_STEP_FAILED.format(message=message)
            inputs |= {"source": self.ctx.harmonic.outputs.arrays, "calculated": self.ctx.harmonic.outputs.modes}
            self.out("arrays", self.ctx.harmonic.outputs.arrays)
        else:
            inputs["source"] = self.inputs.phonopy
        results, node = spectra_of_modes.run_get_node(**inputs, metadata={"call_link_label": "spectra"})
        if not node.is_finished_ok:
            return self.exit_codes.ERROR_STEP_FAILED.format(message=node.exit_message)
        self.out("modes", results.pop("modes"))
        for label, spectrum in results.items():
            self.out(f"spectra.{label}", spectrum)
        return None


@calcfunction
def spectra_of_modes(settings: orm.Dict, source: orm.Data, calculated: orm.Dict | None = None) -> dict[str, Any] | ExitCode:
    """Spectra and table of modes.

    Args:
        settings: see :class:`HarmonicWorkChain`.
        source: harmonic.npz of a HarmonicCalculation (SinglefileData), or phonopy's files (FolderData).
        calculated: what that calculation says of itself.

    Returns:
        ``modes`` (Dict: ``rows``, ``notes``) and a SpectrumData by quantity.
    """
    options = settings.get_dict()
    try:
        derivatives, mesh = _derivatives(source, options)
        if "masses" in options:
            if mesh is not None:
                raise InputError("settings: masses do not reach the mesh; write them into the phonopy yaml file")
            derivatives = derivatives.with_masses(options["masses"])
        spectra = harmonic_spectra(derivatives, **{key: options[key] for key in _OPTIONS if key in options})
        if mesh is not None:
            lines = {key: options[key] for key in ("width", "shape", "highest", "spacing") if key in options}
            spectra["vdos"] = density_of_states(**mesh, **lines)
        rows = mode_table(derivatives)
    except VibraloomError as error:
        return ExitCode(ERROR_INPUT, str(error), invalidates_cache=True)
    said = {} if calculated is None else calculated.get_dict()
    context = _context(options, derivatives, said)
    result: dict[str, Any] = {
        re.sub(r"\W+", "_", label): SpectrumData.from_spectrum(spectrum, context) for label, spectrum in spectra.items()
    }
    notes = spectra["vdos"].conventions.notes
    result["modes"] = orm.Dict({"rows": rows, "notes": list(notes), "context": context})
    return result


def _derivatives(source: orm.Data, options: dict[str, Any]) -> tuple[HarmonicDerivatives, dict[str, Any] | None]:
    if not isinstance(source, orm.FolderData):
        with source.open(mode="rb") as handle, np.load(handle, allow_pickle=False) as arrays:
            return HarmonicDerivatives.from_arrays(dict(arrays)), None
    with source.base.repository.as_path() as folder:
        tensors = folder / RAMAN_FILE
        record = read_phonopy(
            folder, raman=tensors if tensors.is_file() else None, raman_unit=options.get("raman_unit")
        )
        mesh = read_phonopy_mesh(folder, options["mesh"]) if "mesh" in options else None
    return HarmonicDerivatives(**record), mesh


def _isotopes(derivatives: HarmonicDerivatives) -> str:
    """``natural``, or the masses that are not those of the elements as they occur in nature."""
    others: dict[str, dict[float, int]] = {}
    for symbol, mass in zip(map(str, derivatives.symbols), map(float, derivatives.masses), strict=True):
        # tables of standard weights differ by less, isotopes by more
        if abs(mass / atomic_masses[atomic_numbers[symbol]] - 1) > _SAME_WEIGHT:
            found = others.setdefault(symbol, {})
            found[mass] = found.get(mass, 0) + 1
    totals = Counter(map(str, derivatives.symbols))
    parts = [
        f"{symbol} {mass:g} amu" + (f" ({count} of {totals[symbol]})" if count < totals[symbol] else "")
        for symbol, masses in sorted(others.items())
        for mass, count in sorted(masses.items())
    ]
    return ", ".join(parts) or "natural"


def _context(options: dict[str, Any], derivatives: HarmonicDerivatives, said: dict[str, Any]) -> dict[str, Any]:
    """What the spectra are of."""
    counts = Counter(str(symbol) for symbol in derivatives.symbols)
    formula = "".join(f"{symbol}{count if count > 1 else ''}" for symbol, count in sorted(counts.items()))
    engine = said.get("engine", {"kind": "phonopy"})
    return {
        "name": options["name"],
        "system": {"kind": "molecule" if derivatives.cell is None else "crystal", "formula": formula},
        "method": {"harmonic": {"engine": engine, "displacement": said.get("displacement")}},
        "fidelity": options.get("fidelity", _FIDELITY.get(engine["kind"], "test")),
        "isotopes": _isotopes(derivatives),
        "seed": {"dynamics": None},  # no random number enters
        "stamps": ["harmonic approximation"],
        "versions": said.get("versions", versions(("phonopy", "numpy"))),
    }
