"""What only a person can fill in is found, wherever it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from scripts.release.places import WRITE, Place, places, to_do
from tests.support.processes import ROOT
from tests.test_architecture import sources
from tests.test_docs import document, rows, section

if TYPE_CHECKING:
    from pathlib import Path

FILES = [path.as_posix() for path in sources(".") if path.name != ".git"]
# The others speak of the marks.
LOOKED_AT = [
    file for file in FILES if not file.startswith(("tests/", "scripts/release/", "docs/releasing."))
]
# A sentence that a release makes false.
SOON = re.compile(
    r"\b(?:not?|never)\b.*\b(?:releas|publish|index|npm).*\byet\b|\buntil\b.*\breleased\b",
    re.IGNORECASE | re.DOTALL,
)


@pytest.mark.parametrize("mark", WRITE)
def test_a_mark_is_found_with_its_line_and_with_what_to_write_there(
    mark: str, tmp_path: Path
) -> None:
    (tmp_path / "page.md").write_text(f"One\n\n<!-- at https://{mark}/more. -->\n")
    (found,) = places(tmp_path, ["page.md"])
    assert found == Place("page.md", 3, mark)
    assert to_do([found, found._replace(line=7)]) == [
        f"{mark}: {WRITE[mark]}: page.md:3, page.md:7"
    ]


def test_a_file_that_somebody_has_deleted_has_no_place(tmp_path: Path) -> None:
    assert places(tmp_path, ["deleted.md"]) == []


def test_words_are_found_over_the_end_of_a_line_and_with_a_capital_letter(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("It is not\nreleased yet. Not released yet: the rest.\n")
    assert [(found.line, found.mark) for found in places(tmp_path, ["a.md"])] == [
        (1, "not released yet"),
        (2, "not released yet"),
    ]


def test_the_page_says_what_to_write_for_each_mark_and_for_no_other() -> None:
    page = rows(section(document("releasing.md"), "Once"))
    assert {mark.strip("`*"): what for mark, what in page} == WRITE


def test_no_other_name_stands_for_one_that_is_to_be_filled_in() -> None:
    addresses = [place for place in places(ROOT, FILES) if place.mark.endswith(".invalid")]
    names = sum((ROOT / file).read_bytes().count(b"headgate.invalid") for file in {*LOOKED_AT})
    assert len(addresses) == names


def test_a_name_in_a_comment_is_found_though_it_is_filled_in() -> None:
    lines = [
        (ROOT / place.file).read_text().splitlines()[place.line - 1]
        for place in places(ROOT, FILES)
        if place.mark.endswith(".invalid")
    ]
    comments = [line for line in lines if line.lstrip().startswith(("#", "//", '"//', "<!--"))]
    assert comments
    assert [line for line in comments if "<fill in>" not in line] == []


def test_every_sentence_that_a_release_makes_false_has_the_words_that_are_found() -> None:
    found = {place.file for place in places(ROOT, FILES) if place.mark == "not released yet"}
    soon = {
        file
        for file in LOOKED_AT
        if file.endswith(".md")
        for sentence in re.split(r"[.:|]\s|\n\n", (ROOT / file).read_text())
        if SOON.search(sentence)
    }
    assert soon <= found
