"""The page of measurements has what the suite runs."""

from __future__ import annotations

from tests.cdn.candidates import CANDIDATES, PER_CREDENTIAL
from tests.cdn.cases import CASES, MANY, OF_PATIENTS
from tests.cdn.patients import PATIENTS
from tests.cdn.table import PAGE


def test_the_page_has_each_case_of_each_candidate() -> None:
    ours, theirs = PAGE.read_text().split("## What most guides show")
    for text, cases, columns in (
        (ours, [*CASES, *MANY], [*CANDIDATES, *PER_CREDENTIAL]),
        (theirs, OF_PATIENTS, PATIENTS),
    ):
        rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
        assert rows[0] == ["| case", *map(str, columns[:-1]), f"{columns[-1]} |"]
        assert [row[0].removeprefix("| ") for row in rows[2:]] == list(cases)
