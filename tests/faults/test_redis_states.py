"""Redis that cannot take what it is given: a clear refusal, one log line, and no restart after."""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from redis import ResponseError

from tests.faults.disk import append, append_at_once, assert_refused, content, create
from tests.faults.redis_gateway import (
    append_until_taken,
    assert_degraded,
    assert_not_ready,
    assert_told_once,
    await_ready,
    complaints,
    gateway_to,
    lose_the_disk,
    redis_gateway,
    starting,
)
from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.redis_servers import HOST, RedisServer, redis_server
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from tests.support.processes import Headgate

pytestmark = [pytest.mark.usefixtures("processes"), pytest.mark.timeout(240)]

SECRET = "s3cret-words"
WRITERS = 16
# Connecting, and then waiting for an answer, have five seconds each.
MOST_WAIT_S = 15.0


@pytest.fixture
def redis(processes: None, tmp_path: Path) -> Iterator[RedisServer]:
    options = {"busy_reply_threshold": "50", "enable_protected_configs": "yes"}
    with redis_server(tmp_path / "redis", **options) as server:
        yield server


@dataclass(frozen=True)
class Fault:
    """A state in which Redis refuses commits, and the words that tell it apart."""

    begin: Callable[[RedisServer], None]
    end: Callable[[RedisServer], None]
    words: tuple[str, ...]
    cuts: bool = False
    """It ends connections, and a look at Redis that was under way then has only that to tell."""
    is_read: bool = False
    """Reads go on."""

    def assert_told(self, gateway: Headgate) -> None:
        (assert_degraded if self.is_read else assert_not_ready)(gateway, *self.words)


def _set(**values: str) -> Callable[[RedisServer], None]:
    pairs = [part for name, value in values.items() for part in (name.replace("_", "-"), value)]
    return lambda redis: redis.command("CONFIG", "SET", *pairs)


def _follow_nobody(redis: RedisServer) -> None:
    redis.command("REPLICAOF", HOST, free_port())


def _lead(redis: RedisServer) -> None:
    redis.command("REPLICAOF", "NO", "ONE")


def _forbid_functions(redis: RedisServer) -> None:
    redis.command("ACL", "SETUSER", "default", "-fcall")


def _allow_functions(redis: RedisServer) -> None:
    redis.command("ACL", "SETUSER", "default", "+fcall")


def _change_password(redis: RedisServer) -> None:
    redis.command("CONFIG", "SET", "requirepass", SECRET)
    redis.password = SECRET
    redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def _remove_password(redis: RedisServer) -> None:
    redis.command("CONFIG", "SET", "requirepass", "")
    redis.password = None


def _run_endless_script(redis: RedisServer) -> None:
    with socket.create_connection((HOST, redis.port)) as connection:
        connection.sendall(b'EVAL "while true do end" 0\r\n')
    wait_until(lambda: _is_busy(redis), "the script to count as slow", redis.output)


def _is_busy(redis: RedisServer) -> bool:
    try:
        redis.command("PING")
    except ResponseError as refusal:
        return str(refusal).startswith("BUSY")
    return False


def _end_script(redis: RedisServer) -> None:
    redis.command("SCRIPT", "KILL")


