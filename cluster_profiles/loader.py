"""Finds cluster profiles: a folder with profile.yaml, shipped here, in the user's settings, or at a path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vibraloom.cluster_profiles.schema import LABEL, ClusterProfile
from vibraloom.errors import InputError
from vibraloom.settings import user_folder
from vibraloom.validation import read_yaml, validated

FILE = "profile.yaml"
SHIPPED = Path(__file__).parent


@dataclass(frozen=True)
class Found:
    """A profile's name, its file and whose it is: "shipped", "yours" or "path"."""

    name: str
    path: Path
    origin: str

    def load(self) -> ClusterProfile:
        """Read and check the file.

        Raises:
            InputError: one line with file, key, value and what is allowed.
        """
        return validated(ClusterProfile, read_yaml(self.path), str(self.path))


def own_folder() -> Path:
    """Where the user's own profiles are looked for: one folder each."""
    return user_folder() / "clusters"


def available() -> list[Found]:
    """The shipped profiles and the user's; one of the user's hides a shipped one of the same name."""
    found: dict[str, Found] = {}
    for folder, origin in ((SHIPPED, "shipped"), (own_folder(), "yours")):
        for path in sorted(folder.glob(f"*/{FILE}")):
            found[path.parent.name] = Found(path.parent.name, path, origin)
    return list(found.values())


def find(profile: str) -> Found:
    """The profile of this name, or at this path (a folder with profile.yaml, or a YAML file).

    Raises:
        InputError: no such profile, or a folder's name that no computer can have.
    """
    path = Path(profile).expanduser()
    if "/" in profile or path.suffix in (".yaml", ".yml"):
        path = path / FILE if path.is_dir() else path
        if not path.is_file():
            raise InputError(f"{path}: no such file; give a folder that holds {FILE}, or see: vibraloom cluster list")
        name = path.absolute().parent.name if path.name == FILE else path.stem
        found = Found(name, path, "path")
    else:
        named = {each.name: each for each in available()}
        if profile not in named:
            raise InputError(
                f"cluster profile {profile}: unknown; allowed: {', '.join(named)}, or the path of a folder with {FILE}"
            )
        found = named[profile]
    if not re.fullmatch(LABEL, found.name):
        raise InputError(f"{found.path}: folder name {found.name!r}: allowed: letters, digits, '_', '.', '-'")
    return found
