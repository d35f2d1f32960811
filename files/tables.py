"""Spectra as plain tables: CSV, JSON and NumPy archives, each read back to the last digit.

A file holds one spectrum, or several under names (the Raman geometries) that share a wavenumber axis.
The conventions travel as JSON, so that a table never becomes a row of numbers without meaning.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vibraloom import __version__
from vibraloom.durable import replacing, write_text
from vibraloom.errors import InputError
from vibraloom.spectra.spectrum import SCHEMA, Array, Conventions, Spectrum, Verdict

AXIS = "wavenumber_cm-1"
"""Heading of the wavenumber column."""
_MARK = "# vibraloom spectrum, schema "

Spectra = Spectrum | Mapping[str, Spectrum]


def named_spectra(spectra: Spectra) -> dict[str, Spectrum]:
    """``spectra`` as a dict; one spectrum alone stands under the empty name.

    Raises:
        InputError: no spectrum, no bins, a value that is not finite, or axes that differ.
    """
    named = {"": spectra} if isinstance(spectra, Spectrum) else dict(spectra)
    if not named:
        raise InputError("spectrum: nothing to write; at least one spectrum is needed")
    axis = next(iter(named.values())).wavenumber
    for name, spectrum in named.items():
        title = name or spectrum.quantity
        if len(spectrum.wavenumber) == 0:
            raise InputError(f"{title}: no bin in this wavenumber range; choose another one")
        if not np.array_equal(spectrum.wavenumber, axis):
            raise InputError(f"{title}: its wavenumber axis differs from that of the first; write it to its own file")
        for column, values in {AXIS: spectrum.wavenumber, **_columns(spectrum)}.items():
            if not np.all(np.isfinite(values)):
                bad = int(np.argmin(np.isfinite(values)))
                raise InputError(f"{title}: {column} is {values[bad]} at bin {bad}; only finite numbers are stored")
    return named


def spectrum_record(spectrum: Spectrum) -> dict[str, Any]:
    """Plain JSON form of a spectrum: numbers as lists, conventions and verdict as dicts."""
    return {
        **_header(spectrum),
        "wavenumber": spectrum.wavenumber.tolist(),
        "intensity": spectrum.intensity.tolist(),
        "standard_error": None if spectrum.standard_error is None else spectrum.standard_error.tolist(),
        "parts": {name: values.tolist() for name, values in spectrum.parts.items()},
        **({} if spectrum.model_error is None else {"model_error": spectrum.model_error.tolist()}),
    }


def spectrum_from_record(record: Mapping[str, Any], source: str = "spectrum") -> Spectrum:
    """Rebuild a spectrum from :func:`spectrum_record`.

    Args:
        record: plain JSON form; arrays may be lists or NumPy arrays.
        source: name for the error message.

    Raises:
        InputError: an entry is missing or malformed, or the schema is newer than this release.
    """
    try:
        schema = int(record["schema"])
        if schema > SCHEMA:
            raise InputError(
                f"{source}: written with schema {schema}, this release reads up to {SCHEMA}; update vibraloom"
            )
        verdict, error, model_error = record["verdict"], record["standard_error"], record.get("model_error")
        return Spectrum(
            quantity=str(record["quantity"]),
            wavenumber=_array(record["wavenumber"]),
            intensity=_array(record["intensity"]),
            unit=str(record["unit"]),
            conventions=Conventions.from_dict(record["conventions"]),
            standard_error=None if error is None else _array(error),
            verdict=None if verdict is None else Verdict(**{**verdict, "ranges": tuple(verdict.get("ranges", ()))}),
            parts={name: _array(values) for name, values in record["parts"].items()},
            model_error=None if model_error is None else _array(model_error),
        )
    except KeyError as error:
        raise InputError(
            f"{source}: entry {error.args[0]!r} is missing; write the file again with vibraloom"
        ) from error
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{source}: not a stored spectrum ({_line(error)})") from error


def write_csv(path: str | Path, spectra: Spectra) -> None:
    """Write one or several spectra as CSV with comment lines ``# key: value``, whole or not at all.

    Columns: ``wavenumber_cm-1``, ``intensity``, ``standard_error``, ``model_error``, then one per part; with several spectra
    each heading starts with the spectrum's name (``vv.intensity``). Numbers keep every digit.

    Raises:
        InputError: values that are not finite, or axes that differ.
        ComputationError: the disk is full or the folder cannot be written.
    """
    named = named_spectra(spectra)
    text = io.StringIO()
    text.write(f"{_MARK}{SCHEMA}\n# software: vibraloom {__version__}\n")
    text.write(f"# bins: {len(next(iter(named.values())).wavenumber)}\n")
    columns: dict[str, Array] = {AXIS: next(iter(named.values())).wavenumber}
    for name, spectrum in named.items():
        prefix = f"{name}." if name else ""
        for key, value in _header(spectrum).items():
            if key != "schema":
                plain = key in ("quantity", "unit")
                text.write(f"# {prefix}{key}: {_line(value) if plain else json.dumps(value, sort_keys=True)}\n")
        columns.update({prefix + column: values for column, values in _columns(spectrum).items()})
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(map(repr, values.tolist()) for values in columns.values()), strict=True))
    write_text(path, text.getvalue())


def read_csv_table(path: str | Path) -> dict[str, Spectrum]:
    """All spectra of a CSV file written by :func:`write_csv`, by name (``""`` where there is one alone).

    Raises:
        InputError: no such file, not written by vibraloom, cut off, or of a newer schema.
    """
    lines = _text(path).splitlines(keepends=True)
    if not lines or not lines[0].startswith(_MARK):
        raise InputError(f"{path}: first line is not '{_MARK.strip()} …'; only vibraloom tables carry conventions")
    header: dict[str, str] = {}
    start = 1
    while start < len(lines) and lines[start].startswith("# "):
        key, _, value = lines[start][2:].rstrip("\n").partition(": ")
        header[key] = value
        start += 1
    rows = list(csv.reader(lines[start:]))
    if len(rows) < 2 or rows[0][0] != AXIS:
        raise InputError(f"{path}: the table does not start with column {AXIS!r}; the file is cut off or edited")
    try:
        table = np.array([[float(cell) for cell in row] for row in rows[1:]], dtype=np.float64)
        if table.ndim != 2 or table.shape[1] != len(rows[0]):
            raise ValueError(f"{len(rows[0])} headings, rows of another length")
    except ValueError as error:
        raise InputError(
            f"{path}: a row does not match the headings ({_line(error)}); the file is cut off or edited"
        ) from error
    if header.get("bins") != str(len(table)) or not lines[-1].endswith("\n"):
        bins = header.get("bins", "?")
        raise InputError(f"{path}: {bins} bins announced, {len(table)} found; the file is cut off or edited")
    columns = dict(zip(rows[0], table.T, strict=True))
    names = [
        key.removesuffix("quantity").removesuffix(".")
        for key in header
        if key == "quantity" or key.endswith(".quantity")
    ]
    return {name: _from_columns(header, columns, name, names, lines[0], path) for name in names}


def read_csv(path: str | Path) -> Spectrum:
    """The spectrum of a CSV file written by :func:`write_csv`.

    Raises:
        InputError: as :func:`read_csv_table`, or the file holds several spectra.
    """
    return _only(read_csv_table(path), path)


def write_json(path: str | Path, spectra: Spectra) -> None:
    """Write one spectrum as a JSON object, or several as ``{"spectra": {name: object}}``.

    Raises:
        InputError: values that are not finite, or axes that differ.
        ComputationError: the disk is full or the folder cannot be written.
    """
    named = named_spectra(spectra)
    software = f"vibraloom {__version__}"
    record: dict[str, Any]
    if isinstance(spectra, Spectrum):
        record = {"software": software, **spectrum_record(spectra)}
    else:
        records = {name: spectrum_record(spectrum) for name, spectrum in named.items()}
        record = {"software": software, "schema": SCHEMA, "spectra": records}
    try:
        text = json.dumps(record, allow_nan=False)
    except ValueError as error:
        raise InputError(f"{path}: a number in the conventions or the verdict is not finite") from error
    write_text(path, text + "\n")


def read_json_table(path: str | Path) -> dict[str, Spectrum]:
    """All spectra of a JSON file written by :func:`write_json`, by name (``""`` where there is one alone).

    Raises:
        InputError: no such file, not JSON, not a stored spectrum, or of a newer schema.
    """
    try:
        record = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}: not JSON at line {error.lineno} ({error.msg}); the file is cut off or edited"
        ) from error
    if not isinstance(record, dict):
        raise InputError(f"{path}: not a stored spectrum (a JSON object is expected)")
    records = record.get("spectra", {"": record})
    if not isinstance(records, dict):
        raise InputError(f"{path}: entry 'spectra' is not an object of named spectra")
    return {name: spectrum_from_record(entry, str(path)) for name, entry in records.items()}


def read_json(path: str | Path) -> Spectrum:
    """The spectrum of a JSON file written by :func:`write_json`.

    Raises:
        InputError: as :func:`read_json_table`, or the file holds several spectra.
    """
    return _only(read_json_table(path), path)


def write_npz(path: str | Path, spectra: Spectra) -> None:
    """Write one or several spectra as a NumPy archive: columns as in CSV, ``header`` as JSON.

    Raises:
        InputError: values that are not finite, or axes that differ.
        ComputationError: the disk is full or the folder cannot be written.
    """
    named = named_spectra(spectra)
    arrays: dict[str, Any] = {"wavenumber": next(iter(named.values())).wavenumber}
    for name, spectrum in named.items():
        prefix = f"{name}." if name else ""
        arrays.update({prefix + column: values for column, values in _columns(spectrum).items()})
    arrays["header"] = np.array(json.dumps({name: _header(spectrum) for name, spectrum in named.items()}))
    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, **arrays)


def read_npz_table(path: str | Path) -> dict[str, Spectrum]:
    """All spectra of an archive written by :func:`write_npz`, by name (``""`` where there is one alone).

    Raises:
        InputError: no such file, not a NumPy archive, not a stored spectrum, or of a newer schema.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        headers: dict[str, dict[str, Any]] = json.loads(str(arrays.pop("header")))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, EOFError, ValueError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a spectrum archive written by vibraloom, or cut off") from error
    axis = arrays.pop("wavenumber", None)
    spectra = {}
    for name, header in headers.items():
        own = {key: value for key, value in arrays.items() if _belongs(key, name, list(headers))}
        spectra[name] = _assemble(header, axis, own, name, path)
    return spectra


