"""The spectra engine against its bare FFTs and against its peers: CPU time, memory, and whether the spectra agree.

Installs each peer into benchmarks/.peers, makes the data, and times each call in a fresh process of its own, one round
after the other. Run it on a quiet machine: ``.venv/bin/python benchmarks/spectra.py [--quick] [--write]``; ``--write``
puts the table into docs/explanation/benchmarks.md. Exits with 1 where a row could not be measured or disagrees.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from peers.cases import cases, file_cases
from peers.environments import install, requirements
from peers.results import DOCUMENT, Report, write
from peers.runs import run_case, run_files


def main(quick: bool, into_document: bool, only: list[str]) -> int:
    """Install, measure, print, write; returns the exit code."""
    if quick and into_document:
        sys.exit("--quick --write: small sizes are no measurement; leave one of the two out")
    report = Report(quick)
    console = report.console
    for peer, line in requirements().items():
        console.print(f"[dim]environment of {peer}[/dim]")
        failure = install(peer, line)
        if failure:
            report.failures[peer] = failure
            console.print(f"[red]{peer}: {failure}[/red]")
    with tempfile.TemporaryDirectory(prefix="vibraloom-bench-") as folder:
        for number, case in enumerate(cases(quick)):
            if only and not any(case.title.startswith(name) for name in only):
                continue
            report.add(run_case(case, Path(folder) / f"case-{number}", report.failures, quick))
        files = [case for case in file_cases(quick) if not only or case.name in only]
        if files:
            report.add(run_files(files, Path(folder) / "files", quick))
    if into_document:
        write(report)
        console.print(f"written: {DOCUMENT}")
    return int(report.failed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, three rounds: does everything work?")
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCUMENT.name}")
    parser.add_argument("--only", nargs="+", default=[], help="cases by the start of their title, or file names: A C stored.h5")
    chosen = parser.parse_args()
    sys.exit(main(chosen.quick, chosen.write, chosen.only))
