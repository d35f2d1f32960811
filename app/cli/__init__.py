"""The command ``vibraloom``: a table of commands, each imported only when it is called."""

from __future__ import annotations

import gc
import importlib
from typing import Any

import click

from vibraloom import __version__
from vibraloom.app.cli.errors import reporting
from vibraloom.errors import MissingError

COMMANDS: dict[str, tuple[str, str]] = {
    "init": (
        "vibraloom.app.cli.init:command",
        "Set up a profile, this computer and its codes; safe to repeat.",
    ),
    "uninstall": ("vibraloom.app.cli.uninstall:command", "Remove what init made, and only that."),
    "env": ("vibraloom.app.cli.env:command", "Print the settings that verdi needs to see the same profile."),
    "doctor": ("vibraloom.app.cli.doctor:command", "Say what works, what is missing, and how to get it."),
    "run": ("vibraloom.app.cli.run:command", "Run a spec to its spectra and wait for it."),
    "submit": ("vibraloom.app.cli.submit:command", "Hand a spec to the daemon and return."),
    "status": ("vibraloom.app.cli.status:command", "Show what runs, what failed, and why."),
    "list": ("vibraloom.app.cli.list:command", "List the spectra in the database."),
    "show": ("vibraloom.app.cli.show:command", "Show a spectrum, its conventions and where it came from."),
    "plot": ("vibraloom.app.cli.plot:command", "Draw a spectrum or its provenance."),
    "export": ("vibraloom.app.cli.export:command", "Write a spectrum as JCAMP-DX, CSV, JSON or an archive."),
    "spectrum": (
        "vibraloom.app.cli.spectrum:command",
        "IR, Raman, SFG and VDOS from plain files; needs no profile.",
    ),
    "structure": ("vibraloom.app.cli.structure:command", "Build the structure that a spec names."),
    "dataset": ("vibraloom.app.cli.dataset:command", "Import, merge, split, look at and export labelled frames."),
    "cluster": ("vibraloom.app.cli.cluster:command", "Add, list and test the computers that jobs run on."),
    "schema": ("vibraloom.app.cli.schema:command", "Print the JSON schema of the spec."),
}
"""Command → where it is (``module:function``) and its line in ``--help``."""


class LazyGroup(click.Group):
    """A click group that imports a command when it is called, and reports errors in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of :data:`COMMANDS`."""
        return [*COMMANDS]  # not list(): the command of that name stands in this package

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of ``cmd_name``; None if there is no such command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, function = COMMANDS[cmd_name][0].partition(":")
        try:
            command: click.Command = getattr(importlib.import_module(module), function)
        except ModuleNotFoundError as error:
            name = error.name or "a module"
            if name.startswith("vibraloom"):
                raise MissingError(
                    f"{cmd_name}: {name} is not in this installation; install vibraloom again"
                ) from error
            remedy = "pip install 'vibraloom[all]'"
            raise MissingError(f"{cmd_name}: the package {name} is not installed; get it with: {remedy}") from error
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help lines from the table, so that ``--help`` imports no command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; errors become one line and an exit code."""
        # imports fill the heap with objects that stay: looking through them again and again costs a second per run
        gc.set_threshold(20_000, 20, 20)
        with reporting():
            return super().invoke(ctx)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vibraloom", message="%(prog)s %(version)s")
def main() -> None:
    """Vibrational spectra of interfaces and molecules, with provenance.

    Exit codes: 0 done, 2 wrong input, 3 a computation failed, 4 something is not installed or not reachable.
    """
