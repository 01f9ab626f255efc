"""Live readers at the edges: who comes, goes or is told something at the very same moment."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from headgate_gateway.live import live_turns
from headgate_gateway.live.feed import Feed
from headgate_gateway.live.source import LONGEST_ROUND
from headgate_gateway.live.sse_readers import SseReader
from headgate_gateway.logs.memory import MemoryLog
from headgate_gateway.protocol.bodies.content import HEARTBEAT
from headgate_gateway.protocol.streams.chunks import CHUNK_BYTES
from tests.live.test_feed import BIG, controls, follow, is_told, text, up_to
from tests.support.event_stream import parse_events
from tests.support.gated_log import GatedLog, turns
from tests.support.separate_commits import commit_separately
from tests.support.serving import Serving, get, offset, post, put, request, serving, serving_with
from tests.support.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from headgate_gateway.protocol.streams.state import Change
    from headgate_gateway.web.connections.connection import Connection
    from tests.support.http1 import Client

FRESH_S = 1.0  # for so long a reader keeps its answer while the server drains
AHEAD = 10**9  # a cursor that the clock reaches in centuries


class PublishingLog(MemoryLog):
    """Says when a commit was published to the feed, one pass of the loop before its round."""

    def __init__(self) -> None:
        super().__init__()
        self.published: Callable[[], None] | None = None

    commit_separately = commit_separately

    def commit(self, changes: Sequence[Change]) -> asyncio.Future[None]:
        done = super().commit(changes)
        if self.published is not None:
            # Registered once the callers of `commit` have registered theirs, thus called after.
            loop, published = asyncio.get_running_loop(), self.published
            loop.call_soon(lambda: done.add_done_callback(lambda _: published()))
            self.published = None
        return done


async def park(gateway: Serving, position: int, *lines: str) -> Client:
    """A long-poll that waits."""
    before = gateway.limits.live_readers
    client = await gateway.connect()
    client.send(get(f"s?offset={offset(position)}&live=long-poll", *lines))
    await until(lambda: gateway.limits.live_readers == before + 1)
    return client


async def connected(gateway: Serving) -> tuple[Client, Connection]:
    """Return a new client, and the gateway's end of its connection."""
    known = set(gateway.server.connections)
    client = await gateway.connect()
    await until(lambda: bool(set(gateway.server.connections) - known))
    (connection,) = set(gateway.server.connections) - known
    return client, connection


# ---------------------------------------------------------------- a round is due


@pytest.mark.parametrize("start", [-1, 3], ids=["from the beginning", "from the old tail"])
@pytest.mark.parametrize("passes", range(16))
async def test_a_reader_that_joins_near_a_round_gets_all_data_once(passes: int, start: int) -> None:
    """The request is parsed so many passes of the loop before the append is published."""
    log = GatedLog()
    async with serving_with(put("s", body=b"one"), log) as gateway:
        other = await follow(gateway, "s?offset=now&live=sse")
        await up_to(other, 3)
        log.commits.clear()
        writer = await gateway.connect()
        writer.send(post("s", b"two"))
        await until(lambda: gateway.route.writes.outcomes.pending == 1)
        await turns(20)
        client, connection = await connected(gateway)
        where = "-1" if start < 0 else offset(start)
        connection.data_received(get(f"s?offset={where}&live=sse"))
        await turns(passes)
        log.commits.set()
        assert (await client.answer()).status == 200
        events = await up_to(client, 6)
        assert text(events) == ("onetwo" if start < 0 else "two")
        assert text(await up_to(other, 6)) == "two"
        await gateway.ask(post("s", b"!"))
        assert text(await up_to(client, 7)) == text(events) + "!"


