"""A host of MCP holds a stream of events open, and comes back with its cursor."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from mcp.shared.exceptions import MCPError

from tests.mcp_events.hosts import (
    VERSIONS,
    append,
    close,
    create,
    guarded,
    host,
    offering,
    tokens_file,
)
from tests.support.serving import PREFIX, post
from tests.support.tokens_files import token
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.mcp_events.hosts import Host

BRIEF: dict[str, Any] = {"heartbeat": 0.05}


@contextlib.asynccontextmanager
async def following(
    client: Host, stream: str = "a", **more: Any
) -> AsyncIterator[asyncio.Task[dict[str, Any]]]:
    """A stream of events that is open within the block; the task has its final result."""
    params = {"name": "stream.appended", "arguments": {"stream": stream}, **more}
    task = asyncio.create_task(client.ask("events/stream", **params))
    before = len(client.events.of("active"))
    await until(lambda: task.done() or len(client.events.of("active")) > before)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def sent(client: Host) -> list[Any]:
    """Return the `n` of each event so far."""
    return [one["data"].get("message", {}).get("n", "closed") for one in client.events.of("event")]


def raw(params: dict[str, Any], prefix: str = PREFIX) -> bytes:
    """Return a request for a stream as it is on the wire."""
    call = {"jsonrpc": "2.0", "id": "s-1", "method": "events/stream", "params": params}
    body = json.dumps(call).encode()
    return post(f"{prefix}/mcp", body, content_type="application/json")


ASKED = {"name": "stream.appended", "arguments": {"stream": "a"}}


@pytest.mark.parametrize("mode", VERSIONS)
async def test_events_come_as_they_are_appended_and_heartbeats_between_them(mode: str) -> None:
    async with offering(**BRIEF) as gateway, host(gateway, mode) as client:
        await create(gateway, "a", b'{"n":0}')
        async with following(client):
            await append(gateway, "a", {"n": 1})
            await append(gateway, "a", [{"n": 2}, {"n": 3}])
            await until(lambda: len(sent(client)) == 3)
            await until(lambda: len(client.events.of("heartbeat")) > 1)
            await close(gateway, "a")
            await until(lambda: len(sent(client)) == 4)
        assert sorted(map(str, sent(client))) == ["1", "2", "3", "closed"]
        (active,) = client.events.of("active")
        assert not active["truncated"]
        ids = {str(params["_meta"].values()) for _, params in client.events.notes}
        assert len(ids) == 1
        last = client.events.of("heartbeat")[-1]
        polled = await client.poll("a", last["cursor"])
        assert len(polled["events"]) <= 1  # the close


async def test_a_stream_goes_on_behind_its_cursor() -> None:
    async with offering() as gateway, host(gateway, "2026-07-28") as client:
        await create(gateway, "a")
        async with following(client):
            await append(gateway, "a", {"n": 1})
            await until(lambda: sent(client) == [1])
        cursor = client.events.of("event")[0]["cursor"]
        await append(gateway, "a", [{"n": 2}, {"n": 3}])
        async with following(client, cursor=cursor):
            await until(lambda: len(sent(client)) == 3)
        assert sorted(sent(client)) == [1, 2, 3]


async def test_the_bytes_are_events_of_sse_with_one_line_each() -> None:
    async with offering() as gateway:
        await create(gateway, "a")
        connection = await gateway.connect()
        connection.send(raw(ASKED))
        head = await connection.head()
        assert (head.status, head.get("Content-Type")) == (200, "text/event-stream")
        assert head.get("Cache-Control") == "private, no-cache, no-transform"
        first = await connection.chunk()
        assert b"event: message\r\ndata: {" in first
        spread = b'{"n":\n\r\n 1}'
        await gateway.ask(post(f"{PREFIX}/a", spread, content_type="application/json"))
        event = await connection.chunk()
        line = event[event.index(b"data: ") :].strip().removeprefix(b"data: ")
        told = json.loads(line)
        assert told["method"] == "notifications/events/event"
        assert told["params"]["data"]["message"] == {"n": 1}
        assert told["params"]["_meta"] == {"io.modelcontextprotocol/subscriptionId": "s-1"}


async def test_a_client_that_leaves_frees_its_place() -> None:
    async with offering(max_live_readers=1) as gateway:
        await create(gateway, "a")
        connection = await gateway.connect()
        connection.send(raw(ASKED))
        await connection.read_until(b"active")
        assert gateway.limits.live_readers == 1
        refused = await gateway.ask(raw(ASKED))
        told = json.loads(refused.body)["error"]
        assert (told["code"], told["data"]) == (-32013, {"limit": "max_live_readers"})
        connection.abort()
        await until(lambda: gateway.limits.live_readers == 0)
        assert gateway.route.table.get("a").watchers == ()


async def test_a_stream_that_is_created_again_is_a_gap_and_goes_on() -> None:
    async with offering() as gateway, host(gateway) as client:
        await create(gateway, "a", b'{"n":0}')
        async with following(client):
            await gateway.route.lifecycle.delete("a", None)
            await create(gateway, "a", b'{"n":1}')
            await until(lambda: sent(client) == [1])
        assert [one["truncated"] for one in client.events.of("active")] == [False, True]


async def test_a_server_that_stops_ends_its_streams_with_a_result() -> None:
    async with offering() as gateway, host(gateway) as client:
        await create(gateway, "a")
        async with following(client) as task:
            gateway.route.features["mcp"].drain()
            assert (await task)["_meta"] == {}


async def test_a_stream_ends_after_the_longest_time() -> None:
    async with offering(sse_max_age=0.05) as gateway, host(gateway) as client:
        await create(gateway, "a")
        async with following(client) as task:
            assert (await task)["_meta"] == {}


async def test_a_revoked_credential_ends_its_stream(tmp_path: Path) -> None:
    async with guarded(tmp_path, **BRIEF) as gateway, host(gateway, token=token("other")) as client:
        await create(gateway, "a")
        async with following(client) as task:
            gateway.authorities.start()
            tokens_file(tmp_path, without="other")
            assert (await task)["_meta"] == {}
        (told,) = client.events.of("terminated")
        assert told["error"]["code"] == -32012
        await gateway.authorities.stop()


@pytest.mark.parametrize(
    ("params", "code"),
    [
        pytest.param({"name": "other"}, -32011, id="an-unknown-type"),
        pytest.param({"arguments": {}}, -32014, id="no-stream"),
        pytest.param({"cursor": "x"}, -32602, id="a-forged-cursor"),
        pytest.param({"arguments": {"stream": "b"}}, -32012, id="a-stream-without-a-right"),
    ],
)
async def test_a_stream_that_is_not_valid_is_not_opened(
    params: dict[str, Any], code: int, tmp_path: Path
) -> None:
    async with (
        guarded(tmp_path) as gateway,
        host(gateway, token=token("reader" if code == -32012 else "all")) as client,
    ):
        with pytest.raises(MCPError) as refused:
            await client.ask("events/stream", **{**ASKED, **params})
        assert refused.value.error.code == code
        assert gateway.limits.live_readers == 0
