"""Where settings come from: option > VIBRALOOM_* > nearest .vibraloom/ upward > ~/.config/vibraloom > default.

A spec's own words stand between the environment and the folders; they are read where the spec is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import yaml

from vibraloom.errors import InputError

FOLDER = ".vibraloom"
"""Name of the project's own folder; it holds the profile, the jobs and the logs."""
FILE = "settings.yaml"
"""Name of the settings file in the project's and in the user's folder."""

DEFAULTS: dict[str, str] = {
    "profile": "vibraloom",
    "computer": "localhost",
    "cores": str(min(2, os.cpu_count() or 1)),
}
"""Every setting with its default."""


@dataclass(frozen=True)
class Setting:
    """One setting: its value and where it came from."""

    name: str
    value: str
    origin: str


def user_folder() -> Path:
    """Folder of the user's own settings."""
    return Path(os.environ.get("XDG_CONFIG_HOME", "~/.config")).expanduser() / "vibraloom"


def project_folder(start: Path | None = None) -> Path | None:
    """The nearest ``.vibraloom/`` at or above ``start`` (default: the current folder), or what VIBRALOOM_HOME names."""
    if named := os.environ.get("VIBRALOOM_HOME"):
        return Path(named).expanduser().absolute()
    here = (start or Path.cwd()).absolute()
    for folder in (here, *here.parents):
        if (folder / FOLDER).is_dir():
            return folder / FOLDER
    return None


def project_folder_to_make(start: Path | None = None) -> Path:
    """The project's folder as it is, or the one that ``vibraloom init`` makes in ``start``."""
    return project_folder(start) or (start or Path.cwd()).absolute() / FOLDER


def _stored(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML; mend or remove the file") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no keys; allowed: {', '.join(DEFAULTS)}")
    for key in content:
        if key not in DEFAULTS:
            raise InputError(f"{path}: {key}: unknown key; allowed: {', '.join(DEFAULTS)}")
    return {key: str(value) for key, value in content.items()}


def setting(name: str, option: str | None = None) -> Setting:
    """Value and origin of one setting.

    Args:
        name: a key of :data:`DEFAULTS`.
        option: what the command line gave, or None.

    Raises:
        InputError: a settings file that is not YAML or has an unknown key.
    """
    if option is not None:
        return Setting(name, option, "option")
    variable = f"VIBRALOOM_{name.upper()}"
    if variable in os.environ:
        return Setting(name, os.environ[variable], variable)
    project = project_folder()
    for folder in ([project] if project else []) + [user_folder()]:
        path = folder / FILE
        stored = _stored(path)
        if name in stored:
            return Setting(name, stored[name], str(path))
    return Setting(name, DEFAULTS[name], "default")


def all_settings() -> list[Setting]:
    """Every setting with its value and origin, for ``vibraloom doctor``."""
    return [setting(name) for name in DEFAULTS]