@pytest.mark.parametrize("passes", range(4))
async def test_a_close_that_arrives_around_a_round_is_sent_to_every_reader(passes: int) -> None:
    """It is heard of so many passes of the loop after the append, as of another gateway's."""
    log = PublishingLog()
    async with serving_with(put("s", body=b"one"), log) as gateway:
        client = await follow(gateway, "s?offset=-1&live=sse")
        await up_to(client, 3)
        (feed,) = gateway.route.feeds._feeds
        poll, connection = await connected(gateway)

        def publish() -> None:
            connection.data_received(get(f"s?offset={offset(6)}&live=long-poll"))
            close(passes)

        def close(left: int) -> None:
            if left:
                asyncio.get_running_loop().call_soon(close, left - 1)
            else:
                state = msgspec.structs.replace(feed.stream, closed=True)
                feed.publish(state, feed.tail, (), closed=True)

        log.published = publish
        await gateway.ask(post("s", b"two"))
        assert controls(await client.events_to_the_end())[-1]["streamClosed"] is True
        assert (await poll.answer()).get("Stream-Closed") == "true"


async def test_a_long_poll_between_an_append_and_its_round_waits_for_the_next_round() -> None:
    log = PublishingLog()
    async with serving_with(put("s", body=b"one"), log) as gateway:
        first = await park(gateway, 3)
        second, connection = await connected(gateway)
        readers = []

        def arrive() -> None:
            connection.data_received(get(f"s?offset={offset(6)}&live=long-poll"))
            readers.append(gateway.limits.live_readers)

        log.published = arrive
        await gateway.ask(post("s", b"two"))
        assert (await first.answer()).body == b"two"
        assert readers == [2], "the second poll did not come before the round"
        assert gateway.limits.live_readers == 1
        await gateway.ask(post("s", b"three"))
        answer = await second.answer()
        assert (answer.status, answer.body) == (200, b"three")


async def test_a_long_poll_that_times_out_while_data_is_due_gets_the_data() -> None:
    log = PublishingLog()
    async with serving_with(put("s", body=b"one"), log, long_poll_timeout=1.0) as gateway:
        poll = await park(gateway, 3)
        # The loop is held up past the poll's deadline, while its round is due.
        log.published = lambda: time.sleep(1.1)
        await gateway.ask(post("s", b"two"))
        answer = await poll.answer()
        assert (answer.status, answer.body) == (200, b"two")
        assert answer.get("Stream-Next-Offset") == offset(6)
        assert gateway.limits.live_readers == 0


async def test_a_long_poll_that_times_out_gets_no_data_from_before_its_request() -> None:
    """One poll came before the append and one after it; the round is due, and the time of both."""
    log = PublishingLog()
    async with serving_with(put("s", body=b"one"), log, long_poll_timeout=1.0) as gateway:
        first = await park(gateway, 3)
        second, connection = await connected(gateway)

        def arrive_and_wait() -> None:
            connection.data_received(get(f"s?offset={offset(6)}&live=long-poll"))
            time.sleep(1.1)  # as above

        log.published = arrive_and_wait
        await gateway.ask(post("s", b"two"))
        answer = await first.answer()
        assert (answer.status, answer.body) == (200, b"two")
        answer = await second.answer()
        assert (answer.status, answer.get("Stream-Next-Offset")) == (204, offset(6))


async def test_each_reader_of_a_round_gets_cursors_ahead_of_the_cursor_it_sent() -> None:
    async with serving_with(put("s", body=b"one")) as gateway:
        floors = (0, AHEAD, 2 * AHEAD, AHEAD)
        readers = []
        for floor in floors:
            echo = f"&cursor={floor}" if floor else ""
            readers.append(await follow(gateway, f"s?offset=now&live=sse{echo}"))
            await up_to(readers[-1], 3)
        await gateway.ask(post("s", b"two"))
        told = [await up_to(reader, 6) for reader in readers]
        assert [text(events) for events in told] == ["two"] * 4
        cursors = [int(str(controls(events)[-1]["streamCursor"])) for events in told]
        assert cursors[0] < AHEAD < cursors[1] == cursors[3] < 2 * AHEAD < cursors[2]


# ---------------------------------------------------------------- heartbeats


async def test_a_heartbeat_is_not_sent_to_a_reader_that_is_catching_up() -> None:
    """Its first chunk is at hand, and the log takes its time with the second."""
    log = GatedLog()
    async with serving_with(put("s", body=b"x" * CHUNK_BYTES), log, heartbeat=0.05) as gateway:
        idle = await follow(gateway, "s?offset=-1&live=sse")
        await up_to(idle, CHUNK_BYTES)
        await gateway.ask(post("s", b"one"))
        await up_to(idle, CHUNK_BYTES + 3)
        log.reads.clear()
        late = await follow(gateway, "s?offset=-1&live=sse")
        await idle.event_bytes_until(b"}\n\n:\n:\n:\n")
        log.reads.set()
        await up_to(late, CHUNK_BYTES + 3)
        assert b"\n:\n" not in late.received
        assert await late.event_bytes_until(b"}\n\n:\n")


