"""Live readers over a real listener: what they are told, and in which order."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.logs.memory import MemoryLog
from headgate_gateway.protocol.streams.offsets import current_cursor
from headgate_gateway.settings import Settings
from headgate_gateway.store import Store
from tests.support.gated_log import GatedLog, turns
from tests.support.serving import Serving, get, offset, post, put, serving, serving_with
from tests.support.virtual_time import in_virtual_time
from tests.support.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from headgate_gateway.protocol.streams.chunks import Chunk
    from headgate_gateway.protocol.streams.state import StreamState
    from tests.support.event_stream import Event
    from tests.support.http1 import Client

BIG = b"x" * 200_000


def controls(events: list[Event]) -> list[dict[str, object]]:
    return [json.loads(event.data) for event in events if event.name == "control"]


def text(events: list[Event]) -> str:
    return "".join(event.data for event in events if event.name == "data")


def is_told(**what: object) -> object:
    """The last event is a control event that says so."""
    return lambda events: (
        bool(events)
        and (events[-1].name == "control" and json.loads(events[-1].data).items() >= what.items())
    )


async def follow(gateway: Serving, target: str) -> Client:
    client = await gateway.connect()
    client.send(get(target))
    head = await client.answer()
    assert (head.status, head.get("Content-Type")) == (200, "text/event-stream")
    return client


class SlowLog(MemoryLog):
    """Answers its first read at once, and no other one."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    async def read(self, state: StreamState, start: int, end: int) -> Chunk:
        self.reads += 1
        if self.reads > 1:
            await asyncio.Event().wait()
        return await super().read(state, start, end)


async def up_to(client: Client, position: int) -> list[Event]:
    told = {"streamNextOffset": offset(position), "upToDate": True}
    return await client.events_until(is_told(**told))  # type: ignore[arg-type] # a predicate


# ---------------------------------------------------------------- SSE


async def test_an_sse_reader_gets_the_past_and_then_live_appends() -> None:
    async with serving_with(put("s", body=b"one")) as gateway:
        client = await follow(gateway, "s?offset=-1&live=sse")
        first = await up_to(client, 3)
        assert [event.name for event in first] == ["data", "control"]
        assert first[0].data == "one"
        (control,) = controls(first)
        assert control.pop("streamCursor")
        assert control == {
            "streamNextOffset": offset(3),
            "headgateStartOffset": offset(0),
            "upToDate": True,
        }
        await gateway.ask(post("s", b"two"))
        events = await up_to(client, 6)
        assert [event.name for event in events] == ["data", "control"] * 2
        assert text(events) == "onetwo"


async def test_appends_that_are_committed_together_are_one_event_for_every_reader() -> None:
    log = GatedLog()
    async with serving_with(put("s"), log) as gateway:
        readers = [await follow(gateway, "s?offset=now&live=sse") for _ in range(3)]
        for reader in readers:
            await up_to(reader, 0)
        log.commits.clear()
        writers = [await gateway.connect() for _ in range(5)]
        for number, writer in enumerate(writers):
            writer.send(post("s", b"%d" % number))
        await until(lambda: gateway.route.writes.outcomes.pending == 5)
        log.commits.set()
        for reader in readers:
            events = await up_to(reader, 5)
            assert sorted(text(events)) == list("01234")
            # The first append was a commit of its own; the others came while it was under way.
            assert len(events) in {3, 5}


async def test_a_slow_reader_leaves_the_rounds_and_loses_no_data() -> None:
    async with serving_with(put("s"), max_append=1 << 20) as gateway:
        slow = await follow(gateway, "s?offset=-1&live=sse")
        quick = await follow(gateway, "s?offset=-1&live=sse")
        for reader in (slow, quick):
            await up_to(reader, 0)
        slow.pause()
        expected = b""
        for number in range(40):
            data = b"%02d" % number + BIG
            expected += data
            answer = await gateway.ask(post("s", data))
            assert answer.status == 204
        events = await up_to(quick, len(expected))
        assert text(events) == expected.decode()
        slow.resume()
        events = await up_to(slow, len(expected))
        assert text(events) == expected.decode()
        await gateway.ask(post("s", b"live again"))
        events = await up_to(slow, len(expected) + 10)
        assert text(events) == expected.decode() + "live again"


