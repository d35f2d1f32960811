"""Each trap's test, run on code that has the trap's fault: it must fail.

A fault is a change of one line in a copy of the package that lives in memory. The test is a function of another file; it
must pass on the package as it is (that file sees to it) and raise an AssertionError on the copy.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Fault:
    """One line of a module as it should not be, and the test (``file::function``) that must notice."""

    trap: str
    module: str
    right: str
    wrong: str
    test: str
    arguments: dict[str, Any] = field(default_factory=dict)


IR = "physics/test_infrared_sum_rule.py"
RAMAN = "physics/test_raman_physics.py"
VDOS = "physics/test_vdos_physics.py"
CORRELATION = "unit/test_spectra_correlation.py"
SFG = "physics/test_sfg_physics.py"
BONDS = "physics/test_sfg_bonds.py"
SFG_AREA = f"{SFG}::test_the_imaginary_area_of_an_oscillator_is_pi_over_2_times_its_strength"
ORDER = {"order": "xx,yy,zz,xy,yz,zx"}
AREA = (f"{IR}::test_oscillator_area_is_the_transition_charge_squared_over_mass", {"wavenumber": 1600, "temperature": 300})

FAULTS = [
    Fault(
        "1 components normalised one by one",
        "spectra.infrared",
        "plan.estimate(beside(currents, parts)",
        "plan.estimate(beside([each / each.std(axis=0) for each in currents], parts)",
        f"{IR}::test_dipole_components_keep_their_relative_weight",
    ),
    Fault(
        "2 flat baseline of C(0)/2",
        "spectra.correlation",
        "    weights[1:] *= 2\n    length",
        "    weights *= 2\n    length",
        f"{IR}::test_a_pure_cosine_has_no_baseline",
    ),
    Fault(
        "3 pairs lost at the ends of segments",
        "spectra.lag_products",
        "yield Segment(block, start, end, min(end + max_lag, int(edges[-1])), ",
        "yield Segment(block, start, end, end, ",
        f"{CORRELATION}::test_autocorrelation_is_the_direct_sum_over_pairs",
        {"frames": 100_000, "max_lag": 30},
    ),
    Fault(
        "3 circular correlation",
        "spectra.lag_products",
        "next_fast_len(len(frames) + max_lag, real=True)",
        "next_fast_len(len(frames), real=True)",
        f"{CORRELATION}::test_autocorrelation_is_the_direct_sum_over_pairs",
        {"frames": 50, "max_lag": None},
    ),
    Fault(
        "4 negative values pass unsaid",
        "spectra.estimator",
        "usable.min() < -LARGEST_NEGATIVE",
        "usable.min() < -1e9",
        f"{CORRELATION}::test_unwindowed_negative_values_are_flagged_and_a_positive_estimator_has_none",
    ),
    Fault(
        "5 hbar nu where hbar w is meant",
        "spectra.corrections",
        "* PLANCK_C_EV_CM / (BOLTZMANN",
        "* PLANCK_C_EV_CM / 6.283185307179586 / (BOLTZMANN",
        f"{IR}::test_quantum_factors_use_hbar_w",
    ),
    Fault(
        "6 folded dipole taken as it is",
        "spectra.dipole",
        "np.cumsum(np.round(steps), axis=0)",
        "0 * np.cumsum(np.round(steps), axis=0)",
        "unit/test_spectra_dipole.py::test_a_folded_series_is_recovered",
        {"name": "cubic"},
    ),
    Fault(
        "6 unwrapped along the axes, not the lattice vectors",
        "spectra.dipole",
        'np.einsum("fi,...ij->fj", values, np.linalg.inv(cells))',
        "values / np.diag(cells)",
        "unit/test_spectra_dipole.py::test_a_folded_series_is_recovered",
        {"name": "triclinic"},
    ),
    Fault(
        "6 ambiguous steps not reported",
        "spectra.dipole",
        "(np.abs(shortest) > 0.5 - margin)",
        "(np.abs(shortest) > 0.5)",
        "unit/test_spectra_dipole.py::test_steps_near_half_a_quantum_are_reported",
    ),
    Fault(
        "7 stride forgotten",
        "spectra.correlation",
        "return np.arange(length // 2 + 1) / (length * timestep * SPEED",
        "return np.arange(length // 2 + 1) / (length * 0.5 * SPEED",
        f"{IR}::test_doubling_the_stride_leaves_the_peak_where_it_is",
    ),
    Fault(
        "7 wrong debye",
        "units",
        "E_ANGSTROM_PER_DEBYE = 1e-21",
        "E_ANGSTROM_PER_DEBYE = 1.01e-21",
        f"{IR}::test_debye_times_its_factor_leaves_the_absorption_unchanged",
    ),
    Fault("8 orientational average", "spectra.infrared", "1 / (6 *", "1 / (2 *", *AREA),
    Fault(
        "8 one- and two-sided",
        "spectra.correlation",
        "weights *= timestep\n",
        "weights *= 0.5 * timestep\n",
        *AREA,
    ),
    Fault(
        "8 temperature in the prefactor",
        "spectra.infrared",
        "* light * BOLTZMANN_EV_PER_K * temperature)",
        "* light * BOLTZMANN_EV_PER_K * 298.0)",
        *AREA,
    ),
    Fault(
        "8 volume in the prefactor",
        "spectra.infrared",
        "return volumetric / volume * 1e8",
        "return volumetric / 1000.0 * 1e8",
        f"{IR}::test_twice_the_cell_with_two_oscillators_has_the_same_absorption_per_length",
    ),
    Fault(
        "9 off-diagonal elements left out",
        "spectra.raman",
        "for some in ((0,), range(1, 6))",
        "for some in ((0,), range(1, 3))",
        f"{RAMAN}::test_rotating_the_frame_changes_nothing",
    ),
    Fault(
        "9 depolarisation of the deviator",
        "spectra.raman",
        '"vh": (0.0, 0.75)',
        '"vh": (0.0, 1.0)',
        f"{RAMAN}::test_a_traceless_tensor_has_depolarisation_three_quarters",
    ),
    Fault(
        "9 weight of the anisotropy",
        "spectra.raman",
        "+ anisotropic * 2 / 15 * found.pooled",
        "+ anisotropic / 15 * found.pooled",
        f"{RAMAN}::test_vv_and_vh_are_averages_over_orientations",
    ),
    Fault(
        "10 order of the columns",
        "spectra.raman",
        "found = pairs if len(names) == 6 else names",
        'found = pairs = ["xx", "xy", "xz", "yy", "yz", "zz"]',
        f"{RAMAN}::test_column_order_is_followed",
        ORDER,
    ),
    Fault(
        "11 single precision keeps the mean",
        "spectra.estimator",
        "np.diff(series.astype(np.float64, copy=False), axis=0)",
        "np.diff((1.1 * series).astype(np.float32), axis=0) / 1.1",
        f"{IR}::test_a_constant_of_ten_thousand_on_a_float32_series_changes_nothing",
    ),
    Fault(
        "12 padding changes the area",
        "spectra.correlation",
        "weights *= timestep\n",
        "weights *= timestep * 8 * lags / length\n",
        f"{CORRELATION}::test_zero_padding_and_window_keep_the_area",
        {"name": "hann", "padding": 1},
    ),
    Fault(
        "12 window changes the white level",
        "spectra.correlation",
        "return np.cos(np.pi * fraction / 2) ** 2",
        "return 0.5 * np.cos(np.pi * fraction / 2) ** 2",
        f"{CORRELATION}::test_a_window_is_one_at_lag_zero_and_leaves_a_white_level",
        {"name": "hann"},
    ),
    Fault(
        "13 masses forgotten",
        "spectra.vdos",
        "mass = np.repeat(masses, 3)",
        "mass = np.repeat(np.full(len(masses), masses.mean()), 3)",
        f"{VDOS}::test_each_atom_weighs_three_whatever_its_mass",
    ),
    Fault(
        "13 drift stays",
        "spectra.vdos",
        "return frames - drift[:, None]",
        "return frames - 0 * drift[:, None]",
        f"{VDOS}::test_drift_of_the_centre_of_mass_is_removed_on_request",
    ),
    Fault(
        "13 virtual sites counted",
        "spectra.vdos",
        "degrees = 3 * int(np.count_nonzero(masses))",
        "degrees = 3 * len(masses)",
        f"{VDOS}::test_massless_sites_add_nothing",
    ),
    Fault(
        "14 0/0 at zero wavenumber",
        "spectra.corrections",
        "safe = np.where(x == 0, 1.0, x)\n        return np.where(x == 0, 1.0, safe",
        "safe = x\n        return np.where(x == -1, 1.0, safe",
        f"{IR}::test_every_quantum_correction_is_finite_at_zero_and_at_the_end",
        {"name": "standard"},
    ),
    Fault(
        "15 molecules of frame 0 for all frames",
        "structures.molecules",
        "return _assign(frames, lattice,",
        "return _assign(np.repeat(frames[:1], len(frames), axis=0), lattice,",
        "unit/test_structures_molecules.py::test_the_hop_of_a_proton_changes_its_membership_alone",
    ),
    Fault(
        "16 frames matched by number, not by step",
        "files.trajectory",
        "_, keep = np.unique(steps, return_index=True)",
        "keep = np.arange(len(np.unique(steps))); steps = np.unique(steps)",
        "unit/test_files_join.py::test_the_step_that_a_restart_repeats_is_taken_once",
    ),
    Fault(
        "17 one-sided field difference",
        "calculators.pyscf.electronic_structure",
        "change = 0.5 * (solved[0] - solved[1])",
        "change = solved[0] - density",
        "physics/test_field_pair.py::test_the_error_of_the_field_pair_is_quadratic_in_the_field",
    ),
    Fault(
        "derivative's attenuation left in",
        "spectra.infrared",
        "factor = factor / difference_attenuation(wavenumber, plan.timestep)",
        "factor = factor * 1.0",
        f"{IR}::test_area_does_not_depend_on_the_frame_interval",
        {"timestep": 2.0},
    ),
    Fault(
        "quantum correction applied twice",
        "spectra.corrections",
        'if name == "harmonic":\n        return np.ones_like(reduced_wavenumber(wavenumber, temperature))',
        'if name == "harmonic":\n        return quantum_correction(name, wavenumber, temperature)',
        *AREA,
    ),
    Fault(
        "cross terms dropped",
        "spectra.decomposition",
        "Pairing.of(total + number * width, total, weight)",
        "Pairing.of(total + number * width, None, weight)",
        f"{IR}::test_cross_terms_stay_with_the_parts",
    ),
    Fault(
        "weight on the dipole, not on its derivative",
        "spectra.decomposition",
        'parts[label] = np.einsum("fm,fm...->f...", middle, rates)',
        'parts[label] = np.diff(np.einsum("fm,fm...->f...", weight, values), axis=0) / timestep',
        "physics/test_decomposition_physics.py::test_a_molecule_that_changes_its_label_leaves_no_trace_of_the_change",
    ),
    Fault(
        "a free rotor's bend left split",
        "spectra.molecular_frame",
        "return np.einsum(\"fij,fj->fi\", rotations,",
        "return np.einsum(\"fij,fj->fi\", np.broadcast_to(np.eye(3), rotations.shape),",
        "physics/test_free_rotor.py::test_a_bend_splits_in_the_laboratory_and_not_in_the_eckart_frame",
    ),
    Fault(
        "fixed E taken for fixed D",
        "spectra.slab",
        "return values / (1 + 4 * np.pi * values / cell)",
        "return values",
        f"{IR}::test_fixed_d_polarizability_does_not_depend_on_the_vacuum",
    ),
    Fault(
        "static term of SFG lost",
        "spectra.sfg",
        "return kramers_kronig(wavenumber, imaginary) + 1j * imaginary",
        "real = kramers_kronig(wavenumber, imaginary)\n    return real - real[..., :1] + 1j * imaginary",
        f"{SFG}::test_the_real_part_of_a_damped_resonance_vanishes_at_its_centre",
    ),
    Fault(
        "phase of SFG turned",
        "spectra.sfg",
        "kramers_kronig(wavenumber, imaginary) + 1j * imaginary",
        "kramers_kronig(wavenumber, imaginary) - 1j * imaginary",
        f"{BONDS}::test_a_free_oh_that_points_out_of_the_liquid_has_a_positive_imaginary_part",
        {"tilt": 0.0, "derivatives": "condensed"},
    ),
    Fault(
        "depth window on the dipole, not on its derivative",
        "spectra.molecular_pairs",
        "columns *= run.weights_at(run.depth_weights, start, stop)[:, :, None]",
        "columns = np.diff(run.dipole * run.depth_weights[:, :, None], axis=0)[start:stop] @ side.projection / timestep",
        f"{SFG}::test_a_molecule_that_crosses_the_window_leaves_no_trace_of_the_window",
    ),
    Fault(
        "depth window alike on both faces",
        "spectra.sfg",
        "return np.sign(values) * np.sin",
        "return np.abs(np.sign(values)) * np.sin",
        f"{SFG}::test_a_bulk_window_averages_to_zero_within_its_error_and_far_below_the_surface",
    ),
    Fault(
        "-0.15 on the normal of the molecule",
        "spectra.sfg_bonds",
        "(-0.15, 0.0, 2.0)",
        "(0.0, -0.15, 2.0)",
        f"{BONDS}::test_the_dipole_changes_in_the_plane_of_the_molecule_and_away_from_the_other_hydrogen",
    ),
    Fault(
        "x away from the other hydrogen",
        "spectra.sfg_bonds",
        "(-0.31, 0.0, 0.63)",
        "(0.31, 0.0, 0.63)",
        f"{BONDS}::test_the_gas_derivatives_make_the_symmetric_stretch_absorb_less_as_measured",
    ),
    Fault(
        "attenuation left in SFG",
        "spectra.molecular_pairs",
        "pooled, each_block = pooled / attenuation, each_block / attenuation",
        "pass",
        SFG_AREA,
        {"slope": 1.2, "timestep": 2.0},
    ),
    Fault(
        "factor 4 pi of SFG",
        "spectra.sfg",
        "scale = 4 * np.pi / (BOLTZMANN",
        "scale = 1.0 / (BOLTZMANN",
        SFG_AREA,
        {"slope": 1.2, "timestep": 0.5},
    ),
    Fault(
        "cross terms of SFG dropped",
        "spectra.molecular_pairs",
        "Pairing.of(np.concatenate([one + share, one]), np.concatenate([other, other + share]), 0.5)",
        "Pairing.of(one + share, other + share)",
        f"{SFG}::test_parts_sum_to_the_whole",
        {"cutoff": 4.0},
    ),
    Fault(
        "neighbours of a later frame",
        "spectra.molecular_pairs",
        "run.positions[start:stop]",
        "run.positions[start + 1 : stop + 1]",
        f"{SFG}::test_pairs_within_a_cutoff_are_the_sum_over_pairs_and_times_written_out",
    ),
    Fault(
        "shift by the integrator misjudged",
        "spectra.corrections",
        "np.arcsin(phase)",
        "np.sin(phase)",
        f"{IR}::test_verlet_shift_is_that_of_the_integrator",
        {"timestep": 0.5, "shift": 14.7},
    ),
]


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module with a line changed."""

    def __init__(self, fault: Fault) -> None:
        self.name = f"vibraloom.{fault.module}"
        self.path = Path(str(importlib.util.find_spec(self.name).origin))  # type: ignore[union-attr]
        source = self.path.read_text(encoding="utf-8")
        assert source.count(fault.right) == 1, f"{self.path.name}: holds {fault.right!r} {source.count(fault.right)} times"
        self.source = source.replace(fault.right, fault.wrong)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        return importlib.util.spec_from_loader(name, self, origin=str(self.path)) if name == self.name else None

    def exec_module(self, module: Any) -> None:
        module.__file__ = str(self.path)
        exec(compile(self.source, str(self.path), "exec"), module.__dict__)


@contextmanager
def _installed(fault: Fault) -> Iterator[None]:
    """The package anew, with the fault; afterwards as before."""
    changed = _Changed(fault)

    def ours(name: str) -> bool:
        return name == "vibraloom" or name.startswith("vibraloom.")

    kept = {name: module for name, module in sys.modules.items() if ours(name)}
    for name in kept:
        del sys.modules[name]
    sys.meta_path.insert(0, changed)
    try:
        yield
    finally:
        sys.meta_path.remove(changed)
        for name in [name for name in sys.modules if ours(name)]:
            del sys.modules[name]
        sys.modules.update(kept)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("fault", FAULTS, ids=[fault.trap.replace(" ", "-") for fault in FAULTS])
def test_the_test_of_a_trap_fails_on_its_fault(fault: Fault) -> None:
    file, _, function = fault.test.partition("::")
    with _installed(fault):
        spec = importlib.util.spec_from_file_location("faulty_" + Path(file).stem, TESTS / file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        with pytest.raises(AssertionError):
            getattr(module, function)(**fault.arguments)
