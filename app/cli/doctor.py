"""``vibraloom doctor``: what works, what is missing, and the command that gets it."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import socket
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import click

_PACKAGES = {
    "aiida-core": "workflows",
    "ase": "workflows",
    "pymatgen": "workflows",
    "phonopy": "workflows",
    "dpdata": "workflows",
    "packmol": "workflows",
    "pyscf": "dft",
    "tblite": "dft",
    "deepmd-kit": "deepmd",
    "lammps": "deepmd",
    "matplotlib": "plot",
}
_NETWORK_FILE_SYSTEMS = ("nfs", "lustre", "gpfs", "beegfs", "cifs", "smb")


@dataclass
class Finding:
    """One line of the report."""

    what: str
    good: bool
    said: str
    remedy: str = ""


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """Tell what works here, what is missing, and the command that gets it. Exit code 4 if something is missing."""
    from vibraloom.settings import all_settings

    findings = [_python(), *_packages(), *_programs(), *_project()]
    settings = all_settings()
    if as_json:
        click.echo(
            json.dumps(
                {"findings": [asdict(entry) for entry in findings], "settings": [asdict(entry) for entry in settings]},
                indent=1,
            )
        )
    else:
        for entry in findings:
            mark = click.style("ok     ", fg="green") if entry.good else click.style("missing", fg="red")
            click.echo(f"{mark} {entry.what}: {entry.said}" + (f"; run: {entry.remedy}" if entry.remedy else ""))
        for one in settings:
            click.echo(f"setting {one.name} = {one.value} (from {one.origin})")
    if not all(entry.good for entry in findings):
        sys.exit(4)


def _python() -> Finding:
    return Finding(
        "Python",
        sys.version_info >= (3, 11),
        platform.python_version(),
        "" if sys.version_info >= (3, 11) else "install Python 3.11",
    )


def _packages() -> list[Finding]:
    found = []
    for name, extra in _PACKAGES.items():
        try:
            found.append(Finding(name, True, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            found.append(Finding(name, False, "not installed", f"pip install 'vibraloom[{extra}]'"))
    return found


def _programs() -> list[Finding]:
    from vibraloom.errors import MissingError

    findings = []
    try:
        from vibraloom.calculators.lammps.executable import find_lammps

        findings.append(Finding("LAMMPS program", True, str(find_lammps().path)))
    except MissingError as error:
        findings.append(Finding("LAMMPS program", False, str(error)))
    try:
        from vibraloom.structures.liquid import find_packmol

        findings.append(Finding("packmol program", True, str(find_packmol())))
    except MissingError as error:
        findings.append(Finding("packmol program", False, str(error)))
    return findings


def _project() -> list[Finding]:
    from vibraloom.errors import VibraloomError
    from vibraloom.settings import project_folder

    home = project_folder()
    if home is None:
        return [Finding("project", False, f"no .vibraloom at or above {Path.cwd()}", "vibraloom init")]
    findings = []
    try:
        from vibraloom.workflows.profile import load_project_profile

        load_project_profile()
        from aiida import orm

        codes = sorted(
            code.full_label
            for code in orm.QueryBuilder().append(orm.InstalledCode).all(flat=True)
            if not code.is_hidden
        )
        findings.append(Finding("project", True, f"{home}, codes {', '.join(codes)}"))
    except VibraloomError as error:
        return [Finding("project", False, str(error))]
    return [*findings, *_profile(home)]


def _profile(home: Path) -> list[Finding]:
    """Kind of the loaded profile, its servers, and what about it would be a trap."""
    from aiida.manage.configuration import get_profile

    from vibraloom.errors import VibraloomError
    from vibraloom.workflows.backends import TIMEOUT_REMEDY, consumer_timeout_left, told
    from vibraloom.workflows.profile import HOST
    from vibraloom.workflows.servers import Database

    profile = get_profile()
    assert profile is not None
    findings = []
    try:
        findings.append(Finding("profile", True, f"{profile.name}, {told(profile)}"))
        if said := consumer_timeout_left(profile):
            findings.append(Finding("RabbitMQ consumer_timeout", False, said, TIMEOUT_REMEDY))
    except VibraloomError as error:
        findings.append(Finding("profile", False, str(error)))
    kind = _file_system(home)
    if Database.of(profile) is None and any(kind.startswith(name) for name in _NETWORK_FILE_SYSTEMS):
        findings.append(
            Finding(
                "project storage",
                False,
                f"SQLite on {kind} may lose locks",
                "move the project to a local disk, or use PostgreSQL",
            )
        )
    host = home / "work" / HOST
    if host.is_file() and host.read_text(encoding="utf-8").strip() != socket.gethostname():
        findings.append(
            Finding("daemon", False, f"it lives on {host.read_text(encoding='utf-8').strip()}", "run vibraloom there")
        )
    return findings


def _file_system(path: Path) -> str:
    """Type of the file system that holds ``path``, from /proc/mounts; empty where that is not known."""
    best, kind = "", ""
    try:
        for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
            _, mount, name = line.split()[:3]
            if str(path).startswith(mount) and len(mount) > len(best):
                best, kind = mount, name
    except OSError:
        return ""
    return kind
