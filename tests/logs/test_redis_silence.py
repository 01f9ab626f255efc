"""A Redis that takes connections and says nothing: how long anybody waits for it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from headgate.redis_url import parse_redis
from headgate_gateway.errors import LogUnavailable
from headgate_gateway.logs.redis import primary, store
from headgate_gateway.logs.redis.connector import ONLY, RedisConnector, RedisSettings
from headgate_gateway.logs.redis.log import RedisLog
from tests.logs.contract import appended, committed, created
from tests.logs.redis_logs import connected
from tests.support.gated_log import turns
from tests.support.listener import Listener
from tests.support.redis_servers import redis_server
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from headgate_gateway.protocol.streams.state import StreamState
    from tests.support.redis_servers import RedisServer

ANSWER_S = 1.0  # in place of three seconds
PATIENCE_S = 2.0  # in place of six
FOR_EVER_S = 600.0
STEPS = 40  # turns of the loop, in which a silent server has been asked and is waited for
SLACK_S = 3.0  # of a busy machine; a connection is waited for longer, which is five seconds

ASKS: dict[str, Callable[[RedisLog, StreamState], Awaitable[object]]] = {
    "load": lambda log, _: log.load("s"),
    "read": lambda log, state: log.read(state, 0, 9),
    "commit": lambda log, state: log.commit([appended(state, b"two")]),
}


@pytest.fixture
async def silent(
    processes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[RedisServer, RedisLog, StreamState]]:
    """A server that has just fallen silent, a log there, and a stream in it."""
    monkeypatch.setattr(primary, "ANSWER_S", ANSWER_S)
    monkeypatch.setattr(store, "TIMEOUT_S", PATIENCE_S)
    with redis_server(tmp_path) as server:
        async with connected(server.url) as log:
            new = await committed(log, created(log, "s", b"one"))
            change = appended(new.state, b"!")
            await log.commit([change])  # answered after all that follows a creation
            server.pause()
            try:
                yield server, log, change.state
            finally:
                server.resume()


async def _refusal(ask: Awaitable[object]) -> tuple[str, float]:
    """Why it is refused, and how long that took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(LogUnavailable) as refusal:
        await ask
    return refusal.value.detail, loop.time() - began


@pytest.mark.parametrize("kind", ASKS)
async def test_a_request_to_a_silent_server_is_refused_within_the_timeout(
    silent: tuple[RedisServer, RedisLog, StreamState], kind: str
) -> None:
    _, log, state = silent
    why, took = await _refusal(ASKS[kind](log, state))
    assert "the log did not answer: " in why
    assert ("not known whether" in why) is (kind == "commit")
    assert ANSWER_S <= took < ANSWER_S + PATIENCE_S + SLACK_S


@pytest.mark.usefixtures("processes")
async def test_a_reply_that_came_while_the_process_stood_still_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(primary, "ANSWER_S", ANSWER_S)
    with redis_server(tmp_path) as server:
        async with connected(server.url) as log:
            change = await committed(log, created(log, "s", b"one"))
            before = server.info("stats")["total_connections_received"]
            server.pause()
            reading = asyncio.ensure_future(log.read(change.state, 0, 9))
            stop, go_on = f"kill -STOP {os.getpid()}", f"kill -CONT {os.getpid()}"
            stopping = await asyncio.create_subprocess_shell(
                f"sleep 0.2; {stop}; kill -CONT {server.pid}; sleep {2 * ANSWER_S}; {go_on}"
            )
            assert (await reading).records == (b"one",)
            await stopping.wait()
            assert server.info("stats")["total_connections_received"] == before + 1  # of this test


async def test_a_request_to_a_server_known_to_be_silent_is_refused_at_once(
    silent: tuple[RedisServer, RedisLog, StreamState],
) -> None:
    _, log, state = silent
    primary = log.store.servers.primary_of("any")
    assert primary is not None
    await until(lambda: primary.is_down)
    for ask in ASKS.values():
        why, took = await _refusal(ask(log, state))
        assert why.startswith("the log cannot be reached: no answer ")
        assert took < ANSWER_S


async def test_a_waiting_commit_completes_when_a_silent_server_answers_again(
    silent: tuple[RedisServer, RedisLog, StreamState], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "TIMEOUT_S", 60.0)
    server, log, state = silent
    change = appended(state, b"two")
    committing = log.commit([change])
    await until(lambda: log.why_unhealthy() is not None)
    server.resume()
    await committing
    assert (await log.read(change.state, 0, 9)).records == (b"one", b"!", b"two")
    await until(lambda: log.why_unhealthy() is None)


CONNECTS: dict[str, tuple[str, Callable[[RedisConnector], Awaitable[object]]]] = {
    "to a server": ("redis://{}", lambda connector: connector.connect(ONLY)),
    "to whom a sentinel names": (
        "redis+sentinel://{}/any",
        lambda connector: connector.connect(ONLY),
    ),
    "to a sentinel": (
        "redis+sentinel://{}/any",
        lambda connector: connector.connect_sentinel(connector.origin.nodes[0]),
    ),
}


@pytest.mark.parametrize("kind", CONNECTS)
async def test_a_connection_attempt_can_be_cancelled_at_each_step(kind: str) -> None:
    origin, connect = CONNECTS[kind]
    async with Listener(_say_nothing) as server:
        settings = RedisSettings(parse_redis(origin.format(f"127.0.0.1:{server.port}")), FOR_EVER_S)
        for steps in range(STEPS):
            making = asyncio.ensure_future(connect(RedisConnector(settings)))
            await turns(steps)
            making.cancel()
            await asyncio.wait({making}, timeout=SLACK_S)
            assert making.cancelled(), steps


async def test_an_opening_of_a_log_that_is_cancelled_leaves_no_task() -> None:
    """As by SIGTERM while a server starts whose Redis does not answer."""
    async with Listener(_say_nothing) as server:
        settings = RedisSettings(parse_redis(f"redis://127.0.0.1:{server.port}"), FOR_EVER_S)
        for steps in range(STEPS):
            before = asyncio.all_tasks()
            opening = asyncio.ensure_future(RedisLog(settings).open())
            await turns(steps)
            opening.cancel()
            await asyncio.wait({opening}, timeout=SLACK_S)
            assert opening.cancelled(), steps
            left = [str(task.get_coro()) for task in asyncio.all_tasks() - before]
            assert not [coro for coro in left if "Listener" not in coro], steps


async def _say_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()