async def test_a_heartbeat_is_not_sent_to_a_reader_that_just_got_data() -> None:
    beat = 0.4
    async with serving_with(put("s"), heartbeat=beat) as gateway:
        reader = await follow(gateway, "s?offset=now&live=sse")
        await up_to(reader, 0)
        loop = asyncio.get_running_loop()
        joined = loop.time()
        await until(lambda: loop.time() > joined + beat / 2)
        told = loop.time()
        await gateway.ask(post("s", b"one"))
        await up_to(reader, 3)
        await reader.event_bytes_until(b"}\n\n:\n")
        assert loop.time() >= told + beat - 0.01


async def test_a_heartbeat_is_not_sent_to_a_reader_whose_buffer_is_full() -> None:
    """What a client does not take is not added to."""
    async with serving(heartbeat=0.3) as gateway:  # two of them fit between no two appends
        await gateway.ask(put("s"))
        quick = await follow(gateway, "s?offset=-1&live=sse")
        slow = await follow(gateway, "s?offset=-1&live=sse")
        await up_to(slow, 0)
        slow.pause()
        expected = b""
        for number in range(40):
            data = b"%02d" % number + BIG
            expected += data
            await gateway.ask(post("s", data))
        await up_to(quick, len(expected))
        await quick.event_bytes_until(b"}\n\n:\n:\n:\n")
        slow.resume()
        assert text(await up_to(slow, len(expected))) == expected.decode()
        received = await slow.event_bytes_until(b"}\n\n")
        assert b"\n:\n:\nevent" not in received


async def test_heartbeats_are_sent_to_a_part_of_the_readers_in_each_pass_of_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_turns, "HEARTBEATS_AT_ONCE", 2)
    loop = asyncio.get_running_loop()
    beats = [0]  # in each pass of the loop

    def count_pass() -> None:
        beats.append(0)
        if gateway.limits.live_readers:
            loop.call_soon(count_pass)

    def count_beat(reader: SseReader, framed: bytes, size: int) -> None:
        beats[-1] += HEARTBEAT in framed
        write(reader, framed, size)

    write = SseReader.write
    async with serving_with(put("s"), heartbeat=0.05) as gateway:
        readers = [await follow(gateway, "s?offset=now&live=sse") for _ in range(5)]
        monkeypatch.setattr(SseReader, "write", count_beat)
        loop.call_soon(count_pass)
        await until(lambda: sum(beats) >= len(readers))
        assert set(beats) - {0} == {1, 2}, "five are two, two and one"
        readers.pop().close()
        for reader in readers:
            await reader.event_bytes_until(b"\n:\n:\n")


# ---------------------------------------------------------------- HTTP/1.0


async def test_an_http_1_0_reader_gets_the_event_stream_without_chunked_encoding() -> None:
    async with serving_with(put("s", body=b"one"), heartbeat=0.05) as gateway:
        old = await gateway.connect()
        old.send(request("GET", "s?offset=-1&live=sse", version="1.0"))
        new = await follow(gateway, "s?offset=-1&live=sse")
        head = await old.answer()
        assert [head.get("Connection"), head.get("Transfer-Encoding")] == ["close", None]
        await up_to(new, 3)
        await until(lambda: gateway.limits.live_readers == 2)
        await gateway.ask(post("s", b"two\nlines"))
        await new.event_bytes_until(b"}\n\n:\n")
        await gateway.ask(post("s", b"end", "Stream-Closed: true"))
        events = await new.events_to_the_end()
        body = await old.rest()
        assert parse_events(body) == events
        assert text(events) == "onetwo\nlinesend"
        told = [
            f"id:{control['streamNextOffset']}\nevent: control\ndata:{event.data}\n\n"
            for event, control in zip(events[1::2], controls(events), strict=True)
        ]
        assert body.replace(b":\n", b"").decode() == (
            f"event: data\ndata:one\n\n{told[0]}"
            f"event: data\ndata:two\ndata:lines\n\n{told[1]}"
            f"event: data\ndata:end\n\n{told[2]}"
        )
        assert b":\n" in body


