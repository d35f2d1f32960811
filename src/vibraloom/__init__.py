"""vibraloom: vibrational spectra of electrochemical interfaces, from a YAML to a database with provenance."""

from __future__ import annotations

__version__ = "0.1.0"
