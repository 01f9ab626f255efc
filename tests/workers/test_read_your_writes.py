"""Clients that have the answer to a write read that write, whichever worker serves the read."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import count
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from headgate_gateway.runtime.write_journal import RING_BYTES
from tests.edge.gateways import edge
from tests.support.blocking_origin import BlockingOrigin
from tests.support.examples import cases
from tests.support.http1 import Wire, request
from tests.support.waiting import wait_until
from tests.workers.own_writes import KEPT, ORIGINS, connections, read_after_appends, stopped
from tests.workers.several import several

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.blocking_origin import Exchange
    from tests.support.http1 import Answer
    from tests.workers.several import Several

pytestmark = pytest.mark.timeout(180)

READS = 400
MISSED = "headgate_missed_writes_total"
_numbers = count()


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("kind", cases(ORIGINS, {"file", "reference"}, "a file, and an origin"))
def test_reads_right_after_an_append_return_the_append_while_workers_are_stopped_and_resumed(
    kind: str, tmp_path: Path
) -> None:
    with ORIGINS[kind](tmp_path) as url, several(url, route=KEPT) as server:
        outcome = read_after_appends(server, "/v1/stream/s", READS, seed=1)
    assert outcome.stops, outcome
    assert (outcome.old, outcome.partial) == (0, 0), outcome


# ---------------------------------------------------------------- one that was stopped meanwhile


@pytest.fixture(scope="module")
def server(processes: None) -> Iterator[Several]:
    with edge("memory:", KEPT) as origin, several(origin.url, route=KEPT) as started:
        yield started


@pytest.fixture
def workers(server: Several) -> Iterator[dict[int, list[Wire]]]:
    """Open connections to each worker, and give them by its number."""
    with connections(server, 3) as found:
        yield found


@pytest.fixture
def path(workers: dict[int, list[Wire]]) -> str:
    """Create a stream of which every worker has a copy, and return its path."""
    path = f"/v1/stream/{next(_numbers)}"
    created = workers[1][0].request("PUT", path, b"one", content_type="text/plain")
    assert created.status == 201
    for wires in workers.values():
        wires[0].request("GET", f"{path}?offset=-1")
        read = wires[0].request("GET", f"{path}?offset=-1")
        assert (read.body, read.headers["x-cache"]) == (b"one", "HIT")
    return path


def written(path: str, write: str, wire: Wire) -> Answer:
    """Make a write through the worker of a connection."""
    match write:
        case "append":
            answer = wire.request("POST", path, b" two", content_type="text/plain")
        case "close":
            answer = wire.request("POST", path, stream_closed="true")
        case "delete":
            answer = wire.request("DELETE", path)
        case _:
            assert wire.request("DELETE", path).status == 204
            answer = wire.request("PUT", path, b"new", content_type="text/plain")
    assert answer.status < 300, answer
    return answer


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        ("append", (200, b"one two", None)),
        ("close", (200, b"one", "true")),
        ("delete", (404, None, None)),
        ("delete and create", (200, b"new", None)),
    ],
)
def test_a_resumed_worker_applies_a_write_before_it_answers_requests_that_waited(
    server: Several,
    workers: dict[int, list[Wire]],
    path: str,
    write: str,
    expected: tuple[int, bytes | None, str | None],
) -> None:
    reader = workers[2][0]
    with stopped(server.workers()[2]):
        written(path, write, workers[1][0])
        reader.send(request("GET", f"{path}?offset=-1"))
    read = reader.answer()
    body = read.body if read.status == 200 else None
    assert (read.status, body, read.get("stream-closed")) == expected


def test_a_write_to_one_stream_through_another_worker_leaves_other_streams_cached(
    workers: dict[int, list[Wire]], path: str
) -> None:
    writer, reader = workers[1][0], workers[2][0]
    other = f"{path}/other"
    assert writer.request("PUT", other, b"1", content_type="text/plain").status == 201
    written(other, "append", writer)
    assert reader.request("GET", f"{path}?offset=-1").headers["x-cache"] == "HIT"


def test_the_last_request_of_a_new_connection_to_a_resumed_worker_reads_the_write(
    server: Several, workers: dict[int, list[Wire]], path: str
) -> None:
    last = request("GET", f"{path}?offset=-1", connection="close")

    def asked() -> list[Wire]:
        wires = [opened.enter_context(Wire(server.port)) for _ in range(20)]
        for wire in wires:
            wire.send(last)
        return wires

    with ExitStack() as opened:
        for _ in range(2):  # so that each worker remembers the request
            assert {wire.answer().body for wire in asked()} == {b"one"}
        with stopped(server.workers()[2]):
            written(path, "append", workers[1][0])
            newcomers = asked()
        assert {wire.answer().body for wire in newcomers} == {b"one two"}


def followed(wire: Wire, path: str) -> str:
    """Have the worker of a connection follow a stream; return the stream's end."""
    wire.send(request("GET", f"{path}?offset=-1&live=sse"))
    assert wire.head().status == 200
    told = b""
    while b"upToDate" not in told:
        told += wire.chunk()
    return str(told.split(b'"streamNextOffset":"')[1].split(b'"')[0].decode())


