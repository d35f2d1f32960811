"""Turns what pydantic and YAML say about a wrong spec into one line: file, dotted key, value, what is allowed."""

from __future__ import annotations

import difflib
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from vibraloom.errors import InputError

_Model = TypeVar("_Model", bound=BaseModel)

_BOUNDS = {
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "at least {min_length} entries",
    "too_long": "at most {max_length} entries",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "string_pattern_mismatch": "text that matches {pattern}",
    "literal_error": "{expected}",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "list_type": "a list",
    "model_type": "a block of keys",
    "model_attributes_type": "a block of keys",
    "dict_type": "a block of keys",
    "finite_number": "a finite number",
}
_LONGEST_VALUE = 60


def read_yaml(path: str | Path) -> Any:
    """Read one YAML document, duplicate keys refused.

    Raises:
        InputError: no such file, not text, not YAML, or a key given twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; give the path of a spec such as examples/h2o.yaml") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error.__class__.__name__}); give a YAML file") from error
    try:
        return _UniqueKeyLoader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(f"{path}:{place}: not YAML ({error.problem or error.context}); mend that line") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())}); mend that line") from error


class _UniqueKeyLoader(yaml.SafeLoader):
    """yaml.SafeLoader that refuses a key given twice: the first one would be lost silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def validated(model: type[_Model], content: Any, source: str) -> _Model:
    """Check ``content`` against ``model``.

    Raises:
        InputError: one line for the first fault, with ``source``, dotted key, value and what is allowed.
    """
    if not isinstance(content, dict):
        raise InputError(
            f"{source}: the file holds {_shown(content)}; allowed: a block of keys that begins with 'version: 1'"
        )
    try:
        return model.model_validate(content)
    except ValidationError as error:
        # an unknown key explains a missing one, so it is told first
        faults = sorted(error.errors(include_url=False), key=lambda fault: fault["type"] != "extra_forbidden")
        raise InputError(_line(model, content, faults[0], source)) from None


def _line(model: type[BaseModel], content: Any, fault: Any, source: str) -> str:
    location = [part for part in fault["loc"] if part not in _union_tags(content, fault["loc"])]
    kind = fault["type"]
    value = _shown(fault.get("input"))
    if kind == "extra_forbidden":
        key = str(location[-1])
        allowed = _keys_at(model, location[:-1], content)
        near = difflib.get_close_matches(key, allowed, n=1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        return f"{source}: {_dotted(location)}: {value}: unknown key; allowed: {', '.join(allowed)}{hint}"
    if kind == "missing":
        return f"{source}: {_dotted(location)}: missing; allowed: {_describe(model, location, content)}"
    if kind == "value_error":
        message = str(fault["ctx"]["error"])
        if message.startswith("@"):
            key, message = message[1:].split(" ", 1)
            location += key.split(".")
            value = _shown(_value_at(content, location))
        return f"{source}: {_dotted(location)}: {value}: {message}"
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        discriminator = str(fault["ctx"]["discriminator"]).strip("'")
        given = fault.get("input")
        shown = _shown(given.get(discriminator)) if isinstance(given, dict) else value
        tags = fault["ctx"].get("expected_tags") or ", ".join(_tags(model, location))
        return f"{source}: {_dotted([*location, discriminator])}: {shown}: allowed: {tags}"
    allowed_text = _BOUNDS[kind].format(**fault.get("ctx", {})) if kind in _BOUNDS else fault["msg"]
    return f"{source}: {_dotted(location)}: {value}: allowed: {allowed_text}"


def _union_tags(content: Any, location: tuple[Any, ...]) -> list[Any]:
    """Parts of a pydantic location that are no keys of the file but tags of a union."""
    tags = []
    here = content
    for part in location:
        if isinstance(here, dict) and part not in here and part == here.get("kind"):
            tags.append(part)
            continue
        here = _child(here, part)
    return tags


def _child(here: Any, part: Any) -> Any:
    if isinstance(here, dict):
        return here.get(part)
    if isinstance(here, (list, tuple)) and isinstance(part, int) and part < len(here):
        return here[part]
    return None


def _value_at(content: Any, location: list[Any]) -> Any:
    for part in location:
        content = _child(content, part)
    return content


def _model_at(model: type[BaseModel], location: list[Any], content: Any) -> type[BaseModel] | None:
    here: Any = model
    for part in location:
        content = _child(content, part)
        if isinstance(part, int):
            continue
        if not (isinstance(here, type) and issubclass(here, BaseModel)) or part not in here.model_fields:
            return None
        candidates = _models_in(here.model_fields[part].annotation)
        kinds = [entry for entry in candidates if "kind" in entry.model_fields and isinstance(content, dict)]
        chosen = [
            entry for entry in kinds if content.get("kind") in typing.get_args(entry.model_fields["kind"].annotation)
        ]
        here = next(iter(chosen or candidates), None)
    return here if isinstance(here, type) else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    arguments: tuple[Any, ...] = typing.get_args(annotation)
    return [model for argument in arguments for model in _models_in(argument)]


def _tags(model: type[BaseModel], location: list[Any]) -> list[str]:
    """Values of the discriminator of the union at ``location``."""
    parent = _model_at(model, location[:-1], {})
    annotation = parent.model_fields[location[-1]].annotation if parent is not None else None
    fields = [entry.model_fields["kind"] for entry in _models_in(annotation) if "kind" in entry.model_fields]
    return [str(tag) for field in fields for tag in typing.get_args(field.annotation)]


def _keys_at(model: type[BaseModel], location: list[Any], content: Any) -> list[str]:
    here = _model_at(model, location, content)
    return list(here.model_fields) if here is not None else []


def _describe(model: type[BaseModel], location: list[Any], content: Any) -> str:
    parent = _model_at(model, location[:-1], content)
    if parent is not None and location[-1] in parent.model_fields:
        field = parent.model_fields[location[-1]]
        allowed = typing.get_args(field.annotation)
        if allowed and all(isinstance(value, (str, int)) for value in allowed):
            return " or ".join(repr(value) for value in allowed)
        if field.description:
            return field.description
    return "this key with a value"


def _dotted(location: list[Any]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".") or "(top)"


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
