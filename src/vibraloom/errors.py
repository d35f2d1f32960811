"""Errors that reach a user: one clear line each, with the exit code that the command line returns."""

from __future__ import annotations


class VibraloomError(Exception):
    """Base of every error that vibraloom raises on purpose; its text is one line with the remedy in it."""

    exit_code = 1


class InputError(VibraloomError):
    """Something that the user gave is wrong: the message names file, key or frame, value and what is allowed."""

    exit_code = 2


class ComputationError(VibraloomError):
    """An engine or a numerical step failed: the message says which, and what to do next."""

    exit_code = 3


class MissingError(VibraloomError):
    """Something is not installed or not reachable: the message holds the command that gets it."""

    exit_code = 4
