"""What long spectrum commands show: phases on a terminal, nothing elsewhere, and one line when they are interrupted."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from vibraloom.app.cli.spectrum.work import WatchedFrames
from vibraloom.files.number_table import read_number_table
from vibraloom.files.read_progress import watching
from vibraloom.files.velocities import read_velocities
from vibraloom.spectra.vdos import vdos

ARGUMENTS = ["spectrum", "ir", "--dipole", "dipole.npy", "--unit", "e*angstrom", "--timestep", "0.5", "--temperature", "300"]
QUICK = "from vibraloom.app.cli import main\n"
SLOW = """
import time
from vibraloom.app.cli import main
from vibraloom.app.cli.spectrum import work
from vibraloom.files import read_progress, series

work._QUICK, work._LOOK = 0.0, 0.01
quick = series.load_series

def slow(*arguments, **options):
    read_progress.took(1_000_000)
    time.sleep({seconds})
    return quick(*arguments, **options)

series.load_series = slow
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("dipole.npy", np.random.default_rng(1).normal(size=(80_000, 3)))
    return tmp_path


def _run(before: str, *, terminal: bool, interrupt_at: bytes | None = None) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the command, which is interrupted when it shows ``interrupt_at``."""
    script = f"{before}\nmain({[*ARGUMENTS, '-o', 'ir.csv']!r})"
    ours, theirs = pty.openpty() if terminal else os.pipe()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=theirs, env=environment, start_new_session=True
    )
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 1.0)[0]:
            continue
        try:
            piece = os.read(ours, 65536)
        except OSError:  # a terminal whose other end is closed
            break
        if not piece:
            break
        shown += piece
        if interrupt_at is not None and interrupt_at in shown:
            process.send_signal(signal.SIGINT)
            interrupt_at = None
    os.close(ours)
    output, _ = process.communicate(timeout=60)
    return process.returncode, output.decode(), shown.decode()


def test_a_terminal_shows_what_is_read_and_how_much(folder: Path) -> None:
    code, output, shown = _run(SLOW.format(seconds=0.5), terminal=True)
    assert code == 0 and output.startswith("wrote ir.csv")
    assert "reading dipole.npy" in shown and "1.0 of 1.9 MB" in shown
    # the line is cleared and the cursor is there again
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    assert shown.rstrip().endswith("\x1b[2K")


def test_nothing_is_shown_where_there_is_no_terminal(folder: Path) -> None:
    assert _run(SLOW.format(seconds=0.5), terminal=False)[::2] == (0, "")


def test_a_quick_command_shows_nothing(folder: Path) -> None:
    assert _run(QUICK, terminal=True)[::2] == (0, "")


def test_ctrl_c_is_one_line_and_leaves_nothing(folder: Path) -> None:
    code, output, shown = _run(SLOW.format(seconds=50), terminal=True, interrupt_at=b"reading dipole.npy")
    assert (code, output) == (130, "")
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown[shown.rindex("\x1b[?25h") :])
    assert last.strip() == "error: interrupted; nothing half-written was left behind"
    assert [path.name for path in folder.iterdir()] == ["dipole.npy"]


def test_frames_are_counted_once_however_they_are_read() -> None:
    class Counted:
        shape = (5000, 300, 3)

        def __init__(self) -> None:
            self.values = np.random.default_rng(1).normal(size=self.shape).astype(np.float32)

        def read(self, start: int, stop: int, atoms: slice | None = None) -> np.ndarray:
            return self.values[start:stop] if atoms is None else self.values[start:stop, atoms]

    frames = WatchedFrames(Counted())
    assert frames.taken() == 0
    frames.read(0, 1000, slice(0, 200))
    frames.read(800, 1800, slice(0, 200))  # stretches overlap
    frames.read(0, 900, slice(200, 300))
    assert frames.taken() == (1800 * 200 + 900 * 100) // 300
    whole = WatchedFrames(Counted())
    spectrum = vdos(whole, np.ones(300), 0.5, temperature=300.0, correlation_time=200.0)
    assert whole.taken() == 5000
    direct = vdos(whole.read(0, 5000), np.ones(300), 0.5, temperature=300.0, correlation_time=200.0)
    np.testing.assert_allclose(spectrum.intensity, direct.intensity, rtol=1e-4)


def test_readers_of_text_tell_every_byte_once(folder: Path) -> None:
    np.savetxt("table.txt", np.random.default_rng(1).normal(size=(60_000, 3)))
    lines = ["3", "Properties=species:S:1:vel:R:3", *(f"{name} 0.1 0.2 0.3" for name in "OHH")]
    Path("run.extxyz").write_text("\n".join(lines * 3000) + "\n")
    for name, read in (
        ("table.txt", read_number_table),
        ("run.extxyz", lambda path: read_velocities(path, timestep=0.5, unit="angstrom/ps")),
    ):
        pieces: list[int] = []
        with watching(pieces.append):
            read(name)
        assert sum(pieces) == Path(name).stat().st_size
    read_number_table("table.txt")  # nobody watches any more
    assert sum(pieces) == Path("run.extxyz").stat().st_size
