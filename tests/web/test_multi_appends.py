"""Multi-appends over HTTP: who is told of them, and what they are to readers and to bounds."""

from __future__ import annotations

import pytest

from headgate_gateway.protocol.bodies.multi_append import MAX_MESSAGES
from tests.support.multi_append import framed
from tests.support.serving import get, post, put, request, serving
from tests.support.waiting import until

MULTI = "X-Stream-Multi: true"
JSON = "application/json"


async def test_responses_to_writes_offer_multi_appends_and_responses_to_reads_do_not() -> None:
    async with serving() as gateway:
        for told in (put("s"), put("s"), request("HEAD", "s"), post("s", b"x"), post("s", b"x")):
            assert (await gateway.ask(told)).get("X-Stream-Multi") == "true"
        for silent in (get("s?offset=-1"), get("s?offset=now"), request("HEAD", "absent")):
            assert (await gateway.ask(silent)).get("X-Stream-Multi") is None


async def test_messages_of_a_multi_append_are_stored_as_one_append() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", content_type=JSON))
        body = framed([b"[1,2]", b'"a"', b"{}"])
        lines = (MULTI, "Producer-Id: p", "Producer-Epoch: 0", "Producer-Seq: 0")
        stored = await gateway.ask(post("s", body, *lines, content_type=JSON))
        assert (stored.status, stored.get("Producer-Seq")) == (200, "0")
        again = await gateway.ask(post("s", body, *lines, content_type=JSON))
        assert (again.status, again.next_offset) == (204, stored.next_offset)
        read = await gateway.ask(get("s?offset=-1"))
        assert read.body == b'[[1,2],"a",{}]'
        closing = post("s", framed([b"7"]), MULTI, "Stream-Closed: true", content_type=JSON)
        assert (await gateway.ask(closing)).get("Stream-Closed") == "true"
        assert (await gateway.ask(get(f"s?offset={stored.next_offset}"))).body == b"[7]"


async def test_a_creation_by_a_multi_append_is_refused_and_creates_nothing() -> None:
    """Its lengths would be stored as data."""
    async with serving() as gateway:
        refusal = await gateway.ask(put("s", MULTI, body=framed([b"a", b"b"])))
        refusal.assert_problem(400, "X-Stream-Multi is for POST: create the stream without it")
        assert (await gateway.ask(get("s?offset=-1"))).status == 404


CUT = framed([b"1", b"2"])[:-1]
TWO_VALUES = framed([b'"' + b"x" * 50_000 + b'"', b"2,3"])
TOO_MANY = framed([b"1"] * (MAX_MESSAGES + 1))


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        pytest.param(CUT, "message 2 is cut", id="a-cut-message"),
        pytest.param(TWO_VALUES, "message 2 is not usable JSON", id="two-values-in-a-message"),
        pytest.param(TOO_MANY, "may have 4,096 messages", id="one-message-over-the-limit"),
    ],
)
async def test_a_malformed_multi_append_stores_nothing(body: bytes, detail: str) -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", content_type=JSON))
        refusal = await gateway.ask(post("s", body, MULTI, content_type=JSON))
        refusal.assert_problem(400, detail)
        read = await gateway.ask(get("s?offset=-1"))
        assert (read.body, read.get("Stream-Closed")) == (b"[]", None)


async def test_live_readers_get_one_event_for_a_multi_append() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", content_type=JSON))
        reader, poller = await gateway.connect(), await gateway.connect()
        reader.send(get("s?offset=now&live=sse"))
        await reader.head()
        poller.send(get("s?offset=-1&live=long-poll"))
        await until(lambda: gateway.limits.live_readers == 2)
        await gateway.ask(post("s", framed([b"1", b"2", b"[3]"]), MULTI, content_type=JSON))
        assert (await poller.answer()).body == b"[1,2,[3]]"
        events = await reader.events_until(lambda found: len(found) == 3)
        assert [event.name for event in events] == ["control", "data", "control"]
        assert events[1].data == "[1,2,[3]]"


async def test_a_multi_append_counts_as_one_append_for_its_client() -> None:
    async with serving(max_client_appends=2) as gateway:
        await gateway.ask(put("s"))
        client = await gateway.connect()
        client.send(post("s", framed([b"x"] * 100), MULTI) * 3)
        assert [(await client.answer()).status for _ in range(3)] == [204, 204, 429]
