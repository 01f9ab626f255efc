"""What a stream costs a Redis and leaves there, a Redis that is away, and other processes."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from functools import partial
from typing import IO, TYPE_CHECKING

import pytest

from headgate import SourceFailed, Unavailable
from headgate.resumable import ResumableStreams, listener, production
from headgate.resumable import redis as redis_broker
from headgate.resumable.messages import sentinel
from tests.client.resumable.doubles import MemoryBroker, Tap, chunks, resumed, state_is, whole
from tests.support.ports import HOST, free_port
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.waiting import SERVER_PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from tests.client.resumable.conftest import MakeStreams


async def test_a_stream_that_nobody_resumes_costs_one_incr_and_one_subscribe(
    redis: RedisServer, on_redis: MakeStreams
) -> None:
    streams = on_redis()
    await whole(await streams.resumable("connects", lambda: chunks("text")))
    await until(lambda: _subscribers(redis) == 0)
    redis.command("CONFIG", "RESETSTAT")
    for number in range(10):
        reader = await streams.resumable(f"stream {number}", lambda: chunks("some ", "text"))
        assert await whole(reader) == "some text"
        await until(lambda: _subscribers(redis) == 0)
    # Besides, its end costs what marks it done and what ends the subscription.
    assert _calls(redis) == {"incr": 10, "subscribe": 10, "set": 10, "unsubscribe": 10}


async def test_readers_release_what_they_hold_and_text_without_readers_is_not_published(
    redis: RedisServer, on_redis: MakeStreams
) -> None:
    producer, other, tap = on_redis(), on_redis(), Tap()
    creator = await producer.create("a", tap)
    assert _subscribers(redis) == 1
    # A framework whose client has gone drops the text without closing it.
    for leave in ("closed", "cancelled", "dropped"):
        reader = await resumed(other)
        assert _subscribers(redis) == 2, leave
        if leave == "closed":
            await reader.aclose()
        elif leave == "cancelled":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(reader), 0.01)
        del reader
        await until(lambda: _subscribers(redis) == 1, f"the subscription to go: {leave}")
    redis.command("CONFIG", "RESETSTAT")
    tap.give(*("token",) * 100)
    length = 0
    while length < len("token") * 100:
        length += len(await anext(creator))
    assert "publish" not in _calls(redis)
    tap.end()
    await until(lambda: _subscribers(redis) == 0)
    assert redis.command("KEYS", "*") == [sentinel("a").encode()]
    assert 7140 < redis.command("TTL", sentinel("a")) <= 7200  # two hours


async def test_sentinel_ttl_sets_how_long_a_stream_is_known_after_its_end(
    redis: RedisServer, on_redis: MakeStreams
) -> None:
    redis.command("CONFIG", "RESETSTAT")
    streams, tap = on_redis(sentinel_ttl=0.5), Tap()
    await streams.create("a", tap)
    second = await streams.resumable("a", tap)  # counted by the sentinel
    assert second is not None
    await second.aclose()
    await until(
        lambda: _calls(redis).get("pexpire", 0) >= 3
    )  # so it has lived for longer than that
    assert await streams.state("a") == "active"
    tap.end()
    await until(lambda: state_is(streams, "done"))
    await until(lambda: state_is(streams, None))
    assert await whole(await streams.create("a", lambda: chunks("again"))) == "again"


def _subscribers(redis: RedisServer) -> int:
    return len(redis.command("PUBSUB", "CHANNELS"))


def _calls(redis: RedisServer) -> dict[str, int]:
    """Return how often each command was called, without the test's own and a new connection's."""
    stats = {name[8:]: figures["calls"] for name, figures in redis.info("commandstats").items()}
    own = ("pubsub", "config", "info", "hello", "client")
    return {name: int(calls) for name, calls in stats.items() if not name.startswith(own)}


async def test_a_creation_cancelled_at_any_point_is_produced_or_leaves_no_trace(
    redis: RedisServer, on_redis: MakeStreams
) -> None:
    streams = on_redis()
    await whole(await streams.create("connects", lambda: chunks("text")))
    for passes in range(40):
        task = asyncio.ensure_future(streams.create(f"{passes}", lambda: chunks("text")))
        for _ in range(passes):
            await asyncio.sleep(0)
        is_under_way = task.cancel()
        await asyncio.wait({task})
        # A library below may take a cancellation for itself, and the sender waits for ever.
        assert task.cancelled() or not is_under_way, f"after {passes} passes of the loop"
        # One that was cancelled before it began is not known.
        await until(partial(state_is, streams, "done" if passes else None, f"{passes}"))
    await until(lambda: _subscribers(redis) == 0)


OPERATIONS: list[Callable[[ResumableStreams], Awaitable[object]]] = [
    lambda streams: streams.resumable("a", chunks),
    lambda streams: streams.create("a", chunks),
    lambda streams: streams.resume("a"),
    lambda streams: streams.state("a"),
]


@pytest.mark.usefixtures("processes")
async def test_each_operation_raises_an_error_until_redis_is_started_and_none_after_a_restart(
    tmp_path: Path,
) -> None:
    port = free_port()
    async with ResumableStreams(f"redis://{HOST}:{port}") as streams:
        for operation in OPERATIONS:
            with pytest.raises(Unavailable, match=r"the Redis .* is away: .*Connect call failed"):
                await operation(streams)
        server = RedisServer(tmp_path, port)
        try:
            server.start()
            assert await whole(await streams.create("a", lambda: chunks("text"))) == "text"
            await asyncio.gather(*(streams.state("a") for _ in range(20)))  # over all connections
            server.kill()
            server.start()
            await asyncio.sleep(0.1)  # until this process knows that they were closed
            for number in range(10):
                text = await streams.create(f"{number}", lambda: chunks("text"))
                assert await whole(text) == "text"
        finally:
            await streams.aclose(wait=0)
            server.kill()


@pytest.mark.usefixtures("processes")
async def test_a_password_is_in_no_error(tmp_path: Path) -> None:
    with redis_server(tmp_path, requirepass="another") as server:
        async with ResumableStreams(f"redis://:hunter2@{server.address}") as streams:
            with pytest.raises(Unavailable, match="invalid username-password pair") as refused:
                await streams.state("a")
    assert "hunter2" not in str(refused.value)
    for wrong in ("redis://:hun/ter2@host:6379", "redis://:hun#ter2@host", "redis://h:hunter2"):
        with pytest.raises(ValueError, match="the URL of a Redis must have") as invalid:
            ResumableStreams(wrong)
        assert "ter2" not in str(invalid.value)


class DeafBroker(MemoryBroker):
    async def subscribe(self, channel: str, receive: Callable[[str], None]) -> None:
        raise OSError("no answer")


async def test_the_id_of_a_stream_that_was_not_created_is_free() -> None:
    """Check an id that was counted already, although no process listens for its readers."""
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
            reader = await resumed(other)
            tap.give("before ")
            assert (await anext(creator), await anext(reader)) == ("before ", "before ")
            server.kill()
            tap.give("meanwhile ")
            assert await anext(creator) == "meanwhile "
            server.start()  # and it has forgotten everything
            await until(lambda: state_is(other, "active"), within_s=SERVER_PATIENCE_S)
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
            await until(lambda: state_is(other, "done"))
            left = await other.resumable("b", Tap())
            server.kill()
            assert left is not None
            await left.aclose()
            await other.aclose(wait=0)


async def test_readers_get_all_text_although_redis_kills_their_pubsub_connections(
    redis: RedisServer, on_redis: MakeStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis does so to a client that reads too slowly; a reader that comes just then is no case."""
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
            await streams._broker_here().subscribe("channel", print)
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


