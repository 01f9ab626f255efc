"""A Redis that is away, at the start, in the middle or at the end: an error or an end, no hang."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from headgate import Unavailable
from headgate.resumable import ResumableStreams, listener, production
from headgate.resumable import redis as redis_broker
from headgate.resumable.messages import sentinel

from tests.client.resumable.memory_broker import MemoryBroker
from tests.client.resumable.sources import Tap, chunks, whole
from tests.support.ports import HOST, free_port
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.waiting import SERVER_PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.client.resumable.conftest import MakeStreams

OPERATIONS: list[Callable[[ResumableStreams], Awaitable[object]]] = [
    lambda streams: streams.resumable("a", chunks),
    lambda streams: streams.create("a", chunks),
    lambda streams: streams.resume("a"),
    lambda streams: streams.state("a"),
]


@pytest.mark.usefixtures("processes")
async def test_each_operation_raises_an_error_until_redis_is_started(tmp_path: Path) -> None:
    port = free_port()
    async with ResumableStreams(f"redis://{HOST}:{port}") as streams:
        for operation in OPERATIONS:
            with pytest.raises(Unavailable, match=r"the Redis .* is away: .*Connect call failed"):
                await operation(streams)
        server = RedisServer(tmp_path, port)
        try:
            server.start()
            assert await whole(await streams.create("a", lambda: chunks("text"))) == "text"
        finally:
            server.kill()


@pytest.mark.usefixtures("processes")
async def test_a_password_is_in_no_error(tmp_path: Path) -> None:
    with redis_server(tmp_path, requirepass="another") as server:
        async with ResumableStreams(f"redis://:hunter2@{server.address}") as streams:
            with pytest.raises(Unavailable, match="invalid username-password pair") as refused:
                await streams.state("a")
    assert "hunter2" not in str(refused.value)
    for wrong in ("redis://:hun/ter2@host:6379", "redis://:hun#ter2@host", "redis://h:hunter2"):
        with pytest.raises(ValueError, match="the URL of a Redis looks like") as invalid:
            ResumableStreams(wrong)
        assert "ter2" not in str(invalid.value)


class DeafBroker(MemoryBroker):
    async def subscribe(self, channel: str, receive: Callable[[str], None]) -> None:
        raise Unavailable("no answer")


async def test_the_id_of_a_stream_that_was_not_created_is_free() -> None:
    """It was counted already, and nobody is there to listen for its readers."""
    streams = DeafBroker().streams()
    with pytest.raises(Unavailable):
        await streams.create("a", chunks)
    assert await streams.state("a") is None


@pytest.mark.usefixtures("processes")
async def test_a_stream_goes_on_across_restarts_of_redis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its readers, new and old, get all text; its state is known again, and then done."""
    monkeypatch.setattr(listener, "ASK_EVERY_S", 0.3)
    monkeypatch.setattr(production, "RENEW_S", 0.2)
    with redis_server(tmp_path) as server:
        async with ResumableStreams(server.url) as producer, ResumableStreams(server.url) as other:
            tap = Tap()
            creator = await producer.create("a", tap)
            reader = await other.resume("a")
            assert reader is not None
            tap.give("before ")
            assert (await anext(creator), await anext(reader)) == ("before ", "before ")
            server.kill()
            tap.give("meanwhile ")
            assert await anext(creator) == "meanwhile "
            server.start()  # and it has forgotten everything
            await until(lambda: _is(other, "active"), within_s=SERVER_PATIENCE_S)
            await until(lambda: server.command("TTL", sentinel("a")) > 0)
            late = await other.resume("a")
            tap.give("after")
            assert await anext(creator) == "after"
            server.kill()
            tap.end()
            assert await whole(creator) == ""
            server.start()
            assert await whole(reader) == "meanwhile after"
            assert await whole(late) == "before meanwhile after"
            await until(lambda: _is(other, "done"))
            left = await other.resumable("b", Tap())
            server.kill()
            assert left is not None
            await left.aclose()


async def test_readers_get_all_text_although_redis_kills_their_pubsub_connections(
    redis: RedisServer, on_redis: MakeStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does so to a client that reads too slowly; not even who comes just then is to see it."""
    monkeypatch.setattr(listener, "ASK_EVERY_S", 0.3)
    producer, other, tap = on_redis(resume_timeout=10.0), on_redis(resume_timeout=10.0), Tap()
    await producer.create("a", tap)
    readers = []
    for number in range(5):
        tap.give(f"{number} ")
        redis.command("CLIENT", "KILL", "TYPE", "pubsub")
        readers.append(await other.resume("a"))
    tap.end()
    for reader in readers:
        assert await whole(reader) == "0 1 2 3 4 "


async def test_a_frozen_redis_is_an_error(
    redis: RedisServer, on_redis: MakeStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_broker, "ANSWER_WITHIN_S", 0.3)
    streams = on_redis()
    await whole(await streams.create("connects", chunks))
    redis.pause()
    try:
        with pytest.raises(Unavailable, match="Timeout"):
            await streams.state("a")
        with pytest.raises(Unavailable, match="confirms no subscription"):
            await streams._broker.subscribe("channel", print)
    finally:
        redis.resume()


async def test_closing_ends_whatever_moment_of_a_redis_ping_it_interrupts(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancellation at the very moment of a timeout was taken for the timeout."""
    monkeypatch.setattr(redis_broker, "PING_S", 0.001)
    redis.command("FLUSHALL")
    for number in range(50):
        async with ResumableStreams(redis.url) as streams:
            await whole(await streams.create(f"{number}", lambda: chunks("text")))
            await asyncio.sleep(number * 0.0001)


async def _is(streams: ResumableStreams, state: str) -> bool:
    with contextlib.suppress(Unavailable):  # of a connection to the Redis before
        return await streams.state("a") == state
    return False
