"""Spectra from series: pure numerics on arrays, no engine, no file."""

from __future__ import annotations

from vibraloom.spectra import harmonic
from vibraloom.spectra.correlation import autocorrelation
from vibraloom.spectra.dielectric import dielectric
from vibraloom.spectra.estimator_options import CorrelationOptions, EstimatorOptions
from vibraloom.spectra.infrared import infrared, infrared_from_current
from vibraloom.spectra.raman import raman
from vibraloom.spectra.sfg import sfg
from vibraloom.spectra.slab import slab_response
from vibraloom.spectra.spectrum import Conventions, Spectrum, Verdict
from vibraloom.spectra.vdos import vdos

__all__ = [
    "Conventions",
    "CorrelationOptions",
    "EstimatorOptions",
    "Spectrum",
    "Verdict",
    "autocorrelation",
    "dielectric",
    "harmonic",
    "infrared",
    "infrared_from_current",
    "raman",
    "sfg",
    "slab_response",
    "vdos",
]