# ---------------------------------------------------------------- draining


async def test_draining_does_not_wait_for_a_reader_that_takes_no_data() -> None:
    async with serving_with(put("s")) as gateway:
        slow = await follow(gateway, "s?offset=-1&live=sse")
        quick = await follow(gateway, "s?offset=-1&live=sse")
        await up_to(slow, 0)
        slow.pause()
        loop = asyncio.get_running_loop()
        began = loop.time()
        size = 0
        for _ in range(40):
            await gateway.ask(post("s", BIG))
            size += len(BIG)
        await up_to(quick, size)
        await until(lambda: loop.time() > began + FRESH_S)
        gateway.server.begin_close()
        async with asyncio.timeout(PATIENCE_S):  # it would take nothing for ever
            await gateway.route.drain()
        assert gateway.limits.live_readers == 0
        assert controls(await quick.events_to_the_end())[-1]["streamNextOffset"] == offset(size)
        slow.resume()
        assert not await ended_properly(slow)


async def ended_properly(client: Client) -> bool:
    """Whether a chunked answer came to its last chunk, rather than being cut off."""
    try:
        return (await client.rest()).endswith(b"0\r\n\r\n")
    except ConnectionResetError:
        return False


async def test_a_fresh_reader_gets_an_append_that_comes_while_the_server_drains() -> None:
    async with serving_with(put("s")) as gateway:
        writer = await gateway.connect()
        assert (await writer.ask(post("s", b"one"))).status == 204
        fresh = await follow(gateway, "s?offset=-1&live=sse")
        await up_to(fresh, 3)
        draining = asyncio.create_task(gateway.route.drain())
        await turns()
        assert (await writer.ask(post("s", b"two"))).status == 204
        events = await fresh.events_to_the_end()
        assert text(events) == "onetwo"
        assert controls(events)[-1]["streamNextOffset"] == offset(6)
        await draining


# ---------------------------------------------------------------- CORS for some origins

PAGE = "https://app.test"
ALLOWED = ("Origin: https://app.test",)
OTHER = ("Origin: https://evil.test",)
NOT_SAID: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("lines", "allowed"), [(NOT_SAID, None), (ALLOWED, PAGE), (OTHER, None)], ids=str
)
async def test_event_streams_have_cors_headers_only_for_the_configured_origins(
    lines: tuple[str, ...], allowed: str | None
) -> None:
    async with serving_with(put("s", "Stream-Closed: true"), cors_origins=(PAGE,)) as gateway:
        client = await gateway.connect()
        client.send(get("s?offset=-1&live=sse", *lines))
        head = await client.answer()
        assert head.get("Access-Control-Allow-Origin") == allowed
        assert head.get("Vary") == "Origin"
        assert len(await client.events_to_the_end()) == 1


@pytest.mark.parametrize("lines", [NOT_SAID, ALLOWED], ids=["without origin", "with origin"])
async def test_no_cors_headers_are_sent_without_cors_origins(lines: tuple[str, ...]) -> None:
    async with serving_with(put("s", body=b"one"), cors_origins=()) as gateway:
        for asked in (
            get("s?offset=-1", *lines),
            get("s?offset=-1", *lines),
            post("s", b"x", *lines),
        ):
            answer = await gateway.ask(asked)
            names = {name for name, _ in answer.fields}
            assert {name for name in names if name.startswith("access-control")} == set()
            assert "vary" not in names


# ---------------------------------------------------------------- max_live_readers


