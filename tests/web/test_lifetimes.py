"""What each kind of answer lets browsers keep, and what caches in front: they are told apart."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.serving import EDGE, PREFIX, edge_serving, get, offset, put, request, serving

if TYPE_CHECKING:
    from tests.support.http1 import Answer
    from tests.support.serving import Serving


class Told(NamedTuple):
    """The lifetimes that an answer tells, for all caches and for those in front."""

    all: str | None
    in_front: str | None
    surrogates: str | None


FIRST, END = offset(0), offset(3)
NEVER = Told("no-store", None, None)
LONG = Told("public, max-age=86400, stale-while-revalidate=300", None, None)
# A second in front makes a crowd into one request; browsers ask again each time.
SECOND = Told(
    "no-cache, s-maxage=1, stale-while-revalidate=0", "public, max-age=1", "public, max-age=1"
)
POLL = Told(
    "no-store, s-maxage=1, stale-while-revalidate=0", "public, max-age=1", "public, max-age=1"
)
ANSWERS = [
    ("whole", "GET", f"closed?offset={FIRST}", 200, LONG),
    ("end", "GET", f"closed?offset={END}", 200, LONG),
    ("beginning", "GET", "closed?offset=-1", 200, SECOND),
    ("tail", "GET", f"open?offset={FIRST}", 200, SECOND),
    ("empty tail", "GET", f"open?offset={END}", 200, SECOND),
    ("empty tail of JSON", "GET", f"json?offset={FIRST}", 200, SECOND),
    ("ended poll", "GET", f"open?offset={END}&live=long-poll", 204, POLL),
    ("poll at the end", "GET", f"closed?offset={END}&live=long-poll", 204, NEVER),
    ("now", "GET", "open?offset=now", 200, NEVER),
    ("head", "HEAD", "open", 200, NEVER),
    ("absent", "GET", "absent?offset=-1", 404, NEVER),
]
CASES = [pytest.param(*row[1:], id=row[0]) for row in ANSWERS]


def told(got: Answer) -> Told:
    names = ("Cache-Control", "CDN-Cache-Control", "Surrogate-Control")
    return Told(*(got.get(name) for name in names))


async def fill(gateway: Serving) -> None:
    await gateway.ask(put("open", body=b"one"))
    await gateway.ask(put("closed", "Stream-Closed: true", body=b"one"))
    await gateway.ask(put("json", content_type="application/json"))


@pytest.mark.parametrize(("method", "target", "status", "lifetimes"), CASES)
async def test_lifetimes_of_a_log_and_of_a_gateway_in_front_are_as_listed(
    method: str, target: str, status: int, lifetimes: Told
) -> None:
    async with (
        serving(long_poll_timeout=0.05) as log,
        edge_serving(log, long_poll_timeout=0.05) as gateway,
    ):
        await fill(log)
        for asked, prefix in ((log, PREFIX), (gateway, EDGE), (gateway, EDGE)):
            got = await asked.ask(request(method, f"{prefix}/{target}"))
            assert (got.status, told(got)) == (status, lifetimes), prefix


async def test_an_event_stream_may_not_be_cached() -> None:
    async with serving() as gateway:
        await fill(gateway)
        client = await gateway.connect()
        client.send(get(f"open?offset={END}&live=sse"))
        assert told(await client.answer()) == Told("no-cache, no-transform", None, None)


@pytest.mark.parametrize("lines", [[], ["Connection: close"]])
async def test_events_close_a_connection_only_if_its_client_asks(lines: list[str]) -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", "Stream-Closed: true", body=b"one"))
        client = await gateway.connect()
        client.send(get("s?offset=-1&live=sse", *lines))
        await client.head()
        assert await client.events_to_the_end()
        if lines:
            async with asyncio.timeout(5):  # idle, it would be open for ten seconds
                assert await client.rest() == b""
        else:
            assert (await client.ask(get("s?offset=-1"))).body == b"one"