@pytest.mark.parametrize(
    ("charset", "data", "sent"),
    [
        pytest.param("", "café".encode(), "café", id="none"),
        pytest.param("; charset=utf-8", "café".encode(), "café", id="utf-8"),
        pytest.param("; charset=iso-8859-1", b"caf\xe9", "Y2Fm6Q==", id="latin-1"),
        pytest.param("; charset=utf-16le", b"\x0a\x01\x0d\x0a", "CgENCg==", id="utf-16"),
    ],
)
async def test_text_in_another_charset_is_sent_as_base64_and_kept_as_it_is(
    charset: str, data: bytes, sent: str
) -> None:
    """An event stream is UTF-8."""
    async with serving_with(put("s", content_type=f"text/plain{charset}", body=data)) as gateway:
        client = await gateway.connect()
        client.send(get("s?offset=-1&live=sse"))
        head = await client.answer()
        assert head.get("Stream-SSE-Data-Encoding") == (None if "é" in sent else "base64")
        assert text(await up_to(client, len(data))) == sent
        assert (await gateway.ask(get("s?offset=-1"))).body == data


async def test_an_sse_response_past_its_max_age_ends_with_the_offset_of_its_reader() -> None:
    async with serving_with(put("s", body=b"one"), sse_max_age=1.0) as gateway:
        client = await follow(gateway, "s?offset=-1&live=sse")
        events = await client.events_to_the_end()
        assert text(events) == "one"
        assert len(controls(events)) == 2
        assert controls(events)[-1]["streamNextOffset"] == offset(3)
        assert controls(events)[-1]["upToDate"] is True
        await until(lambda: gateway.limits.live_readers == 0)


@in_virtual_time
async def test_an_sse_response_stays_open_for_hours_if_its_max_age_is_that_long() -> None:
    hours_s = Settings(live={"sse_max_age": 7200}).live.sse_max_age
    loop = asyncio.get_running_loop()
    async with serving_with(put("s"), sse_max_age=hours_s, heartbeat=5.0) as gateway:
        began = loop.time()
        client = await follow(gateway, "s?offset=-1&live=sse")
        await up_to(client, 0)
        while loop.time() < began + hours_s - 60:
            assert await client.chunk() == b":\n"
        await gateway.ask(post("s", b"late"))
        assert text(await client.events_to_the_end()) == "late"
        assert began + hours_s - 2 <= loop.time() <= began + hours_s + 60


async def test_an_sse_response_that_ends_without_data_ends_with_the_start_offset() -> None:
    """What was read before the answer began is not kept where the stream has grown meanwhile."""
    log = SlowLog()
    async with serving(log, sse_max_age=0.1) as gateway:
        gateway.route.feeds.source._events = Store(0)
        await gateway.ask(put("s", body=b"one"))
        client = await follow(gateway, "s?offset=-1&live=sse")
        (end,) = controls(await client.events_to_the_end())
        assert (log.reads, end["streamNextOffset"]) == (2, offset(0))


async def test_the_cursors_of_a_reader_stay_ahead_of_the_cursor_in_its_request() -> None:
    async with serving_with(put("s", body=b"one")) as gateway:
        ahead = 10**9
        client = await follow(gateway, f"s?offset=-1&live=sse&cursor={ahead}")
        await up_to(client, 3)
        told = [ahead]
        for number in range(1, 4):
            gateway.clock.advance(30)
            await gateway.ask(post("s", b"x"))
            events = await up_to(client, 3 + number)
            told = [ahead, *(int(str(one["streamCursor"])) for one in controls(events))]
        assert told[1] > ahead
        assert told[1:] == sorted(told[1:])


# ---------------------------------------------------------------- hand-over


@pytest.mark.parametrize("is_followed", [True, False])
async def test_an_append_between_catch_up_and_live_part_is_not_lost(is_followed: bool) -> None:
    """Where nobody else follows the stream, no feed hears of the append that comes meanwhile."""
    log = GatedLog()
    async with serving_with(put("s", body=b"one"), log) as gateway:
        others = [await follow(gateway, "s?offset=now&live=sse") for _ in range(is_followed)]
        for other in others:
            await up_to(other, 3)
        log.reads.clear()
        client = await gateway.connect()
        client.send(get("s?offset=-1&live=sse"))
        await until(lambda: gateway.route.table.reads.started == 1)
        await turns(20)
        await gateway.ask(post("s", b"two"))
        for other in others:
            assert text(await up_to(other, 6)) == "two"
        log.reads.set()
        assert (await client.answer()).status == 200
        events = await up_to(client, 6)
        assert text(events) == "onetwo"
        assert {event.name for event in events[::2]} == {"data"}
        assert {event.name for event in events[1::2]} == {"control"}
        await gateway.ask(post("s", b"!"))
        assert text(await up_to(client, 7)) == "onetwo!"


