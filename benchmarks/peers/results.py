"""The table, on the terminal and in the documentation."""

from __future__ import annotations

import platform
import re
import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path

from peers.environments import BENCHMARKS, requirements, version
from peers.runs import COMMAND, CaseResult, FileResult, RowResult
from rich.console import Console
from rich.table import Table

DOCUMENT = BENCHMARKS.parent / "docs" / "explanation" / "benchmarks.md"
BEGIN, END = "<!-- benchmarks/spectra.py: begin -->", "<!-- benchmarks/spectra.py: end -->"
AGREEMENT = 0.05
"""Spectra that differ by more than this fraction do not agree."""

Line = tuple[str, ...]
Judge = Callable[[bool, float], str]
"""A verdict from whether a figure meets its number, and the figure."""


@dataclass
class Report:
    """What was measured so far, printed as it comes."""

    quick: bool
    console: Console = field(default_factory=Console)
    failures: dict[str, str] = field(default_factory=dict)
    tables: list[tuple[str, Line, list[Line]]] = field(default_factory=list)

    def add(self, result: CaseResult | list[FileResult]) -> None:
        """Keep and print the tables of a case or of the files."""
        judge = _unjudged if self.quick else _verdict
        tables = _file_tables(result, judge) if isinstance(result, list) else _case_tables(result, judge)
        for title, head, lines in tables:
            self.tables.append((title, head, lines))
            shown = Table(*head, title=title, title_justify="left")
            for line in lines:
                shown.add_row(*line)
            self.console.print(shown)
        self.failures |= dict(_failures(result))

    @property
    def failed(self) -> bool:
        """Something could not be measured, or does not agree."""
        return bool(self.failures)


def _failures(result: CaseResult | list[FileResult]) -> Iterator[tuple[str, str]]:
    if isinstance(result, list):
        for each in result:
            for what, failure in each.failures.items():
                yield f"{each.case.name}: {what}", failure
        return
    for row in result.rows:
        name = f"{row.row.program} {row.row.function}"
        if row.failure:
            yield name, row.failure
        elif row.difference is not None and row.difference > AGREEMENT:
            yield name, f"spectrum differs by {100 * row.difference:.1f} %"


def _spread(values: Iterable[float], form: str = "{:.3g}") -> str:
    found = list(values)
    if len(found) == 1:
        return form.format(found[0]) + " (1 run)"
    middle, low, high = (form.format(each) for each in (statistics.median(found), min(found), max(found)))
    return f"{middle} ({low}–{high})"


def _case_tables(result: CaseResult, judge: Judge) -> list[tuple[str, Line, list[Line]]]:
    head: Line = ("program", "call", "CPU s", "in the kernel", "÷ ours", "memory beyond input, MB", "spectrum differs by")
    lines = [_row_line(result, row) for row in result.rows]
    judged: list[Line] = []
    for target in result.case.targets:
        found = result.ratio(target)
        met = found <= target.value if target.sense == "at most" else found >= target.value
        names = [f"{result.row(each).row.program} {result.row(each).row.what}" for each in (target.row, target.versus)]
        judged.append((" ÷ ".join(names), f"{target.sense} {target.value:g}", f"{found:.2f}", judge(met, found)))
    if result.case.memory is not None:
        peak = max(statistics.median(row.memory) for row in result.rows if row.row.program == "vibraloom" and row.memory)
        met = peak <= result.case.memory
        most = f"at most {result.case.memory / 1e6:g}"
        judged.append(("memory of ours beyond the input, MB", most, f"{peak / 1e6:.0f}", judge(met, peak)))
    return [
        (result.case.title, head, lines),
        ("", ("number", "wanted", "found", ""), judged),
    ]


