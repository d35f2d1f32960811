"""``vibraloom spectrum``: plain files in, plain files out; needs no profile and no AiiDA."""

from __future__ import annotations

import click

from vibraloom.app.cli.spectrum.harmonic import harmonic
from vibraloom.app.cli.spectrum.infrared import ir
from vibraloom.app.cli.spectrum.raman import raman
from vibraloom.app.cli.spectrum.sfg import sfg
from vibraloom.app.cli.spectrum.vdos import vdos


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Spectra from plain files; needs no profile.

    Several files of one kind are independent replicas of the same system.
    """


for _each in (ir, raman, vdos, sfg, harmonic):
    command.add_command(_each)
