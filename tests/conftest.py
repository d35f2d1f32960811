"""What every test stands on: no writing outside temporary folders, one thread, a real profile on demand.

Fixtures:
    reference_data: folder of the open data that VIBRALOOM_REFERENCE_DATA names (mark the test so, too).
    project: a ``.vibraloom/`` folder with a real AiiDA profile, loaded in this process; one for the session.
    in_project: the same, and this test runs inside it (current folder and VIBRALOOM_HOME).
    new_project, film_project: folders of their own with a profile, for tests that run specs as a user does.
    servers: a private PostgreSQL and a private RabbitMQ; skips where they are not installed.
    full_project: a project of its own with a full profile on them; what runs in a new_project runs in it.
    bare_project: a folder without a profile, and the command in it.
    cp2k_program: path of CP2K; skips where it is not installed.
    chain: makes CP2K work chains for hand-made jobs (tests/cp2k_chains.py).
    cli: runs ``vibraloom ARGUMENTS`` as a process inside the project and returns the CompletedProcess.

With VIBRALOOM_REQUIRE_ALL=1 (continuous integration) a skipped test is a failed test, except those marked
``reference_data``.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cp2k_chains import chain  # noqa: F401
from hypothesis import settings
from services.full_profile import Servers
from services.loopback import skip_without
from services.postgresql import Postgresql, postgresql  # noqa: F401
from services.rabbitmq import Rabbitmq, rabbitmq  # noqa: F401
from services.slurm import slurm  # noqa: F401
from services.sshd import sshd  # noqa: F401

# Before anything imports aiida or numpy: AiiDA makes ~/.aiida when it is imported, and a developer's own
# settings must not steer a test.
_SCRATCH = Path(tempfile.mkdtemp(prefix="vibraloom-tests-"))
atexit.register(shutil.rmtree, _SCRATCH, ignore_errors=True)
os.environ["AIIDA_PATH"] = str(_SCRATCH / "no-profile")
os.environ["XDG_CONFIG_HOME"] = str(_SCRATCH / "config")
for _folder in ("no-profile", "config"):
    (_SCRATCH / _folder).mkdir()
for _name in (
    "VIBRALOOM_HOME",
    "VIBRALOOM_PROFILE",
    "VIBRALOOM_COMPUTER",
    "VIBRALOOM_CORES",
    "VIBRALOOM_TRACEBACK",
):
    os.environ.pop(_name, None)
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")

# wall time says nothing about correctness on a shared machine; the same examples on every run
settings.register_profile("vibraloom", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("vibraloom")

REQUIRE_ALL = os.environ.get("VIBRALOOM_REQUIRE_ALL") == "1"
REFERENCE_DATA = os.environ.get("VIBRALOOM_REFERENCE_DATA")


def _reference_folder() -> Path | None:
    if not REFERENCE_DATA:
        return None
    folder = Path(REFERENCE_DATA)
    if not folder.is_dir():
        raise pytest.UsageError(f"VIBRALOOM_REFERENCE_DATA: {REFERENCE_DATA}: no such folder; unset it or correct it")
    return folder.absolute()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked ``reference_data`` where the data is not at hand."""
    if item.get_closest_marker("reference_data") and _reference_folder() is None:
        pytest.skip("VIBRALOOM_REFERENCE_DATA is not set")


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"VIBRALOOM_REQUIRE_ALL=1 allows no skip, but: {reason.removeprefix('Skipped: ')}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under VIBRALOOM_REQUIRE_ALL=1 turn a skip into a failure that names its reason."""
    report = yield
    exempt = hasattr(report, "wasxfail") or item.get_closest_marker("reference_data")
    if REQUIRE_ALL and report.skipped and not exempt:
        _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole module that skips itself while it is imported."""
    report = yield
    if REQUIRE_ALL and report.skipped:
        _refuse_skip(report)
    return report


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """Folder of the reference data; skips where VIBRALOOM_REFERENCE_DATA is unset."""
    folder = _reference_folder()
    if folder is None:
        pytest.skip("VIBRALOOM_REFERENCE_DATA is not set")
    return folder


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder ``.vibraloom/`` with a real embedded profile that is loaded in this process."""
    from vibraloom.workflows.profile import initialise, remove

    home, made = initialise(tmp_path_factory.mktemp("project"))
    assert made, f"{home}: a project was there already"
    yield home
    from aiida.manage import get_manager

    get_manager().reset_profile()
    remove(home)