def _row_line(result: CaseResult, row: RowResult) -> Line:
    if row.failure:
        return (row.row.program, row.row.what, "failed", "", "", "", row.failure)
    ours = result.row(row.row.against)
    differs = "" if row.difference is None else f"{100 * row.difference:.2g} %"
    if row.difference is not None and row.difference > AGREEMENT:
        differs += " (does not agree)"
    ratio = "1" if ours is row else f"{row.median / ours.median:.2f}"
    kernel, memory = f"{statistics.median(row.kernel):.2g}", f"{statistics.median(row.memory) / 1e6:.0f}"
    return (row.row.program, row.row.what, _spread(row.cpu), kernel, ratio, memory, differs)


def _verdict(met: bool, found: float) -> str:
    return "not measured" if found != found else "met" if met else "missed"


def _unjudged(met: bool, found: float) -> str:
    return "too small to judge" if found == found else "not measured"


def _file_tables(results: list[FileResult], judge: Judge) -> list[tuple[str, Line, list[Line]]]:
    head: Line = ("file", "MB", "way", "wall s", "MB/s", "wanted", "resident, MB", "wanted")
    lines: list[Line] = []
    for each in results:
        for way, failure in each.failures.items():
            lines.append((each.case.name, f"{each.size / 1e6:.0f}", way, "failed", failure, "", "", ""))
        for way, times in each.times.items():
            rate = each.size / statistics.median(times)
            peak = statistics.median(each.memory[way])
            wanted = f"{each.case.rate / 1e6:g} ({judge(rate >= each.case.rate, rate)})"
            most = each.case.memory if way == COMMAND else None
            limit = "" if most is None else f"{most / 1e6:g} ({judge(peak <= most, peak)})"
            size, speed, resident = (f"{value / 1e6:.0f}" for value in (each.size, rate, peak))
            lines.append((each.case.name, size, way, _spread(times), speed, wanted, resident, limit))
    title = "Trajectory files → VDOS per species (all cores, page cache warm; memory of the two functions: beyond start)"
    return [(title, head, lines)]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def _heading(report: Report) -> str:
    versions = [f"{name} {installed_version(name)}" for name in ("vibraloom", "numpy", "scipy", "numba")]
    peers = [f"{name} {version(name)}" for name in requirements() if name not in report.failures]
    size = " Small sizes (`--quick`): a check that everything runs, no measurement." if report.quick else ""
    return f"Python {platform.python_version()}; {', '.join(versions)}; {', '.join(peers)}.{size}"


def _sections(report: Report) -> dict[str, str]:
    """Title → its tables in Markdown."""
    found: dict[str, list[str]] = {}
    for title, head, lines in report.tables:
        if title:
            found[title] = [f"Measured {datetime.now(UTC):%Y-%m-%d} on {_processor()}."]
        rows = [head, tuple("---" for _ in head), *lines]
        table = "\n".join("| " + " | ".join(each.replace("|", "\\|") for each in row) + " |" for row in rows)
        found[[*found][-1]].append(table)
    return {title: "\n\n".join(parts) for title, parts in found.items()}


def write(report: Report) -> None:
    """Put the tables between the markers of :data:`DOCUMENT`; those of cases that were left out this time stay."""
    before, rest = DOCUMENT.read_text(encoding="utf-8").split(BEGIN)
    earlier, after = rest.split(END)
    sections = dict(re.findall(r"^### (.*)\n\n((?:(?!^### |^Not measured)[\s\S])*)", earlier, re.M))
    sections = {title: text.strip() for title, text in sections.items()} | _sections(report)
    parts = [_heading(report), *(f"### {title}\n\n{text}" for title, text in sorted(sections.items(), key=_order))]
    if report.failures:
        failures = "\n".join(f"- {name}: {failure}" for name, failure in report.failures.items())
        parts.append(f"Not measured, or in disagreement:\n\n{failures}")
    text = "\n\n".join(parts)
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def _order(section: tuple[str, str]) -> tuple[int, str]:
    """A, C, B, the pairs, the files."""
    begins = ("A:", "C:", "B:", "Pairs", "Trajectory")
    return next((place for place, begin in enumerate(begins) if section[0].startswith(begin)), len(begins)), section[0]