def read_npz(path: str | Path) -> Spectrum:
    """The spectrum of an archive written by :func:`write_npz`.

    Raises:
        InputError: as :func:`read_npz_table`, or the file holds several spectra.
    """
    return _only(read_npz_table(path), path)


def _header(spectrum: Spectrum) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "quantity": spectrum.quantity,
        "unit": spectrum.unit,
        "conventions": spectrum.conventions.as_dict(),
        "verdict": None if spectrum.verdict is None else spectrum.verdict.as_dict(),
    }


def _columns(spectrum: Spectrum) -> dict[str, Array]:
    columns = {"intensity": spectrum.intensity}
    if spectrum.standard_error is not None:
        columns["standard_error"] = spectrum.standard_error
    if spectrum.model_error is not None:
        columns["model_error"] = spectrum.model_error
    return {**columns, **{f"part:{name}": values for name, values in spectrum.parts.items()}}


def _belongs(column: str, name: str, names: list[str]) -> bool:
    """Whether ``column`` is one of ``name``: among the names that fit, the longest one owns it."""
    fitting = [candidate for candidate in names if candidate == "" or column.startswith(f"{candidate}.")]
    return bool(fitting) and max(fitting, key=len) == name


def _assemble(
    header: Mapping[str, Any], axis: Any, columns: Mapping[str, Any], name: str, path: str | Path
) -> Spectrum:
    prefix = f"{name}." if name else ""
    bare = {column.removeprefix(prefix): values for column, values in columns.items()}
    parts = {column.removeprefix("part:"): values for column, values in bare.items() if column.startswith("part:")}
    arrays = {
        "wavenumber": axis,
        "intensity": bare.get("intensity"),
        "standard_error": bare.get("standard_error"),
        "model_error": bare.get("model_error"),
    }
    if axis is None or arrays["intensity"] is None:
        raise InputError(f"{path}: column {prefix}intensity is missing; the file is cut off or edited")
    return spectrum_from_record({**header, **arrays, "parts": parts}, str(path))


