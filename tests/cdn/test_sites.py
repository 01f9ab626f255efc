"""Readers from pages of several web sites, which may read by a list of them, or as all may."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.cdn.candidates import Candidate
from tests.cdn.candidates import edge as started_edge
from tests.cdn.conftest import POLL_S
from tests.cdn.edges import GRACE_S
from tests.cdn.live_cases import MOST_AT_ORIGIN, crowd
from tests.cdn.origin import headgate_origin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cdn.edges import Edge
    from tests.cdn.origin import HeadgateOrigin

SITES = ("https://a.example", "https://b.example")
FROM = (*SITES, "https://stranger.example")
EACH = 5
SHARED = [Candidate(name) for name in ("nginx", "nginx-njs", "varnish")]
WORKERS = [Candidate(name) for name in ("cloudflare-worker", "cloudflare-durable")]
CHUNK = b"x" * 300_000  # more than one read returns


@pytest.fixture(scope="module", params=[SITES], ids=["two sites"])
def origin(processes: None, request: pytest.FixtureRequest) -> Iterator[HeadgateOrigin]:
    with headgate_origin(POLL_S, sites=request.param) as started:
        yield started


@pytest.fixture(scope="module")
def edge(processes: None, request: pytest.FixtureRequest, origin: HeadgateOrigin) -> Iterator[Edge]:
    with started_edge(request.param, origin) as started:
        yield started


@pytest.mark.parametrize("edge", SHARED, indirect=True, ids=str)
async def test_long_polls_of_one_origin_do_not_wait_for_those_of_another(edge: Edge) -> None:
    stream = edge.stream(b"before")
    before = edge.polls()
    async with contextlib.AsyncExitStack() as stack:
        crowds = [await stack.enter_async_context(crowd(edge, EACH)) for _ in FROM]
        for readers, site in zip(crowds, FROM, strict=True):
            readers.ask(stream.poll(stream.tail), Origin=site)
        answers = [await readers.answers() for readers in crowds]
    allowed = [
        {one.answer.get("Access-Control-Allow-Origin") for one in of_site} for of_site in answers
    ]
    assert allowed == [{SITES[0]}, {SITES[1]}, {None}]
    took = [one.at - crowds[0].began for of_site in answers for one in of_site]
    assert len(took) == EACH * len(FROM)
    assert max(took) < POLL_S + GRACE_S
    assert edge.polls() - before <= MOST_AT_ORIGIN * len(FROM)


@pytest.mark.parametrize("origin", [("*",)], indirect=True, ids=["all sites"])
@pytest.mark.parametrize("edge", SHARED + WORKERS, indirect=True, ids=str)
async def test_pages_of_all_sites_share_one_copy_and_one_long_poll(edge: Edge) -> None:
    stream = edge.stream(CHUNK, b"y")
    before = edge.origin.asked()
    for site in (SITES[0], *FROM, None):
        headers = {} if site is None else {"Origin": site}
        copy = edge.ask("GET", f"{stream.path}?offset=-1", None, **headers)
        assert (len(copy.body), copy.get("Access-Control-Allow-Origin")) == (len(CHUNK), "*")
    async with contextlib.AsyncExitStack() as stack:
        crowds = [await stack.enter_async_context(crowd(edge, EACH)) for _ in FROM]
        for readers, site in zip(crowds, FROM, strict=True):
            readers.ask(stream.poll(stream.tail), Origin=site)
        answers = [await readers.answers() for readers in crowds]
    assert {one.answer.status for of_site in answers for one in of_site} == {204}
    asked = edge.origin.asked()
    assert asked.reads - before.reads == 1
    assert asked.polls - before.polls <= MOST_AT_ORIGIN


@pytest.mark.parametrize("edge", SHARED + WORKERS, indirect=True, ids=str)
async def test_each_listed_site_has_a_copy_with_its_own_cors_fields(edge: Edge) -> None:
    stream = edge.stream(CHUNK, b"y")
    before = edge.origin.asked().reads
    for site in (None, *SITES, *SITES, None):
        headers = {} if site is None else {"Origin": site}
        copy = edge.ask("GET", f"{stream.path}?offset=-1", None, **headers)
        assert (len(copy.body), copy.get("Access-Control-Allow-Origin")) == (len(CHUNK), site)
    assert edge.origin.asked().reads - before == 1 + len(SITES)
