"""`python -m benchmarks.table RESULTS.json ...`: what `--json` wrote, as Markdown.

Several files of one machine are one report; of a benchmark that is in more than one, the last
counts. `--into PAGE` writes it into a page, between the comments that say where figures stand.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.report import remark

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.rounds import Measured

BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"


def main(words: Sequence[str] | None = None) -> int:
    """0 when all was written, 2 when the files are of different machines or the page takes none."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description=__doc__)
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--into", type=Path, metavar="PAGE")
    arguments = parser.parse_args(words)
    reports = [json.loads(path.read_text()) for path in arguments.results]
    if any(report["machine"] != reports[0]["machine"] for report in reports):
        sys.stderr.write("The files are of different machines, or of different programs.\n")
        return 2
    text = markdown(reports[0]["machine"], united(reports))
    if arguments.into is None:
        sys.stdout.write(text)
        return 0
    page = arguments.into.read_text()
    if not re.search(f"{BEGIN}.*{END}", page, re.DOTALL):
        sys.stderr.write(f"{arguments.into} has no place for figures: {BEGIN} … {END}\n")
        return 2
    arguments.into.write_text(placed(page, text))
    return 0


def united(reports: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the benchmarks of all reports, each once."""
    return list({it["name"]: it for report in reports for it in report["benchmarks"]}.values())


def placed(page: str, text: str) -> str:
    """Return the page with this text in the place of its figures."""
    begin, end = page.index(BEGIN) + len(BEGIN), page.index(END)
    return f"{page[:begin]}\n{text}{page[end:]}"


def markdown(machine: Mapping[str, str], benchmarks: Sequence[Mapping[str, Any]]) -> str:
    """Write the machine, what is required beside what was found, then all figures."""
    lines = ["### Measured on", ""]
    lines += [f"- {name}: {value}" for name, value in machine.items()]
    lines += ["", "### Required and found", ""]
    lines += _table(
        ["benchmark", "figure", "required", "found", ""],
        (
            _judged(benchmark["name"], it)
            for benchmark in benchmarks
            for it in benchmark["verdicts"]
        ),
    )
    for benchmark in benchmarks:
        lines += ["", f"### `{benchmark['name']}`: {benchmark['title']}", ""]
        columns = benchmark["columns"]
        lines += [f"In each cell: {' · '.join(column['heading'] for column in columns)}.", ""]
        lines += _table(["load", *benchmark["servers"]], _loads(benchmark["servers"], columns))
    return "\n".join([*lines, ""])


def _judged(name: str, verdict: Mapping[str, Any]) -> list[str]:
    sign = "≥" if verdict["at_least"] else "≤"
    unit = verdict["unit"].strip()
    met = "met" if verdict["holds"] else "**falls short**"
    limit, found = (f"{_round(verdict[key])} {unit}".strip() for key in ("limit", "found"))
    return [f"`{name}`", verdict["claim"], f"{sign} {limit}", found, met]


def _round(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 1000 else f"{figure:.3g}"


def _loads(
    servers: Mapping[str, Measured], columns: Sequence[Mapping[str, Any]]
) -> Iterator[list[str]]:
    for load in dict.fromkeys(load for measured in servers.values() for load in measured):
        yield [load, *(_cell(measured.get(load), columns) for measured in servers.values())]


def _cell(figures: Mapping[str, float] | None, columns: Sequence[Mapping[str, Any]]) -> str:
    if figures is None:
        return "–"
    shown = " · ".join(
        f"{figures[it['key']]:,.{it['decimals']}f}" if it["key"] in figures else "–"
        for it in columns
    )
    return f"{shown} ({doubt})" if (doubt := remark(figures)) else shown


def _table(heading: Sequence[str], rows: Iterator[list[str]]) -> list[str]:
    return [_row(heading), _row(["---"] * len(heading)), *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
