"""JCAMP-DX, the exchange format of spectroscopists: a writer that keeps every digit, and its reader.

Follows JCAMP-DX 4.24 (R. S. McDonald, P. A. Wilks, Appl. Spectrosc. 42, 151 (1988)) and 5.01:
ASCII, lines of at most 80 characters, numbers in AFFN form (plain decimals). An evenly spaced axis becomes
``##XYDATA=(X++(Y..Y))`` when first and last wavenumber give back every bin exactly, otherwise
``##XYPOINTS=(XY..XY)``. Several spectra become one LINK file with a block each.
Conventions, standard error and parts stand in user-defined labels ``##$VIBRALOOM …`` as JSON.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vibraloom import __version__
from vibraloom.durable import write_text
from vibraloom.errors import InputError
from vibraloom.files.tables import Spectra, named_spectra, spectrum_from_record, spectrum_record
from vibraloom.spectra.spectrum import Array, Spectrum

WIDTH = 80
"""Longest line that JCAMP-DX allows."""
_NAME = "$VIBRALOOM NAME"


def write_jcamp(path: str | Path, spectra: Spectra, *, title: str | None = None, owner: str = "not stated") -> None:
    """Write one or several spectra as JCAMP-DX, whole or not at all.

    Args:
        path: the file, usually ``.jdx``.
        spectra: a spectrum, or several by name on one wavenumber axis (one LINK file).
        title: one line; by default the quantity. Newlines, ``##``, ``$$`` and non-ASCII are neutralised.
        owner: who holds the rights to the spectrum, one line.

    Raises:
        InputError: values that are not finite, or axes that differ.
        ComputationError: the disk is full or the folder cannot be written.
    """
    named = named_spectra(spectra)
    lines: list[str] = []
    if isinstance(spectra, Spectrum):
        lines += _block(spectra, "", title or spectra.quantity, owner)
    else:
        whole = title or f"{len(named)} spectra: {', '.join(named)}"
        lines += [
            _label("TITLE", whole),
            "##JCAMP-DX=5.01 $$ vibraloom",
            "##DATA TYPE=LINK",
            f"##BLOCKS={len(named) + 1}",
        ]
        lines += [_label("ORIGIN", f"vibraloom {__version__}"), _label("OWNER", owner)]
        for name, spectrum in named.items():
            lines += _block(spectrum, name, f"{title} {name}" if title else f"{spectrum.quantity} {name}", owner)
        lines.append("##END=")
    write_text(path, "\n".join(lines) + "\n")


def read_jcamp_table(path: str | Path) -> dict[str, Spectrum]:
    """All spectra of a JCAMP-DX file written by :func:`write_jcamp`, by name (``""`` for one alone).

    Raises:
        InputError: no such file, cut off, or not written by vibraloom.
    """
    try:
        text = Path(path).read_text(encoding="ascii")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not JCAMP-DX written by vibraloom (plain ASCII is expected)") from error
    blocks: list[dict[str, str]] = []
    ends = 0
    label = ""
    for line in text.splitlines():
        if line.startswith("##"):
            label, _, value = line[2:].partition("=")
            if label == "TITLE":
                blocks.append({})
            if not blocks:
                raise InputError(f"{path}: the first label is ##{label}, not ##TITLE")
            ends += label == "END"
            blocks[-1][label] = value
        elif blocks:
            blocks[-1][label] += ("\n" if label in ("XYDATA", "XYPOINTS") else "") + line
    if not blocks or ends < len(blocks):
        raise InputError(f"{path}: {len(blocks)} ##TITLE and {ends} ##END labels; the file is cut off or edited")
    spectra = {block.get(_NAME, ""): _spectrum(block, path) for block in blocks if block.get("DATA TYPE") != "LINK"}
    if not spectra:
        raise InputError(f"{path}: no spectrum in this JCAMP-DX file")
    return spectra


def read_jcamp(path: str | Path) -> Spectrum:
    """The spectrum of a JCAMP-DX file written by :func:`write_jcamp`.

    Raises:
        InputError: as :func:`read_jcamp_table`, or the file holds several spectra.
    """
    spectra = read_jcamp_table(path)
    if len(spectra) != 1:
        raise InputError(
            f"{path}: holds {len(spectra)} spectra ({', '.join(spectra)}); read it as a table and choose one"
        )
    return next(iter(spectra.values()))


def _block(spectrum: Spectrum, name: str, title: str, owner: str) -> Iterator[str]:
    x, y = spectrum.wavenumber, spectrum.intensity
    record = spectrum_record(spectrum)
    errors, parts = record.pop("standard_error"), record.pop("parts")
    del record["wavenumber"], record["intensity"]
    yield _label("TITLE", title)
    yield "##JCAMP-DX=5.01 $$ vibraloom"
    yield f"##DATA TYPE={_data_type(spectrum.quantity)}"
    yield _label("ORIGIN", f"vibraloom {__version__}")
    yield _label("OWNER", owner)
    if name:
        yield _label(_NAME, name)
    for label, entry in (("RECORD", record), ("STANDARD ERROR", errors), ("PARTS", parts)):
        yield from _wrapped(f"##$VIBRALOOM {label}=", _json(entry))
    yield "##XUNITS=1/CM"
    yield _label("YUNITS", spectrum.unit)
    even = _even(x)
    numbers = {
        "FIRSTX": x[0],
        "LASTX": x[-1],
        "MAXX": x.max(),
        "MINX": x.min(),
        "MAXY": y.max(),
        "MINY": y.min(),
        "FIRSTY": y[0],
    }
    for label, value in numbers.items():
        yield f"##{label}={float(value)!r}"
    if even:
        yield f"##DELTAX={float((x[-1] - x[0]) / (len(x) - 1))!r}"
    yield f"##NPOINTS={len(x)}"
    yield "##XFACTOR=1"
    yield "##YFACTOR=1"
    if even:
        yield "##XYDATA=(X++(Y..Y))"
        yield from _ordinates(x.tolist(), y.tolist())
    else:
        yield "##XYPOINTS=(XY..XY)"
        yield from (f"{a!r}, {b!r}" for a, b in zip(x.tolist(), y.tolist(), strict=True))
    yield "##END="


def _spectrum(block: dict[str, str], path: str | Path) -> Spectrum:
    try:
        record: dict[str, Any] = json.loads(block["$VIBRALOOM RECORD"])
        record["standard_error"] = json.loads(block["$VIBRALOOM STANDARD ERROR"])
        record["parts"] = json.loads(block["$VIBRALOOM PARTS"])
        points = int(block["NPOINTS"])
        if "XYDATA" in block:
            rows = [line.split() for line in block["XYDATA"].splitlines()[1:]]
            x = np.linspace(float(block["FIRSTX"]), float(block["LASTX"]), points)
            y = np.array([float(value) for row in rows for value in row[1:]])
        else:
            pairs = [line.split(",") for line in block["XYPOINTS"].splitlines()[1:]]
            x = np.array([float(pair[0]) for pair in pairs])
            y = np.array([float(pair[1]) for pair in pairs])
    except KeyError as error:
        label = error.args[0]
        raise InputError(
            f"{path}: label ##{label} is missing; only JCAMP-DX written by vibraloom carries conventions"
        ) from error
    except (ValueError, IndexError) as error:
        raise InputError(f"{path}: a number or the record in this JCAMP-DX file is damaged ({error})") from error
    if len(y) != points:
        raise InputError(f"{path}: ##NPOINTS={points}, but {len(y)} points; the file is cut off or edited")
    return spectrum_from_record({**record, "wavenumber": x, "intensity": y}, str(path))


def _even(x: Array) -> bool:
    return len(x) > 1 and np.array_equal(np.linspace(x[0], x[-1], len(x)), x)


def _ordinates(x: list[float], y: list[float]) -> Iterator[str]:
    """Lines ``x y y y``: each starts with the wavenumber of its first ordinate, as a check."""
    line = ""
    for abscissa, ordinate in zip(x, y, strict=True):
        text = repr(ordinate)
        if line and len(line) + 1 + len(text) <= WIDTH:
            line += " " + text
        else:
            if line:
                yield line
            line = f"{abscissa!r} {text}"
    yield line


def _data_type(quantity: str) -> str:
    if quantity.startswith("infrared"):
        return "INFRARED SPECTRUM"
    if quantity.startswith("raman"):
        return "RAMAN SPECTRUM"
    return _plain(quantity).replace("_", " ").upper()


def _label(label: str, text: str) -> str:
    return f"##{label}={_plain(text)}"[:WIDTH].rstrip()


def _plain(text: str) -> str:
    """One ASCII line without the signs that JCAMP-DX reads as a label (``##``) or a comment (``$$``)."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "replace").decode("ascii")
    one_line = " ".join("".join(sign if sign.isprintable() else " " for sign in ascii_text).split())
    return re.sub(r"#+", "#", re.sub(r"\$\$+", "$", one_line)).strip("#") or "untitled"


def _json(record: object) -> str:
    """ASCII JSON without ``#`` or ``$``, which could be read as a label or a comment."""
    text = json.dumps(record, ensure_ascii=True, separators=(",", ":"), sort_keys=True)
    return text.replace("#", "\\u0023").replace("$", "\\u0024")


def _wrapped(label: str, text: str) -> Iterator[str]:
    """``text`` on lines of its own, cut after a comma or at least not beside a blank (readers strip)."""
    yield label
    while len(text) > WIDTH:
        inner = [at for at in range(WIDTH, WIDTH // 2, -1) if " " not in text[at - 1 : at + 1]] or [WIDTH]
        cut = next((at for at in inner if text[at - 1] == ","), inner[0])
        yield text[:cut]
        text = text[cut:]
    yield text
