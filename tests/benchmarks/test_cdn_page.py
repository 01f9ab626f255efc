"""The page of measured CDN configurations has what the suite runs."""

from __future__ import annotations

from benchmarks.cdn import PAGE
from benchmarks.cdn_outages import ROWS
from tests.cdn.candidates import CANDIDATES, PER_CREDENTIAL, SHARING
from tests.cdn.cases import CASES, MANY, OF_CREDENTIALS, OF_PATIENTS, OF_SHARING
from tests.cdn.patients import PATIENTS
from tests.support.proxy_engines import ENGINES


def test_the_page_of_measurements_has_each_case_of_each_configuration() -> None:
    tables = PAGE.read_text().split("## ")[1:]
    expected = (
        ([*CASES, *MANY], list(map(str, CANDIDATES))),
        (list(OF_CREDENTIALS), [one.target for one in PER_CREDENTIAL]),
        (list(OF_SHARING), list(map(str, SHARING))),
        (list(OF_PATIENTS), list(map(str, PATIENTS))),
    )
    for text, (cases, columns) in zip(tables[:-1], expected, strict=True):
        assert_has(text, ["case", *columns], cases)
    assert_has(tables[-1], ["while it is away", *ENGINES], list(ROWS))


def assert_has(text: str, head: list[str], titles: list[str]) -> None:
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line[:2] == "| "]
    assert rows[0] == head
    assert [row[0] for row in rows[2:]] == titles
