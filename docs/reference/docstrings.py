"""The page of the Python interface, from the docstrings of ``vibraloom.spectra``."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any


def first_line(thing: Any) -> str:
    """First line of a docstring."""
    return (inspect.getdoc(thing) or "").split("\n")[0]


def _markdown(docstring: str) -> str:
    """A docstring with sections (Args, Returns, …) as Markdown."""
    text = re.sub(r":(?:func|data|class|mod|meth):`([^`]+)`", r"`\1`", docstring).replace("``", "`")
    blocks: list[str] = []
    section = False
    for line in text.split("\n"):
        if re.fullmatch(r"(Args|Returns|Raises|Attributes|Yields):", line):
            blocks += ["", f"**{line[:-1]}**", ""]
            section = True
        elif section and line.startswith("    ") and not line.startswith("     "):
            blocks.append(f"- {line.strip()}")
        elif section and line.startswith("     "):
            blocks.append(f"  {line.strip()}")
        else:
            section = section and not line.strip()
            blocks.append(line)
    found = "\n".join(blocks)
    return re.sub(r"\n{3,}", "\n\n", found).strip()


def _signature(name: str, function: Callable[..., Any]) -> str:
    parameters = list(inspect.signature(function).parameters.values())
    lines = []
    keyword_only = False
    for each in parameters:
        if each.kind is inspect.Parameter.KEYWORD_ONLY and not keyword_only:
            lines.append("*")
            keyword_only = True
        default = "" if each.default is inspect.Parameter.empty else f"={each.default!r}"
        lines.append(f"{each.name}{default}")
    return "\n".join(textwrap.wrap(f"{name}({', '.join(lines)})", 100, subsequent_indent="    "))


def _fields(cls: type) -> str:
    """Fields of a dataclass or typed dictionary with the text that follows each in the source."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    lines = []
    for entry, after in zip(body.body, [*body.body[1:], None], strict=True):
        if isinstance(entry, ast.AnnAssign) and isinstance(entry.target, ast.Name):
            said = ""
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                said = f": {' '.join(inspect.cleandoc(str(after.value.value)).split())}"
            lines.append(_markdown(f"- `{entry.target.id}` ({ast.unparse(entry.annotation)}){said}"))
    return "\n".join(lines)


def _class(name: str, cls: type) -> list[str]:
    parts = [f"## {name}", _markdown(inspect.getdoc(cls) or "")]
    if "Attributes:" not in (inspect.getdoc(cls) or ""):
        parts.append(_fields(cls))
    for method, function in vars(cls).items():
        plain = function.__func__ if isinstance(function, classmethod) else function
        if not method.startswith("_") and inspect.isfunction(plain):
            parts += [f"### {name}.{method}", f"```text\n{_signature(method, getattr(cls, method))}\n```"]
            parts.append(_markdown(inspect.getdoc(plain) or ""))
    return parts


def python_page(note: str) -> str:
    """python-api.md, with ``note`` under its title."""
    from vibraloom import spectra

    parts = ["# Python interface", note]
    parts.append("`from vibraloom.spectra import ...`. Times in fs, lengths in Å, temperatures in K, wavenumbers in cm⁻¹.")
    for name in spectra.__all__:
        thing = getattr(spectra, name)
        if inspect.ismodule(thing):
            parts += [f"## {name}", _markdown(inspect.getdoc(thing) or "")]
            for inner, each in vars(thing).items():
                if not inner.startswith("_") and getattr(each, "__module__", "") == thing.__name__:
                    if inspect.isfunction(each):
                        parts += [f"### {name}.{inner}", f"```text\n{_signature(inner, each)}\n```"]
                        parts.append(_markdown(inspect.getdoc(each) or ""))
                    elif isinstance(each, type):
                        parts += [f"### {name}.{inner}", _markdown(inspect.getdoc(each) or "")]
        elif isinstance(thing, type):
            parts += _class(name, thing)
        else:
            parts += [f"## {name}", f"```text\n{_signature(name, thing)}\n```"]
            parts.append(_markdown(inspect.getdoc(thing) or ""))
    return "\n\n".join(part for part in parts if part) + "\n"
