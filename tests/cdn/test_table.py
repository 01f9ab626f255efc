"""The page of measurements has what the suite runs."""

from __future__ import annotations

from cdn_configs.targets import TARGETS
from tests.cdn.candidates import CANDIDATES, PER_CREDENTIAL, SHARING
from tests.cdn.cases import CASES, MANY, OF_CREDENTIALS, OF_PATIENTS, OF_SHARING
from tests.cdn.engines import ENGINES
from tests.cdn.outage_table import ROWS
from tests.cdn.patients import PATIENTS
from tests.cdn.table import PAGE


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


def test_the_targets_marked_as_run_are_exactly_those_the_suite_runs() -> None:
    parts = {part for name in ENGINES for part in TARGETS[name].beside}
    # And by tests/cdn/test_ingress_nginx.py.
    run = {
        *ENGINES,
        "ingress-nginx",
        *(part for part in parts if TARGETS[part].state != "run by hand"),
    }
    assert {name for name, target in TARGETS.items() if target.state == "run"} == run
