"""The class of the spectrum commands: what the numerics call an argument, a user knows as an option or a file."""

from __future__ import annotations

import re
from typing import Any

import click

from vibraloom.errors import InputError

_OTHER_NAMES = {"laser_wavelength": "laser", "velocities": "trajectory"}
"""Options that are not called as the argument that they become."""
_BLAMED = re.compile(r"(?P<name>[a-z][a-z_ ]*)(?:, replica (?P<replica>\d+))?: (?P<rest>.*)", re.DOTALL)


class SpectrumCommand(click.Command):
    """A command that refuses input by the name of the option, or of the file that it names."""

    def invoke(self, ctx: click.Context) -> Any:
        """As click, with the message of a refusal in the words of the command."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            raise InputError(self._in_options(str(error), ctx.params)) from error

    def _in_options(self, message: str, values: dict[str, Any]) -> str:
        blamed = _BLAMED.fullmatch(message)
        if blamed is None:
            return message
        name = blamed["name"]
        for wanted in (name, _OTHER_NAMES.get(name, name)):
            option = f"--{wanted.replace('_', '-').replace(' ', '-')}"
            parameter = next((each for each in self.params if option in each.opts), None)
            if parameter is None or parameter.name is None or not values.get(parameter.name):
                continue
            if not isinstance(parameter.type, click.Path):
                return f"{option}: {blamed['rest']}"
            files = values[parameter.name] if isinstance(values[parameter.name], tuple) else (values[parameter.name],)
            if blamed["replica"] is None and len(files) > 1:
                return message
            return f"{files[int(blamed['replica'] or 0)]}: {message}"
        return message
