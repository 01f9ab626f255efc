"""What was measured, beside what is required: a table for people and JSON for programs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks.rounds import DISTURBED_CORES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from benchmarks.rounds import Measured
    from benchmarks.tools import Figures

# From here on it is the tool, not the server, that a figure speaks of.
TOOL_BOUND = 0.95
WIDTH = 132


@dataclass(frozen=True, slots=True)
class Column:
    """A figure to show: its key, heading and decimals."""

    key: str
    heading: str
    decimals: int = 0


DELAYS = (Column("p50_ms", "p50 ms", 2), Column("p99_ms", "p99 ms", 2))
CORES = (
    Column("server_cpu", "cpu server", 2),
    Column("tool_cpu", "cpu tool", 2),
    Column("other_cpu", "cpu other", 2),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A required figure and what was found."""

    claim: str
    found: float
    limit: float
    unit: str
    at_least: bool

    @property
    def holds(self) -> bool:
        """Whether the requirement is met."""
        return self.found >= self.limit if self.at_least else self.found <= self.limit

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        outcome = "PASS" if self.holds else "FALL SHORT"
        found, limit = f"{self.found:.3g} {self.unit}", f"{sign} {self.limit:g} {self.unit}"
        return f"{self.claim:<62} {found:>10}   required {limit:<10} {outcome}"


def at_least(claim: str, found: float, limit: float, unit: str = "x") -> Verdict:
    """More is better."""
    return Verdict(claim, found, limit, unit, at_least=True)


def at_most(claim: str, found: float, limit: float, unit: str = "x") -> Verdict:
    """Less is better."""
    return Verdict(claim, found, limit, unit, at_least=False)


def against(
    judge: Callable[[str, float, float], Verdict],
    found: Mapping[str, Measured],
    ours: str,
    load: str,
    what: tuple[str, str],
    required: Mapping[str, float],
) -> list[Verdict]:
    """Verdicts on one of our figures, divided by that of each other server that was measured.

    `what` names the figure to people, and is its key.
    """
    name, key = what
    return [
        judge(f"{load}: {name}, headgate / {label}", found[ours][load][key] / it[load][key], limit)
        for label, limit in required.items()
        if (it := found.get(label))
    ]


@dataclass(frozen=True, slots=True)
class Section:
    """One benchmark: figures by server and load, and the verdicts on them."""

    title: str
    columns: Sequence[Column]
    servers: Mapping[str, Measured]
    verdicts: Sequence[Verdict]


def show(facts: Mapping[str, str], sections: Iterable[Section]) -> None:
    """Print the report."""
    console = Console(width=WIDTH, highlight=False)
    console.print(*(f"{name}: {value}" for name, value in facts.items()), sep="\n")
    for section in sections:
        console.print()
        console.print(_table(section))
        for verdict in section.verdicts:
            console.print(str(verdict), style="green" if verdict.holds else "bold red")


def _table(section: Section) -> Table:
    table = Table(title=section.title, title_justify="left", title_style="bold", box=None)
    for heading in ("load", "server"):
        table.add_column(heading, no_wrap=True)
    for column in section.columns:
        table.add_column(column.heading, justify="right", no_wrap=True)
    table.add_column("")
    loads = dict.fromkeys(load for measured in section.servers.values() for load in measured)
    for load in loads:
        for server, measured in section.servers.items():
            if load in measured:
                cells = [_cell(measured[load], column) for column in section.columns]
                table.add_row(load, server, *cells, remark(measured[load]))
    return table


def _cell(figures: Figures, column: Column) -> str:
    """Return a figure as text; a load without it has none."""
    return f"{figures[column.key]:,.{column.decimals}f}" if column.key in figures else ""


def remark(figures: Mapping[str, float]) -> str:
    """Why figures are not to be trusted, or speak of the tool; often empty."""
    remarks = []
    if figures.get("tool_cpu", 0) > TOOL_BOUND:
        remarks.append("tool-bound")
    if figures.get("other_cpu", 0) > DISTURBED_CORES:
        remarks.append("disturbed")
    return ", ".join(remarks)


def write_json(path: Path, facts: Mapping[str, str], sections: Mapping[str, Section]) -> None:
    """Write the report for programs: the sections by the benchmarks' names."""
    document = {
        "machine": dict(facts),
        "benchmarks": [
            {
                "name": name,
                "title": section.title,
                "columns": [asdict(it) for it in section.columns if it not in CORES],
                "servers": section.servers,
                "verdicts": [
                    {
                        "claim": verdict.claim,
                        "found": verdict.found,
                        "limit": verdict.limit,
                        "at_least": verdict.at_least,
                        "unit": verdict.unit,
                        "holds": verdict.holds,
                    }
                    for verdict in section.verdicts
                ],
            }
            for name, section in sections.items()
        ],
    }
    path.write_text(json.dumps(document, indent=2) + "\n")
