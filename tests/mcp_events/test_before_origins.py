"""A host of MCP gets the events of streams that are at an HTTP origin."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from typing import TYPE_CHECKING

import pytest
from mcp.shared.exceptions import MCPError

from gateway.features.mcp import origin_reading
from gateway.rules.read_rules import PERSISTS_S
from tests.mcp_events.hosts import VERSIONS, numbers
from tests.mcp_events.origins import before, before_own
from tests.mcp_events.test_streams import ASKED, following, raw, sent
from tests.support.http1 import ask
from tests.support.origin_servers import own_log, reference
from tests.support.serving import EDGE, PREFIX, request
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mcp_events.origins import BeforeOrigin
    from tests.support.origin_servers import Counts, Reference


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("mode", VERSIONS)
async def test_polls_give_each_event_of_an_origin_once(mode: str) -> None:
    with reference() as origin:
        async with before(f"{origin.url}/v1/stream") as it, it.host(mode) as client:
            (event,) = (await client.ask("events/list"))["events"]
            assert event["delivery"] == ["push", "poll"]
            await it.create("a", {"n": 0})
            first = await client.poll("a")
            assert (first["events"], first["hasMore"], first["truncated"]) == ([], False, False)
            await it.append("a", {"n": 1})
            second = await client.poll("a", first["cursor"])
            await it.append("a", [{"n": 2}, {"n": 3}])
            third = await client.poll("a", second["cursor"])
            assert (numbers(second), numbers(third)) == ([1], [2, 3])
            assert (await client.poll("a", third["cursor"]))["events"] == []
            again = await client.poll("a", first["cursor"])
            found = [*second["events"], *third["events"]]
            assert [one["eventId"] for one in again["events"]] == [one["eventId"] for one in found]


async def test_events_come_as_they_are_appended_through_the_gateway_and_around_it() -> None:
    async with before_own() as it:
        async with it.host() as client:
            await it.create("a", {"n": 0})
            async with following(client):
                await it.append("a", {"n": 1})
                await until(lambda: sent(client) == [1])
                assert it.gateway.limits.live_readers == 1
                await it.around("POST", "a", [{"n": 2}, {"n": 3}])
                await until(lambda: len(sent(client)) == 3)
                await it.close("a")
                await until(lambda: len(sent(client)) == 4)
        await until(lambda: it.gateway.limits.live_readers == 0)
        assert sorted(map(str, sent(client))) == ["1", "2", "3", "closed"]
        assert len({one["eventId"] for one in client.events.of("event")}) == 4


async def test_pages_of_few_events_end_within_a_read_and_go_on_though_the_reads_differ() -> None:
    async with before_own() as it, it.host() as client:
        await it.create("a")
        first = await client.poll("a")
        await it.append("a", [{"n": n} for n in range(3)])
        page = await client.poll("a", first["cursor"], maxEvents=2)
        assert (numbers(page), page["hasMore"]) == ([0, 1], True)
        await it.append("a", [{"n": n} for n in range(3, 6)])
        rest = await client.poll("a", page["cursor"])
        assert (numbers(rest), rest["hasMore"]) == ([2, 3, 4, 5], False)
        again = await client.poll("a", first["cursor"])
        found = [*page["events"], *rest["events"]]
        assert [one["eventId"] for one in again["events"]] == [one["eventId"] for one in found]
        assert len({one["eventId"] for one in found}) == 6


async def test_a_cursor_of_another_gateway_may_be_behind_more_than_is_cached_here() -> None:
    async with before_own() as it, it.host() as client:
        assert it.origin is not None
        url = f"http://127.0.0.1:{it.origin.port}{PREFIX}"
        async with before(url) as another, another.host() as other:
            await it.create("a")
            first = (await client.poll("a"))["cursor"]
            await it.around("POST", "a", {"n": 1})
            assert numbers(await other.poll("a", first)) == [1]
            await it.around("POST", "a", [{"n": 2}, {"n": 3}])
            page = await client.poll("a", first, maxEvents=2)
            rest = await other.poll("a", page["cursor"])
            assert (numbers(page), numbers(rest), rest["truncated"]) == ([1, 2], [3], False)


async def test_equal_messages_have_different_ids() -> None:
    async with before_own() as it, it.host() as client:
        await it.create("a")
        first = await client.poll("a")
        await it.append("a", [{"n": 1}, {"n": 1}])
        page = await client.poll("a", first["cursor"])
        assert len({one["eventId"] for one in page["events"]}) == 2


async def test_a_stream_of_an_origin_that_is_created_later_counts_from_its_beginning() -> None:
    async with before_own() as it, it.host() as client:
        first = await client.poll("later")
        assert (first["events"], first["truncated"]) == ([], False)
        await it.around("PUT", "later", {"n": 1})
        page = await client.poll("later", first["cursor"])
        assert (numbers(page), page["truncated"]) == ([1], False)


async def test_the_close_of_a_stream_of_an_origin_is_an_event_and_comes_once() -> None:
    async with before_own() as it, it.host() as client:
        await it.create("a")
        cursor = (await client.poll("a"))["cursor"]
        await it.append("a", {"n": 1})
        await it.close("a")
        found, more = [], []
        for _ in range(3):
            page = await client.poll("a", cursor, maxEvents=1)
            cursor = page["cursor"]
            found += page["events"]
            more.append(page["hasMore"])
        assert [one["data"].get("closed", False) for one in found] == [False, True]
        assert more == [True, False, False]
        assert (await client.poll("a"))["events"] == []  # it was closed before


async def test_a_stream_that_is_created_again_around_the_gateway_is_told_as_a_gap() -> None:
    async with before_own() as it, it.host() as client:
        await it.create("a", {"n": 1})
        cursor = (await client.poll("a"))["cursor"]
        await it.around("DELETE", "a")
        await it.around("PUT", "a", {"n": 2})
        page = await client.poll("a", cursor)
        assert (numbers(page), page["truncated"]) == ([2], True)


async def test_text_is_cut_between_characters_and_bytes_are_base64() -> None:
    async with before_own() as it, it.host() as client:
        for name, kind in (("t", "text/plain"), ("b", "application/octet-stream")):
            line = f"Content-Type: {kind}"
            await it.create(name, None, line)
            first = await client.poll(name)
            body = "aé".encode() * 20_000
            await it.append(name, body, line)
            page = await client.poll(name, first["cursor"], maxEvents=1)
            rest = await client.poll(name, page["cursor"])
            events = [one["data"] for one in (*page["events"], *rest["events"])]
            assert len(events) == 2
            if name == "t":
                assert "".join(one["text"] for one in events).encode() == body
            else:
                assert b"".join(base64.b64decode(one["base64"]) for one in events) == body


@pytest.mark.usefixtures("processes")
async def test_a_stream_of_events_outlasts_its_origin_and_goes_on_behind_its_last_event(
    tmp_path: Path,
) -> None:
    with own_log(f"file:{tmp_path / 'log'}") as origin:
        url = f"{origin.url}/v1/stream"
        async with before(url, heartbeat=0.2) as it, it.host() as client:
            await it.create("a")
            async with following(client):
                await it.append("a", {"n": 1})
                await until(lambda: sent(client) == [1])
                origin.kill()
                beats = len(client.events.of("heartbeat"))
                await until(lambda: len(client.events.of("heartbeat")) > beats + 5)
                with pytest.raises(MCPError, match="origin"):
                    await client.poll("b")
                await asyncio.to_thread(origin.start)
                await until(lambda: not it.gateway.edge.origin.servers.are_down())
                await it.append("a", {"n": 2})
                await until(lambda: sent(client) == [1, 2])


@pytest.mark.usefixtures("processes")
async def test_many_streams_of_events_are_one_long_poll_at_the_origin() -> None:
    with reference() as origin:
        async with before(f"{origin.url}/v1/stream") as it, it.host("2026-07-28") as client:
            await it.create("a")
            before_them = origin.counts()
            async with contextlib.AsyncExitStack() as stack:
                for _ in range(10):
                    await stack.enter_async_context(following(client))
                await until(lambda: readers_of(it, "a") == 10)
                asked = await with_a_long_poll(origin, before_them)
                assert (asked.long_poll, asked.catch_up <= 2) == (1, True)
                await it.append("a", {"n": 1})
                await until(lambda: sent(client) == [1] * 10)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("is_reader_first", [True, False])
async def test_a_live_reader_and_a_stream_of_events_are_one_long_poll_at_the_origin(
    is_reader_first: bool,
) -> None:
    with reference() as origin:
        async with before(f"{origin.url}/v1/stream") as it:
            await it.create("a", {"n": 0})
            before_them = origin.counts()
            reader, events = await it.gateway.connect(), await it.gateway.connect()
            waiting = [
                (reader, request("GET", f"{EDGE}/a?offset=-1&live=sse"), b'{"n":0}'),
                (events, raw(ASKED, EDGE), b"active"),
            ]
            for connection, asked, beginning in waiting if is_reader_first else waiting[::-1]:
                connection.send(asked)
                await connection.read_until(beginning)
            await until(lambda: readers_of(it, "a") == 2)
            assert (await with_a_long_poll(origin, before_them)).long_poll == 1
            await it.append("a", {"n": 1})
            for connection in (reader, events):
                await connection.read_until(b'{"n":1}')
                connection.abort()
            await until(lambda: it.gateway.limits.live_readers == 0)


async def test_a_stream_of_events_holds_one_place_among_the_readers() -> None:
    async with before_own(max_live_readers=1) as it:
        await it.create("a")
        connection = await it.gateway.connect()
        connection.send(raw(ASKED, EDGE))
        await connection.read_until(b"active")
        for n in range(3):
            await until(lambda: readers_of(it, "a") == 1)
            assert it.gateway.limits.live_readers == 1
            refused = await it.gateway.ask(raw(ASKED, EDGE))
            assert json.loads(refused.body)["error"]["code"] == -32013
            await it.append("a", {"n": n})
            await connection.read_until(b'{"n": %d}' % n)
        connection.abort()
        await until(lambda: it.gateway.limits.live_readers == 0)


async def test_open_streams_of_events_stay_when_there_may_be_fewer_readers() -> None:
    async with before_own(max_live_readers=2) as it:
        await it.create("a")
        connections = [await it.gateway.connect() for _ in range(2)]
        for connection in connections:
            connection.send(raw(ASKED, EDGE))
            await connection.read_until(b"active")
        await until(lambda: readers_of(it, "a") == 2)
        it.gateway.limits.max_live_readers -= 1
        it.gateway.limits.reader_slots -= 1
        for n in range(3):
            await it.append("a", {"n": n})
            for connection in connections:
                await connection.read_until(b'{"n": %d}' % n)
            await until(lambda: readers_of(it, "a") == 2)
            assert it.gateway.limits.live_readers == 2
        for connection in connections:
            connection.abort()
        await until(lambda: it.gateway.limits.live_readers == 0)


def readers_of(it: BeforeOrigin, name: str) -> int:
    """Return the number of readers of a stream that is followed, or 0."""
    streams = it.gateway.edge.feeds.table.of_path(f"{EDGE}/{name}")
    return streams[0].feed.reader_count if streams else 0


async def with_a_long_poll(origin: Reference, before_them: Counts) -> Counts:
    """Return what the origin was asked since, once it has a long-poll: readers join before that."""
    await until(lambda: (origin.counts() - before_them).long_poll > 0)
    return origin.counts() - before_them


async def test_a_stream_of_events_waits_for_a_stream_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(origin_reading, "CHECK_AGAIN_S", 0.05)
    async with before_own() as it, it.host() as client, following(client):
        await it.create("a", {"n": 1})
        await until(lambda: sent(client) == [1])


async def test_streams_beyond_the_limit_of_followed_ones_are_looked_at_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(origin_reading, "CHECK_AGAIN_S", 0.05)
    async with before_own(max_feeds=1) as it, it.host() as client:
        for name in ("a", "b"):
            await it.create(name)
        async with following(client, "a"), following(client, "b"):
            await until(lambda: readers_of(it, "a") == 1)
            await it.append("b", {"n": 1})
            await it.append("a", {"n": 2})
            await until(lambda: len(sent(client)) == 2)
            assert it.gateway.limits.feeds == 1
        assert sorted(sent(client)) == [1, 2]


async def test_a_server_that_stops_ends_streams_of_events_of_an_origin() -> None:
    async with before_own() as it, it.host() as client:
        await it.create("a")
        async with following(client) as task:
            await it.gateway.edge.drain()
            assert (await task)["_meta"] == {}


async def test_requests_to_control_paths_are_admitted_also_when_they_repeat_their_fields(
    tmp_path: Path,
) -> None:
    async with before_own(tmp_path) as it:
        await it.create("a")
        call = {"jsonrpc": "2.0", "id": 1, "method": "events/list"}
        wanted = {"type": "pull-wake", "streams": ["a"], "wake_stream": "w"}
        for _ in range(3):
            await it.append("a", {"n": 1})
            answer = await it.ask("POST", "mcp", body=json.dumps(call).encode())
            assert answer.status == 200
            body = json.dumps(wanted).encode()
            made = await it.ask("PUT", "__ds/subscriptions/s", body=body)
            assert made.status in {200, 201}


@pytest.mark.usefixtures("processes")
async def test_what_an_origin_has_lost_is_refused_while_it_may_lag_and_then_a_gap() -> None:
    with reference() as origin:
        async with before(f"{origin.url}/v1/stream") as it, it.host() as client:
            await it.create("a", [{"n": n} for n in range(5)])
            cursor = (await client.poll("a"))["cursor"]
            origin.kill()
            await asyncio.to_thread(origin.start)
            line = {"Content-Type": "application/json"}
            made = await asyncio.to_thread(
                ask, origin.port, "PUT", "/v1/stream/a", b'[{"n":9}]', **line
            )
            assert made.status == 201
            it.gateway.store.clear()
            with pytest.raises(MCPError, match="ends before this offset"):
                await client.poll("a", cursor)
            it.gateway.clock.advance(PERSISTS_S + 1)
            page = await client.poll("a", cursor)
            assert (numbers(page), page["truncated"]) == ([9], True)
