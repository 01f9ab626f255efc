"""How an SSE answer is gone on with: by the id of the last event, on the same connection.

A browser sends it as Last-Event-ID. event-source-polyfill of npm sends no header, and adds it to
the query.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.live.test_feed import controls, follow, text, up_to
from tests.support.serving import Serving, get, offset, post, put, request, serving_with
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.http1 import Client


Resuming = Callable[[str, str], bytes]


@pytest.fixture(params=["header", "query"])
def resuming(request: pytest.FixtureRequest) -> Resuming:
    """Return a function that makes the request of a client with the id of its last event."""
    if request.param == "header":
        return lambda target, last_event_id: get(target, f"Last-Event-ID: {last_event_id}")
    return lambda target, last_event_id: get(
        f"{target}&lastEventId={quote(last_event_id, safe='')}", "Accept: text/event-stream"
    )


async def resume(gateway: Serving, asked: bytes) -> Client:
    client = await gateway.connect()
    client.send(asked)
    head = await client.answer()
    assert (head.status, head.get("Content-Type")) == (200, "text/event-stream")
    return client


@asynccontextmanager
async def serving_two(sse_max_age: float = 60.0) -> AsyncIterator[Serving]:
    """A gateway with a stream of two appends."""
    async with serving_with(put("s", body=b"one"), sse_max_age=sse_max_age) as gateway:
        await gateway.ask(post("s", b"two"))
        yield gateway


@pytest.mark.parametrize("asked", ["-1", "now", offset(3), offset(6), offset(99)])
@pytest.mark.parametrize(("seen", "rest"), [(0, "onetwo"), (3, "two"), (6, "")])
async def test_a_browser_with_last_event_id_resumes_at_that_offset(
    resuming: Resuming, asked: str, seen: int, rest: str
) -> None:
    async with serving_two() as gateway:
        client = await resume(gateway, resuming(f"s?offset={asked}&live=sse", offset(seen)))
        assert text(await up_to(client, 6)) == rest
        await gateway.ask(post("s", b"!"))
        assert text(await up_to(client, 7)) == f"{rest}!"


@pytest.mark.parametrize("value", ["x", "-2", "now", "3", f"{offset(3)}x", offset(3)[1:]])
async def test_a_malformed_last_event_id_is_named_with_400(resuming: Resuming, value: str) -> None:
    async with serving_two() as gateway:
        answer = await gateway.ask(resuming("s?offset=-1&live=sse", value))
        assert answer.status == 400
        assert "Last-Event-ID" in json.loads(answer.body)["detail"]
        assert gateway.limits.live_readers == 0


@pytest.mark.parametrize("past", [7, 8, 100])
async def test_a_last_event_id_past_the_tail_gets_later_data(resuming: Resuming, past: int) -> None:
    async with serving_two() as gateway:
        client = await resume(gateway, resuming("s?offset=-1&live=sse", offset(past)))
        assert text(await up_to(client, 6)) == ""
        await gateway.ask(post("s", b"and all of the rest"))
        assert text(await up_to(client, 25)) == "and all of the rest"


@pytest.mark.parametrize("asked", ["-1", offset(6)])
async def test_a_browser_whose_last_event_id_is_the_end_of_a_closed_stream_gets_204(
    resuming: Resuming, asked: str
) -> None:
    """An EventSource takes every 200 that ends for a reason to connect again."""
    async with serving_two() as gateway:
        await gateway.ask(post("s", b"", "Stream-Closed: true"))
        target = f"s?offset={asked}&live=sse"
        answer = await gateway.ask(resuming(target, offset(6)))
        assert (answer.status, answer.get("Stream-Closed")) == (204, "true")
        assert answer.get("Stream-Next-Offset") == offset(6)
        before_the_end = await resume(gateway, resuming(target, offset(3)))
        events = await before_the_end.events_to_the_end()
        assert text(events) == "two"
        assert controls(events)[-1]["streamClosed"] is True
        first_time = await follow(gateway, f"s?offset={offset(6)}&live=sse")
        assert controls(await first_time.events_to_the_end()) == [
            {"streamNextOffset": offset(6), "streamClosed": True, "upToDate": True}
        ]


async def test_the_header_is_newer_than_the_last_event_id_in_the_url_of_a_page() -> None:
    async with serving_two() as gateway:
        target = f"s?offset=-1&live=sse&lastEventId={offset(0)}"
        client = await resume(gateway, get(target, f"Last-Event-ID: {offset(3)}"))
        assert text(await up_to(client, 6)) == "two"


def assert_ids(stream: bytes, count: int) -> None:
    """Every control event has its offset as its id, and no other event has one."""
    found = 0
    for event in stream.decode().removesuffix("\n\n").split("\n\n"):
        fields = [line.split(":", 1) for line in event.split("\n")]
        ids = [value.strip() for name, value in fields if name == "id"]
        if [value.strip() for name, value in fields if name == "event"] == ["control"]:
            (data,) = [value for name, value in fields if name == "data"]
            assert ids == [json.loads(data)["streamNextOffset"]]
            found += 1
        else:
            assert ids == []
    assert found == count


async def test_every_control_event_has_its_offset_as_its_event_id() -> None:
    async with serving_two() as gateway:
        live = await follow(gateway, "s?offset=-1&live=sse")
        await up_to(live, 6)
        await gateway.ask(post("s", b"three"))
        await up_to(live, 11)
        await gateway.ask(post("s", b"", "Stream-Closed: true"))
        await live.events_to_the_end()
        assert_ids(live.received, 3)
        late = await follow(gateway, "s?offset=-1&live=sse")
        await late.events_to_the_end()
        assert_ids(late.received, 1)


# ---------------------------------------------------------------- the connection goes on


async def assert_goes_on(gateway: Serving, client: Client) -> None:
    """The connection takes an ordinary request, one that is answered at once, and a live one."""
    await until(lambda: gateway.limits.live_readers == 0)
    assert gateway.limits.connections == 1
    for _ in range(2):
        answer = await client.ask(get("t?offset=-1"))
        assert (answer.status, answer.body) == (200, b"next")
    assert (await client.ask(post("t", b"!"))).status == 204
    client.send(get(f"t?offset={offset(4)}&live=sse"))
    assert (await client.answer()).status == 200
    await up_to(client, 5)
    assert gateway.limits.live_readers == 1
    assert gateway.limits.connections == 1


@pytest.mark.parametrize(
    "change",
    [post("s", b"", "Stream-Closed: true"), request("DELETE", "s"), None],
    ids=["closed", "deleted", "at its max age"],
)
async def test_a_connection_is_reused_after_its_event_stream_ended(change: bytes | None) -> None:
    async with serving_two(sse_max_age=1.0 if change is None else 60.0) as gateway:
        await gateway.ask(put("t", body=b"next"))
        client = await follow(gateway, "s?offset=-1&live=sse")
        await up_to(client, 6)
        if change is not None:
            assert (await gateway.ask(change)).status == 204
        await client.events_to_the_end()
        await until(lambda: gateway.limits.connections == 1)
        await assert_goes_on(gateway, client)
