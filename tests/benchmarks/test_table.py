"""What `--json` writes is a page's tables, whole and in the same words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import table
from benchmarks.report import CORES, Column, Section, at_least, at_most, write_json

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

MACHINE = {"cpu": "one of a kind"}
POLLS = Section(
    title="long-poll",
    columns=(Column("per_s", "deliveries/s"), Column("p50_ms", "p50 ms", 2), *CORES),
    servers={
        "headgate": {"5 pollers": {"per_s": 12345.6, "p50_ms": 1.234}},
        "other": {"7 pollers": {"per_s": 1, "p50_ms": 2, "tool_cpu": 0.99, "other_cpu": 0.5}},
    },
    verdicts=[
        at_most("5 pollers: p50, headgate / other", 0.6171, 0.5),
        at_least("deliveries", 12345.6, 9000, "/s"),
    ],
)
READS = Section("reads", (Column("per_s", "reads/s"),), {"headgate": {"all": {"per_s": 9}}}, [])


def wrote(path: Path, machine: dict[str, str] = MACHINE, **sections: Section) -> str:
    write_json(path, machine, sections)
    return str(path)


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = table.main(words)
    output, errors = capsys.readouterr()
    return status, output, errors


def test_the_bench_tables_contain_every_verdict_and_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = wrote(tmp_path / "a.json", longpoll=POLLS)
    status, output, _ = printed(capsys, results)
    assert status == 0
    assert output.splitlines() == [
        "### Measured on",
        "",
        "- cpu: one of a kind",
        "",
        "### Required and found",
        "",
        "| benchmark | figure | required | found |  |",
        "| --- | --- | --- | --- | --- |",
        "| `longpoll` | 5 pollers: p50, headgate / other | ≤ 0.5 x | 0.617 x | **falls short** |",
        "| `longpoll` | deliveries | ≥ 9,000 /s | 12,346 /s | met |",
        "",
        "### `longpoll`: long-poll",
        "",
        "In each cell: deliveries/s · p50 ms.",
        "",
        "| load | headgate | other |",
        "| --- | --- | --- |",
        "| 5 pollers | 12,346 · 1.23 | – |",
        "| 7 pollers | – | 1 · 2.00 (tool-bound, disturbed) |",
    ]


def test_new_bench_figures_replace_the_old_ones_in_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, page = wrote(tmp_path / "a.json", catchup=READS), tmp_path / "page.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    for _ in range(2):
        status, output, _ = printed(capsys, results, "--into", str(page))
        assert (status, output) == (0, "")
        begin, end = page.read_text().split("### Measured on")
        assert begin == f"before\n{table.BEGIN}\n"
        assert end.endswith(f"| all | 9 |\n{table.END}\nafter\n")
        assert "old" not in end
