"""The command line on plain files: numbers as the library gives them, bad input in one line, quick help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from vibraloom.app import cli
from vibraloom.app.cli.errors import reporting
from vibraloom.errors import ComputationError, InputError, MissingError
from vibraloom.files.jcamp import read_jcamp_table
from vibraloom.files.tables import read_csv, read_csv_table, read_json, read_npz
from vibraloom.files.trajectory import Trajectory, write_trajectory
from vibraloom.files.velocities import read_velocities
from vibraloom.spectra.corrections import without_verlet_shift
from vibraloom.spectra.infrared import infrared
from vibraloom.spectra.raman import raman
from vibraloom.spectra.slab import slab_response
from vibraloom.units import AMU_ANGSTROM2_PER_FS2_IN_EV, BOLTZMANN_EV_PER_K, SPEED_OF_LIGHT_CM_PER_FS

FRAMES = 2400
MASSES = np.array([15.999, 1.008, 1.008])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, ["spectrum", *arguments])


def _refused(*arguments: str) -> str:
    """The one line on stderr of a call that must be refused as wrong input."""
    result = _call(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def _wave(wavenumber: float, components: int, timestep: float = 0.5) -> np.ndarray:
    time = np.arange(FRAMES) * timestep
    phases = np.arange(components)
    noise = np.random.default_rng(1).normal(size=(FRAMES, components))
    return np.cos(2 * np.pi * SPEED_OF_LIGHT_CM_PER_FS * wavenumber * time[:, None] + phases) + 0.01 * noise


def _velocities(temperature: float = 300.0) -> np.ndarray:
    scale = np.sqrt(BOLTZMANN_EV_PER_K * temperature / MASSES / AMU_ANGSTROM2_PER_FS2_IN_EV)
    return np.stack([_wave(400 * (1 + atom), 3) * np.sqrt(2) * scale[atom] for atom in range(3)], axis=1)


def _dump(path: Path, velocities: np.ndarray, *, columns: str = "id element vx vy vz", head: str = "") -> None:
    names = columns.split()
    generator = np.random.default_rng(0)
    lines = []
    for frame, values in enumerate(velocities):
        if frame == 0 and head:
            lines += ["ITEM: UNITS", head]
        lines += ["ITEM: TIMESTEP", str(frame * 4), "ITEM: NUMBER OF ATOMS", str(len(values))]
        lines += ["ITEM: BOX BOUNDS pp pp pp", *["0.0 10.0"] * 3, f"ITEM: ATOMS {columns}"]
        for atom in generator.permutation(len(values)):  # LAMMPS writes atoms in any order
            known = {"id": atom + 1, "element": "OHH"[atom], "type": min(atom, 1) + 1, "mass": MASSES[atom]}
            known.update(zip(("vx", "vy", "vz"), map(repr, values[atom].tolist()), strict=True))
            lines.append(" ".join(str(known[name]) for name in names))
    path.write_text("\n".join(lines) + "\n")


def _trajectory(path: Path, **observables: np.ndarray) -> None:
    write_trajectory(
        path,
        Trajectory(
            numbers=np.array([8, 1, 1]),
            masses=MASSES,
            step=np.arange(FRAMES, dtype=np.int64) * 4,
            timestep=0.125,
            positions=np.zeros((FRAMES, 3, 3)),
            velocities=_velocities(),
            observables=observables,
        ),
    )


COMMON = ("--timestep", "0.5", "--temperature", "300")
UNIT = ("--unit", "e*angstrom")


def test_ir_writes_what_the_library_computes_in_every_format(folder: Path) -> None:
    dipole = _wave(1650, 3)
    np.save("dipole.npy", dipole)
    outputs = [piece for name in ("ir.csv", "ir.json", "ir.npz", "ir.jdx", "ir.png") for piece in ("-o", name)]
    result = _call("ir", "--dipole", "dipole.npy", "--unit", "e*angstrom", *COMMON, "--volume", "970.3", *outputs)
    assert result.exit_code == 0, result.output
    expected = infrared(dipole, 0.5, temperature=300, volume=970.3)
    for found in (
        read_csv("ir.csv"),
        read_json("ir.json"),
        read_npz("ir.npz"),
        read_jcamp_table("ir.jdx")[""],
    ):
        np.testing.assert_array_equal(found.intensity, expected.intensity)
        assert (found.quantity, found.unit, found.conventions.volume) == ("infrared", "cm^-1", 970.3)
        assert found.conventions.extra["sources"][0]["file"] == "dipole.npy"
    assert Path("ir.png").read_bytes().startswith(b"\x89PNG")
    assert abs(expected.wavenumber[expected.intensity.argmax()] - 1650) < 60


def test_units_scale_the_spectrum_and_options_reach_the_library(folder: Path) -> None:
    dipole = _wave(1650, 3)
    np.savetxt("dipole.dat", dipole / 0.20819433, header="debye, three columns")
    np.savez("dipole.npz", dipole=dipole)
    options = (
        "--correlation-time",
        "0.1",
        "--window",
        "none",
        "--quantum-correction",
        "classical",
        "--blocks",
        "0",
    )
    for name, unit in (("dipole.dat", "debye"), ("dipole.npz", "e*angstrom")):
        result = _call(
            "ir",
            "--dipole",
            name,
            "--unit",
            unit,
            *COMMON,
            *options,
            "-o",
            "ir.csv",
            "--range",
            "500",
            "3000",
        )
        assert result.exit_code == 0, result.output
        expected = infrared(
            dipole,
            0.5,
            temperature=300,
            correlation_time=100,
            window="none",
            quantum_correction="classical",
            blocks=0,
        ).between(500, 3000)
        found = read_csv("ir.csv")
        scale = expected.intensity.max()
        np.testing.assert_allclose(found.intensity / scale, expected.intensity / scale, atol=1e-6)
        assert found.unit == "km/mol/cm^-1"
        assert found.standard_error is None
        assert 500 <= found.wavenumber[0] < found.wavenumber[-1] <= 3000


@pytest.mark.parametrize("estimator", ["welch", "cepstral"])
def test_the_estimator_is_a_choice(folder: Path, estimator: str) -> None:
    dipole = _wave(1650, 3) + 0.1 * np.random.default_rng(2).normal(size=(FRAMES, 3))
    np.save("dipole.npy", dipole)
    options = ("--dipole", "dipole.npy", "--unit", "e*angstrom", *COMMON)
    result = _call("ir", *options, "--estimator", estimator, "-o", "ir.csv")
    assert result.exit_code == 0, result.output
    expected = infrared(dipole, 0.5, temperature=300, estimator=estimator)
    np.testing.assert_array_equal(read_csv("ir.csv").intensity, expected.intensity)
    np.testing.assert_array_equal(read_csv("ir.csv").standard_error, expected.standard_error)
    assert "allowed: correlation, welch, cepstral" in _refused("ir", *options, "--estimator", "magic", "-o", "x.csv")


def test_a_slab_is_asked_for_by_its_area_and_its_electrostatics(folder: Path) -> None:
    dipole = _wave(1650, 3)
    np.save("dipole.npy", dipole)
    options = ("--dipole", "dipole.npy", "--unit", "e*angstrom", *COMMON, "--area", "99.5")
    result = _call("ir", *options, "--boundary", "fixed D along z", "-o", "ir.csv")
    assert result.exit_code == 0, result.output
    expected = slab_response(dipole, 0.5, temperature=300, area=99.5, boundary="fixed D along z")
    found = read_csv_table("ir.csv")
    for name in ("parallel", "normal"):
        np.testing.assert_array_equal(found[name].intensity, expected[name].intensity)
        assert found[name].conventions.boundary == "fixed D along z"
    assert "--boundary" in _refused("ir", *options, "-o", "x.csv")
    assert "no volume" in _refused("ir", *options, "--boundary", "fixed E", "--volume", "970", "-o", "x.csv")


def test_a_folded_dipole_is_unwrapped_with_its_cell(folder: Path) -> None:
    whole = 3 * _wave(400, 3)
    folded = whole - np.round(whole / 5.0) * 5.0
    assert np.abs(np.diff(folded, axis=0)).max() > 4
    np.save("folded.npy", folded)
    options = ("--dipole", "folded.npy", "--unit", "e*angstrom", *COMMON)
    result = _call("ir", *options, "--cell", "5 5 5", "-o", "ir.csv")
    assert result.exit_code == 0, result.output
    expected = infrared(whole, 0.5, temperature=300).intensity
    np.testing.assert_allclose(read_csv("ir.csv").intensity, expected, atol=1e-9 * expected.max())
    assert "nine numbers" in _refused("ir", *options, "--cell", "5 5", "-o", "x.csv")
    coarse = _call("ir", *options, "--cell", "0.2 0.2 0.2", "-o", "ir.csv")
    assert "half a polarisation quantum" in coarse.stdout


def test_the_axis_is_corrected_and_scaled_on_request_and_says_so(folder: Path) -> None:
    np.save("dipole.npy", _wave(3400, 3))
    options = ("--dipole", "dipole.npy", "--unit", "e*angstrom", *COMMON, "--correlation-time", "1.0")
    plain, moved = (
        read_csv("ir.csv")
        for extra in ((), ("--integration-timestep", "0.5", "--frequency-scale", "0.96"))
        if _call("ir", *options, *extra, "-o", "ir.csv").exit_code == 0
    )
    true = float(without_verlet_shift(plain.wavenumber[plain.intensity.argmax()], 0.5))
    assert moved.wavenumber[moved.intensity.argmax()] == pytest.approx(0.96 * true, abs=4)
    assert plain.wavenumber[plain.intensity.argmax()] - true > 12
    assert moved.conventions.extra["verlet_corrected"] == 0.5
    assert moved.conventions.extra["frequency_scale"] == 0.96
    assert "between frames" in _refused("ir", *options, "--integration-timestep", "2", "-o", "x.csv")
    assert "0.8 to 1.2" in _refused("ir", *options, "--frequency-scale", "2", "-o", "x.csv")


def test_several_files_are_replicas(folder: Path) -> None:
    first, second = _wave(1650, 3), _wave(1700, 3)
    np.save("a.npy", first)
    np.save("b.npy", second)
    result = _call("ir", "--dipole", "a.npy", "--dipole", "b.npy", *COMMON, *UNIT, "-o", "ir.csv")
    assert result.exit_code == 0, result.output
    found = read_csv("ir.csv")
    np.testing.assert_array_equal(found.intensity, infrared([first, second], 0.5, temperature=300).intensity)
    assert found.conventions.replicas == 2
    np.save("b.npy", second[:, :2])
    assert "b.npy" in _refused("ir", "--dipole", "a.npy", "--dipole", "b.npy", *COMMON, *UNIT, "-o", "x.csv")


def test_raman_reads_a_text_table_in_the_named_order(folder: Path) -> None:
    columns = _wave(1000, 6) * [1, 2, 3, 0.1, 0.2, 0.3]
    np.savetxt("polar.out", columns)
    named = ("--components", "xx,yy,zz,xy,yz,zx", "--unit", "angstrom^3", *COMMON, "--laser", "488")
    result = _call("raman", "--polarizability", "polar.out", *named, "-o", "raman.csv", "-o", "raman.jdx")
    assert result.exit_code == 0, result.output
    tensor = columns[:, [0, 3, 5, 3, 1, 4, 5, 4, 2]].reshape(-1, 3, 3)
    expected = raman(tensor, 0.5, temperature=300, laser_wavelength=488)
    for found in (read_csv_table("raman.csv"), read_jcamp_table("raman.jdx")):
        assert set(found) == {"isotropic", "anisotropic", "vv", "vh", "unpolarized"}
        for name, one in found.items():
            np.testing.assert_allclose(one.intensity, expected[name].intensity, rtol=1e-9, atol=1e-12)
            assert one.conventions.laser_wavelength == 488
    assert "--unit 'angstrom^3'" in _refused("raman", "--polarizability", "polar.out", *COMMON, "-o", "x.csv")
    message = _refused("raman", "--polarizability", "polar.out", "--unit", "angstrom^3", *COMMON, "-o", "x.csv")
    assert "--components" in message


def test_an_h5md_file_knows_its_own_time_and_contradiction_is_refused(folder: Path) -> None:
    dipole = _wave(1650, 3)
    _trajectory(folder / "run.h5", dipole=dipole)
    for timestep in ((), ("--timestep", "0.5")):
        result = _call("ir", "--dipole", "run.h5", *timestep, "--temperature", "300", "-o", "ir.csv")
        assert result.exit_code == 0, result.output
        np.testing.assert_array_equal(read_csv("ir.csv").intensity, infrared(dipole, 0.5, temperature=300).intensity)
    message = _refused("ir", "--dipole", "run.h5", "--timestep", "0.125", "--temperature", "300", "-o", "x.csv")
    assert "0.5 fs apart" in message
    assert "--timestep says 0.125 fs" in message
    message = _refused("raman", "--polarizability", "run.h5", "--temperature", "300", "-o", "x.csv")
    assert "found: dipole" in message


@pytest.mark.parametrize("source", ["h5", "real", "metal", "inferred", "extxyz", "npz"])
def test_vdos_is_the_same_from_every_format(folder: Path, source: str) -> None:
    from ase import Atoms, units
    from ase.io import write

    velocities = _velocities()
    path = {"h5": "run.h5", "extxyz": "run.extxyz", "npz": "run.npz"}.get(source, "run.lammpstrj")
    if source == "h5":
        _trajectory(folder / path)
    elif source == "npz":
        np.savez(path, velocities=velocities, masses=MASSES, species=["O", "H", "H"])
    elif source == "extxyz":
        frames = [Atoms("OHH", positions=np.zeros((3, 3)), velocities=one / units.fs) for one in velocities]
        write(path, frames, format="extxyz")
    else:
        metal = source in ("metal", "inferred")
        _dump(folder / path, velocities * (1e3 if metal else 1.0), head="" if source == "inferred" else source)
    result = _call("vdos", "--trajectory", path, "--timestep", "0.5", "--group-by", "species", "-o", "vdos.csv")
    assert result.exit_code == 0, result.output
    found = read_csv("vdos.csv")
    assert ("inferred" in result.stdout) == (source == "inferred")
    assert set(found.parts) == {"species/O", "species/H"}
    np.testing.assert_allclose(sum(found.parts.values()), found.intensity, rtol=1e-9, atol=1e-12)
    assert found.area(0, np.inf) == pytest.approx(9, rel=0.01)
    assert found.conventions.temperature == pytest.approx(300, rel=0.02)
    oxygen = found.parts["species/O"]
    assert abs(found.wavenumber[oxygen.argmax()] - 400) < 80


def test_a_dump_without_elements_needs_their_symbols(folder: Path) -> None:
    _dump(folder / "run.dump", _velocities(), columns="id type vx vy vz", head="real")
    assert "--elements O,H" in _refused("vdos", "--trajectory", "run.dump", "--timestep", "0.5", "-o", "v.csv")
    found = read_velocities("run.dump", timestep=0.5, elements=["O", "H"])
    assert found.species == ("O", "H", "H")
    np.testing.assert_allclose(found.velocities, _velocities(), rtol=1e-6)
    _dump(folder / "run.dump", _velocities(), columns="mass id vx vy vz type", head="real")
    by_mass = read_velocities("run.dump", timestep=0.5)
    np.testing.assert_array_equal(by_mass.masses, MASSES)
    assert by_mass.species == ("type 1", "type 2", "type 2")


def test_a_wrong_velocity_unit_is_noticed(folder: Path) -> None:
    _dump(folder / "run.dump", _velocities())
    options = ("--trajectory", "run.dump", "--timestep", "0.5", "--temperature", "300", "-o", "v.csv")
    assert "check --velocity-unit" in _refused("vdos", *options, "--velocity-unit", "angstrom/ps")
    assert _call("vdos", *options).exit_code == 0


def test_a_damaged_dump_is_refused_with_its_step(folder: Path) -> None:
    _dump(folder / "run.dump", _velocities()[:20], head="real")
    lines = Path("run.dump").read_text().splitlines()
    Path("run.dump").write_text("\n".join(lines[:-2]) + "\n")
    assert "step 76 is cut off" in _refused("vdos", "--trajectory", "run.dump", "--timestep", "0.5", "-o", "v.csv")
    at = lines.index("ITEM: TIMESTEP", 40)
    Path("run.dump").write_text("\n".join(lines[:at] + lines[at + 12 :]) + "\n")
    assert "has step" in _refused("vdos", "--trajectory", "run.dump", "--timestep", "0.5", "-o", "v.csv")


BAD = [
    (("--dipole", "absent.npy", *COMMON), "absent.npy: no such file"),
    (("--dipole", "nan.npy", *COMMON), "nan.npy: dipole of frame 7 is nan"),
    (("--dipole", "wide.npy", *COMMON), "shape (2400, 4)"),
    (("--dipole", "flat.npy", *COMMON), "one row per frame"),
    (("--dipole", "words.txt", *COMMON), "not an array of numbers"),
    (("--dipole", "empty.npy", *COMMON), "cannot be read"),
    (("--dipole", "objects.npy", *COMMON), "not an array of numbers"),
    (("--dipole", "good.npy", *COMMON, "--unit", "eV"), "'eV' is not a dipole; allowed: e*angstrom"),
    (("--dipole", "good.npy", *COMMON, "--volume", "0"), "volume"),
    (("--dipole", "good.npy", "--timestep", "0", "--temperature", "300"), "--timestep 0"),
    (("--dipole", "good.npy", "--temperature", "300"), "--timestep 0.5"),
    (("--dipole", "good.npy", "--timestep", "0.5", "--temperature", "-1"), "temperature"),
    (("--dipole", "good.npy", *COMMON, "--correlation-time", "99"), "correlation"),
    (("--dipole", "good.npy", *COMMON, "--correlation-time", "-1"), "--correlation-time"),
    (("--dipole", "good.npy", *COMMON, "--window", "bathroom"), "bathroom"),
    (("--dipole", "good.npy", *COMMON, "--quantum-correction", "magic"), "magic"),
    (("--dipole", "good.npy", *COMMON, "--range", "3000", "1000"), "LOW must be below HIGH"),
    (("--dipole", "good.npy", *COMMON, "--range", "1e6", "2e6"), "no bin in this wavenumber range"),
    (("--dipole", "good.npy", *COMMON, "-o", "x.xls"), "allowed: .csv, .jdx, .json, .npz, .png"),
    (("--dipole", "good.npy", *COMMON, "-o", "nowhere/x.csv"), "does not exist"),
    (("--dipole", "good.npy", *COMMON, "-o", "./x.csv"), "named twice"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input_is_one_line_and_nothing_is_written(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    good = _wave(1650, 3)
    bad = good.copy()
    bad[7, 1] = np.nan
    arrays = {"good": good, "nan": bad, "wide": _wave(1, 4), "flat": good[:, 0]}
    for name, values in arrays.items():
        np.save(f"{name}.npy", values)
    np.save("objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    Path("empty.npy").touch()
    Path("words.txt").write_text("this is\nno table\n")
    before = sorted(folder.iterdir())
    unit = () if "--unit" in arguments else UNIT
    assert message in _refused("ir", *arguments, *unit, "-o", "x.csv")
    assert sorted(folder.iterdir()) == before


def test_a_missing_option_is_click_exit_code_2(folder: Path) -> None:
    result = _call("ir", "--timestep", "0.5")
    assert result.exit_code == 2
    assert "Missing option" in result.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("a: b\nc"), 2),
        (ComputationError("x"), 3),
        (MissingError("x"), 4),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("division by zero"), 1),
        (MemoryError(), 3),
        (PermissionError(13, "Permission denied", "ir.csv"), 2),
    ],
)
def test_every_error_is_one_line_and_its_exit_code(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VIBRALOOM_TRACEBACK", raising=False)
    with pytest.raises(SystemExit) as left, reporting():
        raise error
    assert left.value.code == code
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith("error: ")
    assert written.err.count("\n") == 1


def test_click_errors_pass_through_the_reporter() -> None:
    for error in (click.UsageError("x"), click.Abort()):
        with pytest.raises(type(error)), reporting():
            raise error


def test_a_command_whose_package_is_absent_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.COMMANDS, "list", ("a_package_that_is_absent.module:command", "x"))
    result = CliRunner().invoke(cli.main, ["list"])
    assert result.exit_code == 4
    assert "a_package_that_is_absent" in result.stderr
    assert "pip install" in result.stderr


def test_help_lists_every_command_and_imports_none_of_them() -> None:
    code = (
        "import sys\nfrom vibraloom.app.cli import COMMANDS, main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as left:\n    assert not left.code\n"
        "heavy = {'numpy', 'scipy', 'h5py', 'aiida', 'ase', 'matplotlib', 'pydantic'} & set(sys.modules)\n"
        "own = [name for name in sys.modules if name.startswith('vibraloom.app.cli.')]\n"
        "assert not heavy, heavy\nassert own == ['vibraloom.app.cli.errors'], own\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, (_, line) in cli.COMMANDS.items():
        assert name in done.stdout
        assert line.split(";")[0][:30] in done.stdout


def test_the_version_is_that_of_the_package() -> None:
    from vibraloom import __version__

    assert CliRunner().invoke(cli.main, ["--version"]).stdout == f"vibraloom {__version__}\n"


def test_structure_build_writes_the_system_of_a_spec(folder: Path) -> None:
    from ase.io import read

    Path("water.yaml").write_text(
        "version: 1\nname: water-molecule\nsystem: {kind: molecule, formula: H2O}\n"
        "labels: {engine: pyscf, functional: PBE, basis: aug-cc-pVDZ, frames: 90,"
        " sample: {engine: tblite, temperature: 900 K}}\n"
        "model: {engine: deepmd, targets: [energy, dipole, polarizability]}\n"
        "dynamics: {engine: ase, temperature: 300 K, timestep: 0.5 fs, length: 4 ps, every: 1 fs}\n"
        "spectra: [ir, raman, vdos]\n"
    )
    build = ["structure", "build", "water.yaml", "-o"]
    result = CliRunner().invoke(cli.main, [*build, "water.extxyz"])
    assert result.exit_code == 0, result.output
    assert sorted(read("water.extxyz").get_chemical_symbols()) == ["H", "H", "O"]
    refused = CliRunner().invoke(cli.main, [*build, "water.banana"])
    assert refused.exit_code == 2
    assert "water.banana" in refused.stderr
    assert not list(folder.glob("*banana*"))


def test_a_refused_command_does_not_wait_for_the_sums_of_a_large_file(folder: Path) -> None:
    from vibraloom.app.cli.spectrum.options import Sources

    np.save("dipole.npy", _wave(1650, 3))
    found = Sources([Path("dipole.npy")]).entries()
    assert [entry["file"] for entry in found] == ["dipole.npy"] and len(found[0]["sha256"]) == 64
    code = (
        "import hashlib, time\n"
        "from pathlib import Path\n"
        "from vibraloom.app.cli.spectrum.options import Sources\n"
        "hashlib.sha256 = lambda: time.sleep(600)\n"
        "Sources([Path('dipole.npy')])\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_note_of_a_reader_names_its_file_once(folder: Path) -> None:
    values = _wave(1650, 3)
    np.savez("run.npz", dipole=np.concatenate([values[:9], values[8:]]), step=[*range(9), *range(8, FRAMES)])
    result = _call("ir", "--dipole", "run.npz", *UNIT, *COMMON, "-o", "ir.csv")
    assert result.exit_code == 0, result.output
    notes = [line for line in result.stdout.splitlines() if "repeated by a restart" in line]
    assert len(notes) == 1 and notes[0].count("run.npz") == 1
