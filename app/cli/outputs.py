"""Where spectra go: the suffix of each -o picks the format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from vibraloom.errors import InputError
from vibraloom.files.tables import Spectra

SUFFIXES = (".csv", ".jdx", ".json", ".npz", ".png")
"""Suffixes of the formats that can be written."""


def check_outputs(paths: Sequence[Path]) -> None:
    """Refuse outputs that could not be written, before any work is done.

    Raises:
        InputError: an unknown suffix, a folder that does not exist, or the same file twice.
    """
    for path in paths:
        if path.suffix.lower() not in SUFFIXES:
            raise InputError(f"-o {path}: the suffix picks the format; allowed: {', '.join(SUFFIXES)}")
        if not path.parent.is_dir():
            raise InputError(f"-o {path}: folder {path.parent} does not exist; make it first")
        if path.is_dir():
            raise InputError(f"-o {path}: is a folder; name a file in it")
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError(f"-o: the same file is named twice ({', '.join(map(str, paths))}); name each once")


def write_outputs(
    paths: Sequence[Path], spectra: Spectra, *, title: str, limits: tuple[float, float] | None = None
) -> None:
    """Write ``spectra`` to each of ``paths`` in the format of its suffix.

    Args:
        paths: files; each is written whole or not at all.
        spectra: one spectrum, or several by name.
        title: one line for the formats that have a title.
        limits: (cm⁻¹) range of the axis of a picture.

    Raises:
        InputError: values that are not finite, or an empty range.
        MissingError: a picture is asked for and matplotlib is not installed.
    """
    for path in paths:
        _writer(path.suffix.lower(), title, limits)(path, spectra)


def _writer(suffix: str, title: str, limits: tuple[float, float] | None) -> Callable[[Path, Spectra], None]:
    from vibraloom.files import jcamp, tables

    def write_picture(path: Path, spectra: Spectra) -> None:
        from vibraloom.app.figures.spectrum_figure import draw_spectrum

        draw_spectrum(spectra, path, title=title, limits=limits)

    return {
        ".csv": tables.write_csv,
        ".json": tables.write_json,
        ".npz": tables.write_npz,
        ".jdx": lambda path, spectra: jcamp.write_jcamp(path, spectra, title=title),
        ".png": write_picture,
    }[suffix]
