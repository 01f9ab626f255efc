"""Workers over one Redis: whichever takes a request, the streams are the same."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.support.http1 import Wire, ask, request
from tests.support.redis_servers import redis_server
from tests.support.waiting import wait_until
from tests.workers.own_writes import connections
from tests.workers.several import Several, is_alive, several, starting
from tests.workers.silent_redis import without_messages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.redis_servers import RedisServer

pytestmark = pytest.mark.timeout(180)

STREAM = "/v1/stream/s"
READ = f"{STREAM}?offset=-1"
POLLS = 'headgate_live_readers{mode="long_poll",route="/v1/stream"}'
MANY = 20  # connections, so that each worker has some
CHUNK = b"x" * 300_000  # is a whole one, and more


@pytest.fixture
def redis(processes: None, tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis", appendonly="yes", appendfsync="always") as started:
        yield started


@pytest.fixture
def server(processes: None, redis: RedisServer) -> Iterator[Several]:
    with several(redis.url) as started:
        answer = ask(started.port, "PUT", STREAM, b"0,", content_type="text/plain")
        assert answer.status == 201
        yield started


def append(server: Several, number: int) -> None:
    """On a new connection, hence through any worker."""
    answer = ask(server.port, "POST", STREAM, b"%d," % number, content_type="text/plain")
    assert answer.status == 204


def content(numbers: range) -> bytes:
    return b"".join(b"%d," % number for number in numbers)


def log_up(server: Several) -> float:
    return server.metrics()['headgate_storage_up{route="/v1/stream"}']


def test_an_append_through_one_worker_is_read_through_the_other(server: Several) -> None:
    for number in range(1, MANY):
        append(server, number)
        assert ask(server.port, "GET", READ).body == content(range(number + 1))
    assert {ask(server.port, "GET", READ).body for _ in range(MANY)} == {content(range(MANY))}


@pytest.mark.usefixtures("processes")
def test_a_stream_deleted_through_one_worker_is_not_read_through_the_other(
    redis: RedisServer,
) -> None:
    """Redis never reports the removal here, and a whole chunk is served for a while unchecked."""
    with (
        without_messages(redis.port) as port,
        several(f"redis://127.0.0.1:{port}") as server,
        connections(server, 1) as workers,
    ):
        (writer,), (reader,) = workers[1], workers[2]
        assert writer.request("PUT", STREAM, CHUNK, content_type="text/plain").status == 201
        assert writer.request("POST", STREAM, b"more", content_type="text/plain").status == 204
        reader.request("GET", READ)
        assert reader.request("GET", READ).headers["x-cache"] == "HIT"
        assert writer.request("DELETE", STREAM).status == 204
        assert reader.request("GET", READ).status == 404


def test_long_polls_at_all_workers_get_an_append_taken_by_one_worker(server: Several) -> None:
    tail = ask(server.port, "HEAD", STREAM).next_offset
    with ExitStack() as opened:
        wires = [opened.enter_context(Wire(server.port)) for _ in range(MANY)]
        for wire in wires:
            wire.send(request("GET", f"{STREAM}?offset={tail}&live=long-poll"))
        wait_until(lambda: server.metrics()[POLLS] == MANY, "all polls wait")
        append(server, 1)
        assert {(answer.status, answer.body) for answer in (wire.answer() for wire in wires)} == {
            (200, b"1,")
        }


def test_killed_workers_lose_no_acknowledged_append_in_redis(server: Several) -> None:
    for times in range(4):
        end = MANY * (times + 1) + 1
        for number in range(end - MANY, end):
            append(server, number)
        os.kill(server.workers()[times % 2 + 1], signal.SIGKILL)
        wait_until(lambda seen=times: len(server.events("worker.ended")) > seen, "it is dead")  # type: ignore[misc]
        assert ask(server.port, "GET", READ).body == content(range(end))
        wait_until(server.is_ready, "the new worker serves")
    wait_until(lambda: server.metrics()["headgate_worker_restarts_total"] == 4, "all are counted")


@pytest.mark.usefixtures("processes")
def test_readiness_and_metrics_report_that_no_worker_reaches_redis(
    redis: RedisServer, server: Several
) -> None:
    redis.kill()
    wait_until(
        lambda: server.check("log /v1/stream").startswith("worker 1, 2: "),
        "both workers find Redis away",
    )
    wait_until(lambda: server.readyz().status == 503, "both tell it")
    wait_until(lambda: log_up(server) == 0, "the metrics tell it, too")
    redis.start()
    wait_until(server.is_ready, "both workers found it again")
    wait_until(lambda: log_up(server) == 1, "the metrics tell it, too")
    assert ask(server.port, "GET", READ).body == b"0,"


@pytest.mark.usefixtures("processes")
def test_workers_that_wait_for_a_silent_redis_end_at_a_stop_signal(redis: RedisServer) -> None:
    """Before its first answer, or the time to wait for it is over, nothing is served."""
    redis.pause()
    with starting(redis.url) as server:
        wait_until(server.has_admin, "the supervisor listens")
        assert server.check("worker 1") == "starting"
        pids = server.workers()
        server.signal()
        assert server.exit_status(20) == 0
        assert [pid for pid in pids.values() if is_alive(pid)] == []
        assert server.events("worker.started") == []
        assert server.events("worker.killed") == []