FAULTS = {
    "out of memory": Fault(
        _set(maxmemory="1"), _set(maxmemory="0"), ("out of memory",), is_read=True
    ),
    "read-only": Fault(_follow_nobody, _lead, ("is a replica",)),
    "too few replicas": Fault(
        _set(min_replicas_to_write="1"),
        _set(min_replicas_to_write="0"),
        ("fewer replicas",),
        is_read=True,
    ),
    "not permitted": Fault(_forbid_functions, _allow_functions, ("may not do",)),
    "password changed": Fault(
        _change_password, _remove_password, ("user name or password",), cuts=True
    ),
    "cannot save": Fault(lose_the_disk, _set(save=""), ("cannot write its data",), is_read=True),
    "busy": Fault(_run_endless_script, _end_script, ("busy with a script",)),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_appends_are_refused_while_redis_accepts_none(redis: RedisServer, fault: Fault) -> None:
    with redis_gateway(redis.url) as gateway:
        create(gateway, "log", b"first ")
        fault.begin(redis)
        if fault.cuts:
            fault.assert_told(gateway)
        refused = append(gateway, "log", b"refused ")
        assert_refused([refused])
        refused.assert_problem(503, *fault.words)
        assert_refused(append_at_once(gateway, "log", [b"refused "] * WRITERS))
        assert_refused([ask(gateway.port, "PUT", "/v1/stream/new", content_type="text/plain")])
        fault.assert_told(gateway)
        fault.end(redis)
        append_until_taken(gateway, "log", b"second ")
        assert content(gateway, "log") == b"first second "
        assert ask(gateway.port, "GET", "/v1/stream/new").status == 404
        await_ready(gateway)
        assert_told_once(gateway, "log.failed", *(() if fault.cuts else fault.words))


@contextlib.contextmanager
def _starting(redis: RedisServer, gateway: Headgate) -> Iterator[Future[Headgate]]:
    """The same as `starting`; both servers are killed in the end."""
    try:
        with starting(gateway) as started:
            yield started
    finally:
        redis.kill()


def test_a_gateway_started_without_redis_serves_once_redis_is_up(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path / "redis")
    gateway = gateway_to(redis.url)
    with _starting(redis, gateway) as started:
        assert_not_ready(gateway, f"127.0.0.1:{redis.port}: Connection refused")
        refused = [
            ask(gateway.port, "PUT", "/v1/stream/log", content_type="text/plain"),
            ask(gateway.port, "GET", "/v1/stream/log"),
            ask(gateway.port, "GET", "/v1/stream/log?offset=now&live=long-poll"),
            append(gateway, "log", b"refused "),
        ]
        assert_refused(refused)
        redis.start()
        started.result()
        create(gateway, "log", b"first ")
        assert content(gateway, "log") == b"first "
        assert_told_once(gateway, "log.failed", "refused")


def test_a_wrong_redis_password_is_refused_until_it_is_corrected(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path / "redis", options={"requirepass": "another"}).start()
    gateway = gateway_to(f"redis://:{SECRET}@{redis.address}")
    with _starting(redis, gateway) as started:
        assert_not_ready(gateway, "user name or password")
        refused = ask(gateway.port, "PUT", "/v1/stream/log", content_type="text/plain")
        assert_refused([refused])
        redis.command("CONFIG", "SET", "requirepass", SECRET)
        started.result()
        create(gateway, "log", b"first ")
        assert_told_once(gateway, "log.failed", "user name or password")


def test_a_gateway_refuses_appends_while_redis_loads_and_accepts_them_afterwards(
    tmp_path: Path,
) -> None:
    slow = {"key_load_delay": "100", "loading_process_events_interval_bytes": "1024"}
    with redis_server(tmp_path / "redis", **slow) as redis, redis_gateway(redis.url) as gateway:
        create(gateway, "log", b"first ")
        redis.command("DEBUG", "POPULATE", 100_000)
        redis.command("SAVE")
        redis.kill()
        redis.spawn()
        refused = []

        def is_known_to_load() -> bool:  # not when it has just been looked for, before it was there
            refused.append(append(gateway, "log", b"refused "))
            return "loading its data" in refused[-1].json()["detail"]

        wait_until(is_known_to_load, "the gateway to know that it loads", gateway.output)
        assert_refused(refused)
        assert_not_ready(gateway, "loading its data")
        redis.command("CONFIG", "SET", "key-load-delay", "0")
        append_until_taken(gateway, "log", b"second ")
        assert content(gateway, "log") == b"first second "


@pytest.mark.parametrize("command", ["FUNCTION", "SCRIPT"])
def test_flushed_redis_functions_are_loaded_again_without_a_refused_request(
    redis: RedisServer, command: str
) -> None:
    with redis_gateway(redis.url) as gateway:
        create(gateway, "log")
        for number in range(10):
            redis.command(command, "FLUSH")
            assert append(gateway, "log", b"%d " % number).status == 204
            redis.command(command, "FLUSH")
            assert content(gateway, "log") == b"".join(b"%d " % n for n in range(number + 1))
        expected = {"log.history_changed", "log.not_durable", "log.notifications_lost"}
        assert set(complaints(gateway)) <= expected


def test_appends_while_redis_is_paused_are_refused_soon(redis: RedisServer) -> None:
    with redis_gateway(redis.url) as gateway:
        create(gateway, "log", b"first ")
        redis.pause()
        try:
            began = time.monotonic()
            answers = append_at_once(gateway, "log", [b"refused "] * WRITERS)
            waited = time.monotonic() - began
            assert_not_ready(gateway)
        finally:
            redis.resume()
        assert_refused(answers)
        assert waited < MOST_WAIT_S
        append_until_taken(gateway, "log", b"second ")
        first, *refused, second = content(gateway, "log").split()
        assert (first, second) == (b"first", b"second")
        # Redis may get to what it was sent when it wakes up, and only to that.
        unknown = [answer for answer in answers if "not known" in answer.json()["detail"]]
        assert len(refused) <= len(unknown)
        assert_told_once(gateway, "log.failed")


def test_the_redis_password_appears_in_no_response_or_log(redis: RedisServer) -> None:
    told: list[bytes] = []

    def ask_everything() -> None:
        for target in ("/readyz", "/readyz?verbose", "/metrics", "/healthz"):
            told.append(ask(gateway.admin_port, "GET", target).body)
        told.append(ask(gateway.port, "GET", "/v1/stream/log").body)
        told.append(append(gateway, "log", b"data").body)

    gateway = gateway_to(f"redis://app:{SECRET}@{redis.address}")
    with _starting(redis, gateway) as started:
        assert_not_ready(gateway, "user name or password")
        ask_everything()
        redis.command("ACL", "SETUSER", "app", "on", f">{SECRET}", "~*", "&*", "+@connection")
        assert_not_ready(gateway, "may not do")
        ask_everything()
        redis.command("ACL", "SETUSER", "app", "+@all")
        started.result()
        create(gateway, "log", b"first ")
        ask_everything()
        redis.kill()
        assert_refused([append(gateway, "log", b"refused ")])
        ask_everything()
        gateway.terminate()
        told.append(gateway.output().encode())
    assert b"user name or password" in b"".join(told)
    assert SECRET.encode() not in b"".join(told)