@pytest.fixture
def in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run this test inside the project; returns its ``.vibraloom/``."""
    monkeypatch.chdir(project.parent)
    monkeypatch.setenv("VIBRALOOM_HOME", str(project))
    return project


Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def cli(project: Path) -> Cli:
    """``cli("list", "--json", timeout=300, cwd=...)`` → CompletedProcess; the caller checks its exit code."""

    def run(
        *arguments: str | Path, timeout: float = 600.0, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).with_name("vibraloom"), *map(str, arguments)],
            cwd=cwd or project.parent,
            env={**os.environ, "VIBRALOOM_HOME": str(project)},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


THIN_FILM = """\
version: 1
name: thin-film
system:
  kind: interface
  slab: {element: Au, facet: 111, layers: 2, size: [4, 4]}
  liquid: {molecule: H2O, thickness: 6 angstrom, density: 0.997 g/cm^3}
  seed: 3
dynamics:
  {engine: lammps, model: spc/fw, temperature: 300 K, timestep: 0.5 fs, equilibration: 0.1 ps, length: LENGTH, every: 2 fs}
response: {model: point-charges}
spectra: [ir, {vdos: {by: [species, layer]}}]
"""
"""The smallest interface that shows every step; LENGTH is the production time."""


@pytest.fixture(scope="session")
def cp2k_program() -> str:
    """Path of CP2K; skips where it is not installed."""
    program = shutil.which("cp2k.psmp")
    skip_without(program, "CP2K", "cp2k")
    assert program is not None
    return program


@dataclass
class Project:
    """A folder with a profile, and the command ``vibraloom`` in it."""

    folder: Path

    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("VIBRALOOM_HOME", "AIIDA_PATH"))}
        return {**kept, "OMP_NUM_THREADS": "1"}

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start the command and return at once; it leads a process group of its own."""
        return subprocess.Popen(
            [str(Path(sys.executable).with_name("vibraloom")), *map(str, arguments)],
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str | Path, timeout: float = 300, code: int = 0) -> str:
        """Run the command to its end; returns what it printed, after its exit code was checked."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=timeout)
        assert process.returncode == code, f"exit {process.returncode}\n{out}\n{err}"
        return out if code == 0 else err

    def json(self, *arguments: str | Path) -> Any:
        """What the command prints with ``--json``."""
        return json.loads(self.run(*arguments, "--json"))

    def set_options(self, **options: object) -> None:
        """Set options of AiiDA in this profile, dots written as two underscores."""
        path = self.folder / ".vibraloom" / ".aiida" / "config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        changed = {name.replace("__", "."): value for name, value in options.items()}
        config["profiles"]["vibraloom"]["options"].update(changed)
        path.write_text(json.dumps(config), encoding="utf-8")

    def write_film(self, length: str, name: str = "film.yaml", **replaced: str) -> Path:
        """Write the thin-film spec."""
        text = THIN_FILM.replace("LENGTH", length)
        for old, new in replaced.items():
            text = text.replace(old, new)
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path


NewProject = Callable[[], Project]


@pytest.fixture(scope="session")
def new_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewProject]:
    """Make projects; they go with the session."""

    def make() -> Project:
        project = Project(tmp_path_factory.mktemp("project"))
        project.run("init")
        return project

    yield make


@pytest.fixture(scope="session")
def film_project(new_project: NewProject) -> Project:
    """A project in which the thin film was run once."""
    project = new_project()
    project.write_film("0.6 ps")
    project.run("run", "film.yaml", "-o", "output")
    return project


@pytest.fixture
def bare_project(tmp_path: Path) -> Iterator[Project]:
    """A folder without a profile; one that the test makes there goes with its daemon."""
    project = Project(tmp_path)
    yield project
    if (tmp_path / ".vibraloom" / "made-by-init").is_file():
        project.run("uninstall", "--yes")


@pytest.fixture(scope="session")
def servers(postgresql: Postgresql, rabbitmq: Rabbitmq) -> Servers:  # noqa: F811
    """PostgreSQL and RabbitMQ for full profiles."""
    return Servers(postgresql, rabbitmq)


@pytest.fixture(scope="session")
def full_project(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with a full profile, made as a user makes it; its YAML is ``full.yaml``."""
    project = Project(tmp_path_factory.mktemp("full-project"))
    servers.file(project.folder, "full", servers.make_user("full"))
    project.run("init", "--full", "full.yaml")
    yield project
    project.run("uninstall", "--yes", "--drop-database")
