"""Collection: the AiiDA group that holds deposited spectra."""

from __future__ import annotations

from aiida.orm import Group


class Collection(Group):
    """A named set of deposited SpectrumData nodes."""
