"""Parameters that mean nothing to a stream make no further copies, and none hides another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cdn.candidates import CANDIDATES
from tests.cdn.origin import PERSONAL
from tests.cdn.read_cases import whole_chunk

if TYPE_CHECKING:
    from tests.cdn.edges import Edge

CACHING = [one for one in CANDIDATES if "caches" in one.abilities]


@pytest.mark.parametrize("edge", CACHING, indirect=True, ids=str)
def test_a_parameter_that_the_gateway_ignores_makes_no_other_copy(edge: Edge) -> None:
    chunk = whole_chunk(edge)
    edge.ask("GET", chunk)
    expected = edge.ask("GET", chunk)  # some keep an answer after it was sent
    path, _, query = chunk.partition("?")
    before = edge.origin.asked().reads
    for asked in (
        f"utm_source=a&{query}",
        f"{query}&_=1",
        f"{query}&fbclid=b&ref=c.d",
        f"a=&{query}",
    ):
        assert edge.ask("GET", f"{path}?{asked}").body == expected.body, asked
    assert edge.origin.asked().reads == before


@pytest.mark.parametrize("edge", CACHING, indirect=True, ids=str)
@pytest.mark.parametrize(
    "odd",
    [
        "Offset={}",
        "off%73et={}",
        "offset={}&offset=-1",
        "x&offset={}",
        "%6Fffset={}&a=1",
    ],
)
def test_a_query_that_only_resembles_another_is_answered_as_the_gateway_does(
    edge: Edge, odd: str
) -> None:
    chunk = whole_chunk(edge)
    path, _, query = chunk.partition("?")
    offset = query.partition("offset=")[2]
    for known in (chunk, f"{path}?offset=-1", path):
        edge.ask("GET", known)
    for asked in (
        odd.format(offset),
        f"{odd.format(offset)}&offset=-1",
        f"offset=-1&{odd.format(offset)}",
    ):
        expected = edge.at_origin(f"{path}?{asked}")
        answer = edge.ask("GET", f"{path}?{asked}")
        assert (answer.status, answer.body) == (expected.status, expected.body), asked


@pytest.mark.parametrize("edge", CACHING, indirect=True, ids=str)
def test_every_parameter_may_mean_something_to_an_http_origin(edge: Edge) -> None:
    path = f"{PERSONAL}/everything?offset=1"
    for _ in range(2):
        edge.ask("GET", path)
    before = edge.origin.asked(PERSONAL).reads
    edge.ask("GET", f"{path}&page=2")
    assert edge.origin.asked(PERSONAL).reads == before + 1
