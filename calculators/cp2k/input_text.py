"""CP2K's input text from a nested dict, in the convention that users of aiida-cp2k know.

A key is a section if its value is a mapping, a keyword otherwise; ``"_"`` in a section is its parameter; a list
repeats the section or keyword once for each entry; keys are upper case. A keyword with several values is one
string such as ``"0 0 1"``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vibraloom.errors import InputError

PARAMETER = "_"
"""Key of a section's parameter."""

_KEY = re.compile(r"[A-Z][A-Z0-9_+\-/.]*")
# CP2K's own marks: preprocessor (@ $), section (&), comments (! #), a backslash at the end, which takes the next line along;
# a newline would begin a keyword of its own
_FORBIDDEN = re.compile(r"[\n\r@$&!#]|\\\s*\Z")
_INDENT = 2


def render(parameters: Mapping[str, Any]) -> str:
    """Text of CP2K's input file, sections and keywords in alphabetical order.

    Raises:
        InputError: a key that is not an upper-case CP2K name, a value that is no text, number or boolean, or one
            with a character that CP2K's reader takes for something else (newline, ``@ $ & ! #``, a backslash at the end).
    """
    lines: list[str] = []
    _section(lines, parameters, (), 0)
    return "\n".join(lines) + "\n"


def check_form(parameters: Mapping[str, Any], source: str = "input") -> None:
    """Refuse what :func:`render` could not write; names of sections and keywords are left to CP2K.

    Raises:
        InputError: see :func:`render`; the message begins with ``source``.
    """
    _section([], parameters, (source,), 0)


def merged(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A new dict: ``overrides`` laid over ``base``, section by section; a value of None removes the key.

    A list takes the place of what was there, but a list of sections with parameters (such as KIND), or one such section, is
    merged by parameter.
    """
    result = {key: _copied(value) for key, value in base.items()}
    for key, value in overrides.items():
        here = result.get(key)
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(here, Mapping):
            result[key] = merged(here, value)
        elif _is_named_list(here) and (named := [value] if isinstance(value, Mapping) else value) and _is_named_list(named):
            result[key] = _merged_lists(here, named)
        else:
            result[key] = merged({}, value) if isinstance(value, Mapping) else _copied(value)
    return result


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(entry) for key, entry in value.items()}
    return [_copied(entry) for entry in value] if isinstance(value, list | tuple) else value


def _is_named_list(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(isinstance(entry, Mapping) and PARAMETER in entry for entry in value)
    )


def _merged_lists(base: Any, overrides: Any) -> list[Any]:
    names = [str(entry[PARAMETER]) for entry in base]
    result = [_copied(entry) for entry in base]
    for entry in overrides:
        name = str(entry[PARAMETER])
        if name in names:
            result[names.index(name)] = merged(result[names.index(name)], entry)
        else:
            names.append(name)
            result.append(merged({}, entry))
    return result


def _section(lines: list[str], content: Mapping[str, Any], path: tuple[str, ...], depth: int) -> None:
    for key in sorted(content, key=str):
        if key == PARAMETER:
            continue
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise InputError(f"{_at(path, key)}: {key!r}: allowed: the upper-case name of a CP2K section or keyword")
        value = content[key]
        for entry in value if isinstance(value, list | tuple) else [value]:
            _entry(lines, key, entry, path, depth)


def _entry(lines: list[str], key: str, entry: Any, path: tuple[str, ...], depth: int) -> None:
    margin = " " * (_INDENT * depth)
    if isinstance(entry, Mapping):
        parameter = f" {_value(entry[PARAMETER], (*path, key), PARAMETER)}" if PARAMETER in entry else ""
        lines.append(f"{margin}&{key}{parameter}")
        _section(lines, entry, (*path, key), depth + 1)
        lines.append(f"{margin}&END {key}")
    else:
        lines.append(f"{margin}{key} {_value(entry, path, key)}")


def _value(value: Any, path: tuple[str, ...], key: str) -> str:
    if isinstance(value, bool):
        return ".TRUE." if value else ".FALSE."
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and value == value and abs(value) != float("inf"):
        return f"{value:.12g}"
    if isinstance(value, str) and value.strip() and not _FORBIDDEN.search(value):
        return value.strip()
    allowed = "a number, true or false, or one line of text without @ $ & ! #, or a backslash at its end"
    raise InputError(f"{_at(path, key)}: {value!r}: allowed: {allowed}")


def _at(path: tuple[str, ...], key: object) -> str:
    return "/".join([*path, str(key)])