# Of a producer that shares two cores with other tests; a second, by default, may be too short.
ANSWERED_WITHIN_S = 20.0

PRODUCER = """
import asyncio, sys
from headgate import ResumableStreams

async def lines():
    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        yield line.decode()

async def main():
    async with ResumableStreams(sys.argv[1]) as streams:
        reader = await streams.create("a", lines)
        print("ready", flush=True)
        try:
            async for _ in reader:
                pass
        except asyncio.CancelledError:
            await streams.aclose(wait=0)
            raise

asyncio.run(main())
"""


@contextlib.contextmanager
def producer(url: str) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """Another process that has created the stream `a`, of the lines that it reads."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", PRODUCER, url]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("naïve\n🙂\n")
        try:
            yield process, process.stdin
        finally:
            process.kill()


async def test_readers_of_another_process_resume_its_text_and_end_when_it_is_interrupted_or_killed(
    redis: RedisServer, on_redis: MakeStreams
) -> None:
    streams = on_redis(resume_timeout=ANSWERED_WITHIN_S)
    with producer(redis.url) as (process, lines):
        reader = await streams.resumable("a", Tap(), 2)
        assert reader is not None
        first = await anext(reader)
        lines.write("more\n")
        lines.close()
        assert first + await whole(reader) == "ïve\n🙂\nmore\n"
        assert process.wait() == 0
    assert await streams.state("a") == "done"
    redis.command("FLUSHALL")
    with producer(redis.url) as (process, lines):
        reader = await resumed(streams)
        process.send_signal(signal.SIGINT)
        with pytest.raises(SourceFailed, match="the producer of stream 'a' was stopped"):
            await whole(reader)
        lines.close()  # which its thread waits for
        assert process.wait() != 0
    assert await streams.state("a") == "done"
    redis.command("FLUSHALL")
    with producer(redis.url) as (process, lines):
        process.kill()
    assert await on_redis(resume_timeout=0.1).resumable("a", Tap()) is None
    assert await streams.state("a") == "active"
    assert redis.command("TTL", sentinel("a")) > 0  # it is forgotten some day


def test_one_object_serves_event_loops_one_after_the_other(redis: RedisServer) -> None:
    redis.command("FLUSHALL")
    streams = ResumableStreams(redis.url)

    async def main(stream_id: str) -> str:
        text = await whole(await streams.resumable(stream_id, lambda: chunks("text")))
        with pytest.raises(RuntimeError, match="is open in another event loop: close it there"):
            await asyncio.to_thread(asyncio.run, streams.state("a"))
        await streams.aclose()
        return text

    assert [asyncio.run(main(stream_id)) for stream_id in "abc"] == ["text"] * 3