def _from_columns(
    header: Mapping[str, str],
    columns: Mapping[str, Array],
    name: str,
    names: list[str],
    first_line: str,
    path: str | Path,
) -> Spectrum:
    prefix = f"{name}." if name else ""
    try:
        record = {
            "schema": int(first_line.removeprefix(_MARK)),
            "quantity": header[f"{prefix}quantity"],
            "unit": header[f"{prefix}unit"],
            "conventions": json.loads(header[f"{prefix}conventions"]),
            "verdict": json.loads(header[f"{prefix}verdict"]),
        }
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: header of {prefix or 'the '}spectrum is incomplete ({_line(error)})") from error
    own = {key: values for key, values in columns.items() if key != AXIS and _belongs(key, name, names)}
    return _assemble(record, columns[AXIS], own, name, path)


def _array(values: Any) -> Array:
    array = np.array(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"an array of shape {array.shape} where one column is expected")
    return array


def _only(spectra: Mapping[str, Spectrum], path: str | Path) -> Spectrum:
    if len(spectra) != 1:
        raise InputError(
            f"{path}: holds {len(spectra)} spectra ({', '.join(spectra)}); read it as a table and choose one"
        )
    return next(iter(spectra.values()))


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({_line(error)})") from error


def _line(value: object) -> str:
    return " ".join(str(value).split())
