"""A fork of what its route does not serve: the source is read by whoever copies it, so the header
that names it is routed as a target is (S4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_gateway.logs.memory import MemoryLog
from headgate_gateway.settings import Route
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import PREFIX, Options, Serving, put

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ABOVE = "/v1"  # a route to an origin, in which PREFIX is that of another route
NOT_OF_THE_ROUTE = (
    *(f"{PREFIX}/private", "/v1/%73tream/private", "/v1/stre%61m/private"),
    *("/v1", "/v2/s", "/v1x/s", "s", "", "http://headgate.test/v1/s"),
)
UNCLEAR = ("/v1/../v2/s", "/v1/a//b", "/v1/%2e%2e/s", "/v1/%00", "/v1/a#b", "/v1/%", "//v1/s")


@pytest.fixture
async def origin() -> AsyncIterator[RawOrigin]:
    async with RawOrigin(answer(status="201 Created")) as server:
        yield server


@pytest.fixture
async def gateway(origin: RawOrigin) -> AsyncIterator[Serving]:
    made = Serving(Options(), MemoryLog(), Route(prefix=ABOVE, origin=origin.url))
    await made.start()
    yield made
    await made.stop()


@pytest.mark.parametrize("source", [*NOT_OF_THE_ROUTE, *UNCLEAR])
async def test_a_fork_source_outside_the_route_is_refused_and_not_sent_to_the_origin(
    gateway: Serving, origin: RawOrigin, source: str
) -> None:
    told = await gateway.ask(put(f"{ABOVE}/copy", f"Stream-Forked-From: {source}"))
    assert told.status in {400, 404}
    assert origin.heard == []


async def test_a_hosted_route_forks_no_stream_of_another_route(gateway: Serving) -> None:
    for source in (f"{ABOVE}/s", *UNCLEAR):
        told = await gateway.ask(put("copy", f"Stream-Forked-From: {source}"))
        assert told.status == 400, source
    assert (await gateway.ask(put("s", body=b"x"))).status == 201
    told = await gateway.ask(put("copy", "Stream-Forked-From: /v1/stre%61m/%73"))
    assert told.status == 201
