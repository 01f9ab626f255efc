"""What docs/cache-tests.md says of the suite's tests: which fail, and how many pass."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.test_docs import document, rows, section

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

TOTALS = {"required": 160, "optimal": 105}
"""How many tests of each kind the suite has today."""
HEADGATE = "Headgate"
TARGETS = {"nginx": "nginx", "Varnish": "varnish"}
"""The targets whose rendered files the page has, by their name there."""

_DOCUMENT = document("cache-tests.md")
_ONLY_ON_NPM = section(_DOCUMENT, "What fails only in the npm package")


def known_failures(name: str = HEADGATE, *, of_npm: bool) -> dict[str, str]:
    """Return the kinds of the tests that fail through Headgate, or a file before it, by id."""
    known = _kinds(rows(section(_DOCUMENT, "What fails")))
    if of_npm:
        known |= _kinds(rows(_ONLY_ON_NPM))
    through = rows(section(_DOCUMENT, "What fails through nginx and Varnish"))
    return known | _kinds(
        row for row in through if name in row[2] and (of_npm or "npm" not in row[2])
    )


def _kinds(table: Iterable[Sequence[str]]) -> dict[str, str]:
    return {row[0].strip("`"): row[1] for row in table}


def passing(*, of_npm: bool) -> Mapping[str, int]:
    """Return how many tests of each kind pass through Headgate alone."""
    figures = next(row[2:] for row in rows(_DOCUMENT) if row[0].strip("*") == HEADGATE)
    if of_npm:
        found = re.search(r"passes (\d+) of \d+ required and (\d+) of \d+ optimal", _ONLY_ON_NPM)
        assert found is not None
        figures = list(found.groups())
    return dict(zip(TOTALS, (int(figure.strip("*")) for figure in figures), strict=True))
