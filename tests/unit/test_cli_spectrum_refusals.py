"""Mistakes that users make with ``vibraloom spectrum``: each is one line with the file or option, its value and what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from trajectory_samples import CASES, write_topology

from vibraloom.app import cli
from vibraloom.errors import InputError
from vibraloom.files.velocities import read_velocities

FRAMES = 400
COMMON = ("--timestep", "0.5", "--temperature", "300")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(4)
    np.save("dipole.npy", random.normal(size=(FRAMES, 3)))
    nine = random.normal(size=(FRAMES, 9))
    np.save("nine.npy", nine)
    tensors = random.normal(size=(FRAMES, 3, 3))
    np.save("good.npy", tensors + tensors.transpose(0, 2, 1))
    np.save("skew.npy", tensors)
    np.savez("run.npz", velocities=random.normal(size=(FRAMES, 3, 3)), masses=[16.0, 1.0, 1.0])
    symmetric = np.tile(np.eye(3).ravel(), (FRAMES, 5, 1))
    symmetric[37, 2, 1] = 0.5
    np.savez("molecules.npz", dipole=random.normal(size=(FRAMES, 5, 3)), polarizability=symmetric)
    np.savez("other.npz", masses=[1.0])
    return tmp_path


def _refused(*arguments: str) -> str:
    """The line on stderr of a call that must be refused as wrong input, with nothing written."""
    before = sorted(Path.cwd().iterdir())
    result = CliRunner().invoke(cli.main, ["spectrum", *arguments, "-o", "x.csv"])
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert sorted(Path.cwd().iterdir()) == before
    return result.stderr.removeprefix("error: ").rstrip()


IR = ("ir", "--dipole", "dipole.npy", "--unit", "debye")
RAMAN = ("raman", "--unit", "angstrom^3", *COMMON, "--polarizability")
MOLECULES = ("sfg", "--molecules", "molecules.npz", "--dipole-unit", "debye", "--polarizability-unit", "angstrom^3", *COMMON)
MISTAKES = [
    ((*IR, *COMMON, "--correlation-time", "500"), "--correlation-time: 500000 fs (500 ps); allowed: 0.5 to 199 fs (0.0005"),
    ((*IR, "--timestep", "0.5", "--temperature", "-3"), "--temperature: -3.0 K; it must be positive"),
    ((*IR, *COMMON, "--window", "box"), "--window: 'box'; allowed: hann"),
    ((*IR, *COMMON, "--cell", "0 0 0"), "--cell: no volume"),
    ((*RAMAN, "good.npy", "--laser", "-1"), "--laser: -1.0 nm; it must be positive"),
    ((*RAMAN, "skew.npy"), "skew.npy: polarizability: frame "),
    ((*RAMAN, "good.npy", "--polarizability", "skew.npy"), "skew.npy: polarizability, replica 1: frame "),
    ((*RAMAN, "nine.npy", "--components", "xx,yy"), "--components: 'xx,yy'; allowed: six or nine names"),
    (("vdos", "--trajectory", "run.npz", "--timestep", "0.5", "--elements", "O,H"), "run.npz: --elements O,H has no meaning"),
    (
        ("vdos", "--trajectory", "run.npz", "--timestep", "0.5", "--topology", "start.xyz"),
        "run.npz: names its atoms; leave --topology start.xyz out",
    ),
    (
        ("vdos", "--trajectory", "run.npz", "--timestep", "0.5", "--correlation-time", "9"),
        "--correlation-time: 9000 fs (9 ps); allowed: 0.5 to 199.5 fs",
    ),
    ((*MOLECULES, "--components", "xx,yy,zz,xy,yz,zx"), "--components: 'xx,yy,zz,xy,yz,zx' names 6 columns"),
    # of rows of columns it would be row 187
    ((*MOLECULES, "--components", "travis"), "molecules.npz: polarizability: frame 37, molecule 2: antisymmetric part of 0.25"),
    (("harmonic", "--derivatives", "other.npz", "--temperature", "300"), "other.npz: harmonic arrays: symbols is missing"),
    (("harmonic", "--derivatives", "dipole.npy", "--temperature", "300"), "dipole.npy: not a NumPy archive of a harmonic job"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_a_mistake_is_named_by_its_option_or_file(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    assert _refused(*arguments).startswith(message)


@pytest.mark.parametrize("case", ["h5md", "extxyz", "ase", "cp2k"])
def test_elements_and_topology_are_refused_where_the_format_names_its_atoms(folder: Path, case: str) -> None:
    name, write, options = CASES[case]
    write(folder / name)
    write_topology(folder)
    for extra in ({"elements": ["O", "H"]}, {"topology": "start.xyz"}):
        with pytest.raises(InputError, match=next(iter(extra))) as refused:
            read_velocities(name, **(options | extra))
        assert str(refused.value).startswith(name)


def test_elements_do_not_replace_the_topology_of_a_dcd(folder: Path) -> None:
    name, write, options = CASES["dcd"]
    write(folder / name)
    write_topology(folder)
    with pytest.raises(InputError, match=r"--elements O,H has no meaning for \.dcd"):
        read_velocities(name, **(options | {"elements": ["O", "H"]}))