@pytest.mark.parametrize("closing", [False, True])
async def test_a_reader_ahead_of_the_rounds_gets_the_tail_or_end_with_them(closing: bool) -> None:
    """Every reader at the tail must be told so, and every reader of a closed stream of its end."""
    log = GatedLog()
    async with serving_with(put("s", body=b"one"), log) as gateway:
        other = await follow(gateway, "s?offset=now&live=sse")
        await up_to(other, 3)
        log.commits.clear()
        writer = await gateway.connect()
        writer.send(post("s", b"two", *(["Stream-Closed: true"] if closing else [])))
        await until(lambda: gateway.route.writes.outcomes.pending == 1)
        await turns(20)
        client = await follow(gateway, "s?offset=-1&live=sse")
        events = await client.events_until(lambda found: len(controls(found)) == 1)
        # An offset past what the gateway knows would be refused when its reader comes back.
        assert (text(events), controls(events)[0]["streamNextOffset"]) == ("one", offset(3))
        log.commits.set()
        assert (await writer.answer()).status == 204
        if closing:
            events = await client.events_to_the_end()
            assert controls(events)[-1].get("streamClosed") is True
        else:
            async with asyncio.timeout(PATIENCE_S):
                events = await up_to(client, 6)
        assert text(events) == "onetwo"


# ---------------------------------------------------------------- long-poll


async def test_a_long_poll_is_answered_once_with_the_first_append_after_its_offset() -> None:
    async with serving_with(put("s", body=b"one")) as gateway:
        client = await gateway.connect()
        client.send(get(f"s?offset={offset(3)}&live=long-poll"))
        await until(lambda: gateway.limits.live_readers == 1)
        await gateway.ask(post("s", b"two"))
        await gateway.ask(post("s", b"three"))
        answer = await client.answer()
        assert (answer.status, answer.get("Stream-Next-Offset")) == (200, offset(6))
        assert answer.body == b"two"
        again = await client.ask(get(f"s?offset={offset(6)}&live=long-poll"))
        assert (again.status, again.body) == (200, b"three")
        assert gateway.limits.live_readers == 0


async def test_a_long_poll_and_a_later_read_of_its_url_get_equal_responses() -> None:
    async with serving_with(put("s", body=b"one")) as gateway:
        target = f"s?offset={offset(3)}&live=long-poll&cursor=5"
        client = await gateway.connect()
        client.send(get(target))
        await until(lambda: gateway.limits.live_readers == 1)
        await gateway.ask(post("s", b"two"))
        answer = await client.answer()
        later = await client.ask(get(target))
        assert answer.same == later.same


@pytest.mark.parametrize("start", ["now", "-1"])
async def test_a_long_poll_at_now_or_minus_one_gets_no_cacheable_response(start: str) -> None:
    """Its URL means another place in the stream soon, which the other's never does."""
    async with serving_with(put("s")) as gateway:
        cursor = current_cursor(gateway.clock()) + 1
        clients = [await gateway.connect() for _ in range(2)]
        for waiting, where in enumerate((offset(0), start), 1):
            clients[waiting - 1].send(get(f"s?offset={where}&live=long-poll&cursor={cursor}"))
            await until(lambda: gateway.limits.live_readers == waiting)  # noqa: B023 - waited for
        await gateway.ask(post("s", b"two"))
        fixed, moving = [await client.answer() for client in clients]
        assert fixed.body == moving.body == b"two"
        assert "max-age=20" in (fixed.get("Cache-Control") or "")
        assert "max-age=20" not in (moving.get("Cache-Control") or "")


# ---------------------------------------------------------------- limits and stopping


async def test_draining_answers_long_polls_and_ends_sse_readers_after_their_first_second() -> None:
    async with serving_with(put("s", body=b"one")) as gateway:
        loop = asyncio.get_running_loop()
        poll = await gateway.connect()
        poll.send(get(f"s?offset={offset(3)}&live=long-poll"))
        old = await follow(gateway, "s?offset=-1&live=sse")
        await up_to(old, 3)
        began = loop.time()
        await until(lambda: loop.time() > began + 1.01)
        joins = loop.time()
        fresh = await follow(gateway, "s?offset=-1&live=sse")
        await up_to(fresh, 3)
        gateway.server.begin_close()
        draining = asyncio.create_task(gateway.route.drain())
        assert (await poll.answer()).status == 204
        events = await old.events_to_the_end()
        assert controls(events)[-1]["streamNextOffset"] == offset(3)
        assert not draining.done()
        events = await fresh.events_to_the_end()
        assert loop.time() > joins + 0.9
        assert controls(events)[-1]["streamNextOffset"] == offset(3)
        await draining
        assert gateway.limits.live_readers == 0


async def test_draining_waits_for_appends_in_progress() -> None:
    log = GatedLog()
    async with serving_with(put("s"), log) as gateway:
        log.commits.clear()
        writer = await gateway.connect()
        writer.send(post("s", b"x"))
        await until(lambda: gateway.route.writes.outcomes.pending == 1)
        draining = asyncio.create_task(gateway.route.drain())
        await turns(20)
        assert not draining.done()
        log.commits.set()
        await draining
        assert (await writer.answer()).status == 204