@pytest.mark.parametrize("live", ["long-poll", "sse"])
async def test_live_readers_beyond_the_limit_are_refused_and_counted_once(live: str) -> None:
    """The one beyond it is refused, counted once, and leaves nothing behind."""
    async with serving_with(put("s", body=b"one"), max_live_readers=3) as gateway:
        clients = []
        for _ in range(3):
            clients.append(await gateway.connect())
            clients[-1].send(get(f"s?offset={offset(3)}&live={live}"))
            await until(lambda: gateway.limits.live_readers == len(clients))
            assert gateway.limits.refused["max_live_readers"] == 0
        client = await gateway.connect()
        refused = await client.ask(get(f"s?offset={offset(3)}&live={live}"))
        assert (await client.ask(get("s?offset=-1"))).body == b"one"  # it goes on
        assert (refused.status, refused.get("Retry-After")) == (503, "1")
        assert gateway.limits.live_readers == 3
        assert gateway.limits.refused["max_live_readers"] == 1
        await gateway.ask(post("s", b"!", "Stream-Closed: true"))
        for client in clients:
            answer = await client.answer()
            assert answer.status == 200
        await until(lambda: gateway.limits.live_readers == 0)


# ---------------------------------------------------------------- the last one leaves


async def goes_away(gateway: Serving, sse: Client, poll: Client) -> None:
    sse.abort()
    poll.abort()


async def hears_the_end(gateway: Serving, sse: Client, poll: Client) -> None:
    await gateway.ask(post("s", b"!", "Stream-Closed: true"))
    assert text(await sse.events_to_the_end()) == "!"
    assert (await poll.answer()).body == b"!"


async def hears_of_the_deletion(gateway: Serving, sse: Client, poll: Client) -> None:
    await gateway.ask(request("DELETE", "s"))
    await sse.events_to_the_end()
    assert (await poll.answer()).status == 404


async def goes_away_with_a_round_due(gateway: Serving, sse: Client, poll: Client) -> None:
    await gateway.ask(post("s", b"!"))
    sse.abort()
    poll.abort()


async def is_drained(gateway: Serving, sse: Client, poll: Client) -> None:
    await gateway.route.drain()
    await sse.events_to_the_end()
    assert (await poll.answer()).status == 204


@pytest.mark.parametrize(
    "leave",
    [goes_away, hears_the_end, hears_of_the_deletion, goes_away_with_a_round_due, is_drained],
)
async def test_a_feed_leaves_no_object_task_or_timer_when_its_last_reader_leaves(
    leave: Callable[[Serving, Client, Client], Awaitable[None]],
) -> None:
    """No timer, task or table refers to it: heartbeats and timeouts would be half a minute away."""
    gc.collect()
    gc.freeze()  # what other tests have left is not looked through again and again
    async with serving_with(put("s", body=b"one")) as gateway:
        tasks = len(asyncio.all_tasks())
        sse = await follow(gateway, "s?offset=now&live=sse")
        await sse.events_until(is_told(upToDate=True))  # type: ignore[arg-type] # a predicate
        poll = await park(gateway, 3)
        made = living(Feed, SseReader)
        assert sorted(type(one).__name__ for one in made) == ["Feed", "SseReader"]
        made.clear()
        await leave(gateway, sse, poll)
        sse.close()
        poll.close()
        await until(lambda: gateway.limits.connections == 0)
        assert gateway.limits.live_readers == 0
        await until(lambda: living(Feed, SseReader) == [])
        await until(lambda: len(asyncio.all_tasks()) <= tasks)
        active = gateway.route.table.peek("s")
        assert active is not None
        assert active.idle


def living(*kinds: type) -> list[object]:
    """The objects of these kinds that something refers to."""
    gc.collect()
    return [one for one in gc.get_objects() if isinstance(one, kinds)]


# ---------------------------------------------------------------- long news


@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_appends_around_longest_round_reach_live_readers_once_and_in_order(more: int) -> None:
    """Over LONGEST_ROUND everybody leaves the round for them, and comes back for what follows."""
    long = b"x" * (LONGEST_ROUND + more)
    async with serving_with(put("s", body=b"a")) as gateway:
        readers = [await follow(gateway, "s?offset=-1&live=sse") for _ in range(2)]
        poll = await gateway.connect()
        poll.send(get(f"s?offset={offset(1)}&live=long-poll"))
        await until(lambda: gateway.limits.live_readers == 3)
        await gateway.ask(post("s", long))
        await gateway.ask(post("s", b"b"))
        for reader in readers:
            assert text(await up_to(reader, len(long) + 2)) == f"a{long.decode()}b"
        assert (await poll.answer()).body == long
