"""Cluster profiles: the shipped ones are sound, a wrong one is refused in one line, what is rendered is only what it says."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from vibraloom.cluster_profiles.loader import available, find, own_folder
from vibraloom.cluster_profiles.schema import ClusterProfile, script_lines
from vibraloom.errors import InputError
from vibraloom.workflows.cluster_test import partitions_of

GOOD: dict[str, Any] = {
    "version": 1,
    "transport": {"kind": "ssh", "host": "login.site.edu"},
    "scheduler": "slurm",
    "work": "/scratch/{username}/vibraloom",
    "codes": {"cp2k": {"executable": "cp2k.psmp", "mpi": True, "modules": ["cp2k/2023.1"]}},
}


def write(folder: Path, content: dict[str, Any], name: str = "site") -> Path:
    path = folder / name / "profile.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def changed(dotted: str, value: Any) -> dict[str, Any]:
    content = yaml.safe_load(yaml.safe_dump(GOOD))
    here = content
    *parents, last = dotted.split(".")
    for key in parents:
        here = here.setdefault(key, {})
    here[last] = value
    return content


def test_the_shipped_profiles_are_valid() -> None:
    shipped = {found.name: found.load() for found in available() if found.origin == "shipped"}
    assert set(shipped) == {"localhost", "localhost-slurm", "generic-slurm"}
    assert (shipped["localhost"].transport.kind, shipped["localhost"].scheduler) == ("local", "direct")
    assert (shipped["localhost-slurm"].transport.kind, shipped["localhost-slurm"].scheduler) == ("local", "slurm")
    assert (shipped["generic-slurm"].transport.kind, shipped["generic-slurm"].scheduler) == ("ssh", "slurm")


def test_remote_sites_are_asked_every_thirty_seconds_at_most_unless_told_otherwise() -> None:
    assert ClusterProfile.model_validate(GOOD).transport.seconds == (30, 30)
    for found in available():
        if found.load().transport.kind == "ssh":
            assert min(found.load().transport.seconds) >= 30


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("version", 2),
        ("colour", "red"),
        ("scheduler", "pbs"),
        ("transport.host", "host; rm -rf ~"),
        ("transport.host", "-oProxyCommand=id"),
        ("transport.host", None),
        ("transport.poll_seconds", 0),
        ("work", "scratch/here"),
        ("work", "/scratch/$HOME"),
        ("work", "/scratch/{uuid}"),
        ("work", "{project}/jobs"),
        ("modules", ["cp2k; id"]),
        ("modules", ["--help"]),
        ("environment", {"A B": "1"}),
        ("environment", {"A": "$(id)"}),
        ("environment", {"A": "x\ny"}),
        ("mpi", ["srun", "`id`"]),
        ("mpi", []),
        ("resources.partition", "a b"),
        ("resources.account", "x\n#SBATCH --uid=0"),
        ("resources.qos", "$(id)"),
        ("resources.gpus", "many"),
        ("resources.gpus", "0"),
        ("resources.constraint", "a b"),
        ("resources.cores", 0),
        ("resources.cores", "4"),
        ("resources.walltime_minutes", 0),
        ("codes", {}),
        ("codes.vasp", {"executable": "vasp"}),
        ("codes.cp2k.executable", "cp2k.psmp --evil"),
        ("codes.cp2k.executable", "auto"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line_that_names_file_and_key(tmp_path: Path, key: str, value: Any) -> None:
    path = write(tmp_path, changed(key, value))
    with pytest.raises(InputError) as refused:
        find(str(path)).load()
    line = str(refused.value)
    assert "\n" not in line and line.startswith(f"{path}: {key.split('.')[0]}") and "allowed" in line


def test_slurms_words_are_refused_without_slurm(tmp_path: Path) -> None:
    content = {**changed("resources.partition", "gpu"), "scheduler": "direct"}
    with pytest.raises(InputError, match=r"resources\.partition: 'gpu': allowed: with scheduler slurm"):
        find(str(write(tmp_path, content))).load()


def test_a_profile_is_found_by_name_in_the_users_folder_and_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    write(own_folder(), GOOD, "mine")
    write(own_folder(), GOOD, "localhost")
    origins = {found.name: found.origin for found in available()}
    assert origins["mine"] == origins["localhost"] == "yours" and origins["generic-slurm"] == "shipped"
    assert find("mine").path == find(str(own_folder() / "mine")).path
    assert find(str(own_folder() / "mine" / "profile.yaml")).name == "mine"
    with pytest.raises(InputError, match=r"allowed: .*mine"):
        find("nope")
    with pytest.raises(InputError, match="no such file"):
        find("./nope")
    with pytest.raises(InputError, match="folder name"):
        find(str(write(tmp_path, GOOD, "my site")))


def test_rendered_lines_mean_to_a_shell_what_the_profile_says() -> None:
    environment = {"LD_LIBRARY_PATH": "/opt/it's here/lib:/usr/lib", "OMP_NUM_THREADS": "1"}
    text = script_lines(("gcc/12", "cp2k"), environment)
    assert text.splitlines()[:2] == ["module load gcc/12", "module load cp2k"]
    program = f'module() {{ :; }}\n{text}\nprintf "%s\\n" "$LD_LIBRARY_PATH" "$OMP_NUM_THREADS"'
    told = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == list(environment.values())


def test_partitions_are_read_from_sinfo() -> None:
    text = "debug*|up|30:00|2|32\nlong|up|7-00:00:00|100|128+\nold|down|infinite|3|16\ndebug*|up|30:00|4|64\n"
    debug, long, old = partitions_of(text)
    assert (debug.name, debug.default, debug.limit_minutes, debug.nodes) == ("debug", True, 30.0, 6)
    assert (long.default, long.limit_minutes, long.cores_per_node) == (False, 7 * 24 * 60.0, "128+")
    assert (old.up, old.limit_minutes) == (False, None)