def tail_read(path: str, tail: str) -> bytes:
    """Return a read from the tail; where there is no copy of that, a followed stream answers it."""
    return request("GET", f"{path}?offset={tail}", if_none_match='"another"')


def is_told_by_feed(wire: Wire, path: str, tail: str) -> bool:
    """Return whether a followed stream answers that there is nothing after its tail.

    The origin is not asked, as a copy of what it said would answer from then on.
    """
    answer = wire.request("GET", f"{path}?offset={tail}", cache_control="only-if-cached")
    return answer.body == b"" and answer.headers["x-cache"] == "COLLAPSED"


class SlowToTell:
    """An origin whose streams begin with one letter, and which never answers a long-poll."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}

    def play(self, exchange: Exchange) -> None:
        target = urlsplit(exchange.target)
        path, query = target.path, parse_qs(target.query)
        content = self.contents.setdefault(path, b"a")
        if "live" in query:
            return
        if exchange.method == "DELETE":
            exchange.send(b"HTTP/1.1 204 No Content\r\n\r\n")
            return
        if exchange.method == "POST":
            content = self.contents[path] = content + exchange.body
            exchange.answer(b"", f"Stream-Next-Offset: {len(content):04}")
            return
        exchange.answer(
            content[max(0, int(query["offset"][0])) :],
            "Content-Type: text/plain",
            f"Stream-Next-Offset: {len(content):04}",
            "Stream-Up-To-Date: true",
        )


@pytest.fixture(scope="module")
def silent_workers(processes: None) -> Iterator[Several]:
    """Run workers that learn of a write only from each other."""
    with BlockingOrigin(SlowToTell().play) as origin, several(origin.url) as started:
        yield started


@pytest.mark.smoke
def test_a_feed_does_not_answer_with_its_old_tail_after_a_write_through_another_worker(
    silent_workers: Several,
) -> None:
    path = "/v1/stream/appended"
    with connections(silent_workers, 2) as workers:
        live, reader = workers[2]
        tail = followed(live, path)
        wait_until(lambda: is_told_by_feed(reader, path, tail), "the tail is known")
        with stopped(silent_workers.workers()[2]):
            written(path, "append", workers[1][0])
            reader.send(tail_read(path, tail))
        assert reader.answer().body == b" two"


def test_a_long_poll_ends_with_404_after_a_deletion_through_another_worker(
    silent_workers: Several,
) -> None:
    path = "/v1/stream/deleted"
    with connections(silent_workers, 1) as workers:
        (writer,), (waiting,) = workers[1], workers[2]
        waiting.request("GET", f"{path}?offset=-1")
        waiting.send(request("GET", f"{path}?offset=0001&live=long-poll"))
        polls = 'headgate_live_readers{mode="long_poll",route="/v1/stream"}'
        wait_until(lambda: silent_workers.metrics()[polls] == 1, "the poll waits")
        written(path, "delete", writer)
        assert waiting.answer().status == 404


# ---------------------------------------------------------------- one that has missed writes

LONG = "/v1/stream/" + "x" * 2_000


def test_a_worker_that_missed_writes_drops_all_cached_copies_and_known_tails(
    server: Several, workers: dict[int, list[Wire]], path: str
) -> None:
    """More is written through the other worker than the shared memory has room for."""
    live, reader, other = workers[2][0], workers[2][1], workers[2][2]
    tail = followed(live, path)
    wait_until(lambda: is_told_by_feed(reader, path, tail), "the tail is known")
    missed = server.metrics()[MISSED]
    with stopped(server.workers()[2]):
        written(path, "append", workers[1][0])
        for _ in range(RING_BYTES // len(LONG) + 1):
            refused = workers[1][0].request("POST", LONG, b"x", content_type="text/plain")
            assert refused.status == 404
        other.send(tail_read(path, tail))
        reader.send(request("GET", f"{path}?offset=-1"))
    assert reader.answer().body == b"one two"
    assert other.answer().body == b" two"
    # A comment keeps the connection when the test has been held up.
    news = next(chunk for chunk in iter(live.chunk, b"") if chunk != b":\n")
    assert b"two" in news
    wait_until(lambda: server.metrics()[MISSED] == missed + 1, "it is counted")
    assert server.told("worker.writes_missed")[-1]["worker"] == 2
    written(path, "append", workers[1][0])
    assert reader.request("GET", f"{path}?offset=-1").body == b"one two two"
    told = b""
    while b"two" not in told:
        told += live.chunk()
    end = other.request("HEAD", path).next_offset
    wait_until(lambda: is_told_by_feed(other, path, end), "the tail is known again")
