"""The page that compares Headgate with others says the same four things of each of them."""

from __future__ import annotations

import re

import pytest

from tests.support.processes import ROOT
from tests.support.recipes import titles
from tests.test_docs import document, rows, section

PAGE = ROOT / "docs" / "compared-with.md"
OTHERS = titles(PAGE)[2:]  # behind when not to use it, and the table


def test_the_table_of_other_servers_has_a_row_for_each_section_in_its_order() -> None:
    listed = [cells[0] for cells in rows(section(PAGE.read_text(), "At a glance"))][1:]
    assert len(listed) == len(OTHERS) == 10
    for name, title in zip(listed, OTHERS, strict=True):
        assert name.lower().startswith(title.lower().removeprefix("the "))


@pytest.mark.parametrize("title", OTHERS)
def test_a_comparison_says_what_each_is_better_at_and_when_to_choose_it(title: str) -> None:
    said = section(PAGE.read_text(), title)
    points = re.findall(r"^- \*\*(.*?)\*\*", said, re.MULTILINE)
    assert points == ["Better at", "Headgate does besides", "Choose it"]
    assert re.search(r"\]\(https://", said.split("- **")[0])


@pytest.mark.parametrize(
    ("figure", "benchmark", "cell"),
    [
        ("44k durable appends", "append", "43,931"),
        ("63k durable appends", "append", "63,274"),
        ("beside 1.4k", "append", "1,438"),
        ("beside 1.5k", "append", "1,512"),
        ("50k a second", "append", "50,438"),
        ("an earlier Headgate did 69k", "append", "68,922"),
        ("1,261 MB/s beside 283", "catchup-long", "283 · 100 | 371 · 1 | 1,261"),
        ("630 MB/s beside 283", "catchup-long", "| 630 · 1"),
        ("108k cached reads a second beside 37k", "catchup", "108,466"),
        ("1.9M with 88 ms", "sse", "1,876,913 · 41.55 · 87.72"),
        ("110k within 4.3 s", "sse", "109,977 · 2,248.39 · 4,303.35"),
    ],
)
def test_a_figure_of_the_comparison_is_one_of_the_performance_page(
    figure: str, benchmark: str, cell: str
) -> None:
    assert figure in " ".join(PAGE.read_text().split())
    measured = document("performance.md").split(f"\n### `{benchmark}`")[1].split("\n### ")[0]
    assert cell in measured
