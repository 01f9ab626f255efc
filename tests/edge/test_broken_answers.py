"""Whatever an origin sends: no reader gets a wrong byte, and nothing wrong is kept."""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.edge.gateways import edge, impatient, whole
from tests.support.blocking_origin import BlockingOrigin, Exchange
from tests.support.http1 import Answer, Wire, ask, request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.processes import Headgate

RIGHT = b"right"
RECOVERY_S = 10.0
WAIT_S = 2.0  # what the origin is given to answer, and between parts of an answer
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nCache-Control: max-age=600\r\n"


class Stage:
    """A gateway before an origin that plays something bad for a path until it is told to stop."""

    def __init__(self, gateway: Headgate, origin: BlockingOrigin) -> None:
        self.gateway = gateway
        self.origin = origin
        self._bad: dict[str, Callable[[Exchange], None]] = {}
        self._numbers = itertools.count()
        origin.play = self._play

    def path(self, play: Callable[[Exchange], None]) -> str:
        path = f"/v1/stream/stage{next(self._numbers)}"
        self._bad[path] = play
        return path

    def _play(self, exchange: Exchange) -> None:
        path = exchange.target.partition("?")[0]
        self._bad.get(path, _right)(exchange)

    def read(self, target: str, method: str = "GET") -> Answer | None:
        """The answer; None when it was cut."""
        with Wire(self.gateway.port) as wire:
            wire.send(request(method, target))
            return whole(wire, method)

    def recover(self, path: str) -> Answer:
        """The first good answer once the origin behaves; none before it may have wrong bytes."""
        self._bad.pop(path)
        deadline = time.monotonic() + RECOVERY_S
        while True:
            found = self.read(path)
            if found is not None and found.status == 200:
                return found
            assert found is None or found.status in {502, 503, 504}, found
            assert time.monotonic() < deadline, "the gateway does not recover"


def _right(exchange: Exchange) -> None:
    exchange.answer(RIGHT, "Content-Type: text/plain", "Cache-Control: max-age=600")


def _then_close(data: bytes) -> Callable[[Exchange], None]:
    def play(exchange: Exchange) -> None:
        exchange.send(data)
        exchange.close()

    return play


@pytest.fixture(scope="module")
def stage(processes: None) -> Iterator[Stage]:
    with BlockingOrigin() as origin, edge(origin.url, impatient(WAIT_S)) as gateway:
        yield Stage(gateway, origin)


def _assert_failed(found: Answer | None, *statuses: int) -> None:
    assert found is not None
    assert found.status in statuses, found
    found.assert_problem(found.status, "origin")
    assert found.headers["x-request-id"]
    assert found.headers["cache-control"] == "no-store"


# One of each kind: all of them are in tests/origin/test_answers.py.
HEADS = {
    "half a head": OK + b"Content-Len",
    "two lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nwrong",
    "CR in a header": OK + b"X: a\rSet-Cookie: b=c\r\nContent-Length: 5\r\n\r\nwrong",
    "a head without an end": OK + b"X: a\r\n" * 100_000,
}


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
BODIES = {
    "less than its length": OK + b"Content-Length: 10\r\n\r\nwron",
    "chunks without an end": CHUNKED + b"5\r\nwrong\r\n",
    "half a chunk": CHUNKED + b"5\r\nwr",
    "a chunk over its size": CHUNKED + b"4\r\nwrong\r\n0\r\n\r\n",
}


MUCH = "Cache-Control: max-age=600"


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        pytest.param("206 Partial Content", (MUCH, "Content-Range: bytes 0-4/9"), id="a-206"),
        ("304 Not Modified", (MUCH, 'ETag: "1"')),
        ("412 Precondition Failed", (MUCH, 'ETag: "1"')),
        pytest.param("416 Range Not Satisfiable", (MUCH, "Content-Range: bytes */9"), id="a-416"),
        ("429 Too Many Requests", ("Retry-After: 1",)),
        ("500 Internal Server Error", ()),
        ("503 Service Unavailable", ("Retry-After: 1",)),
    ],
)
def test_a_partial_or_conditional_response_is_not_cached(
    stage: Stage, status: str, fields: tuple[str, ...]
) -> None:
    body = b"" if status.startswith("304") else b"wrong"
    path = stage.path(lambda exchange: exchange.answer(body, *fields, status=status))
    found = stage.read(path)
    assert found is not None
    assert found.status in {int(status[:3]), 502}
    assert stage.recover(path).body == RIGHT


STALLS = {
    "no answer": b"",
    "a stall in the head": OK,
    "a stall in the length": OK + b"Content-Length: 10\r\n\r\nwron",
    "a stall in a chunk": CHUNKED + b"5\r\nwr",
}


def _go_on(exchange: Exchange) -> None:
    for _ in range(100_000):
        exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    exchange.close()


def _then_stall(data: bytes) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.send(data)


# What the origin plays, what readers get then, and whether it may look cut instead.
PLAYS: dict[str, tuple[Callable[[Exchange], None], tuple[int, ...], bool]] = {
    "a reset": (Exchange.reset, (502,), False),
    "endless informational responses": (_go_on, (502, 504), False),
    **{kind: (_then_close(sent), (502,), False) for kind, sent in HEADS.items()},
    **{kind: (_then_close(sent), (502,), True) for kind, sent in BODIES.items()},
    **{kind: (_then_stall(sent), (504,), sent not in {b"", OK}) for kind, sent in STALLS.items()},
}


@pytest.mark.parametrize(("play", "statuses", "may_be_cut"), PLAYS.values(), ids=PLAYS)
def test_a_broken_response_is_a_5xx_or_looks_cut_and_is_not_cached(
    stage: Stage, play: Callable[[Exchange], None], statuses: tuple[int, ...], may_be_cut: bool
) -> None:
    path = stage.path(play)
    found = stage.read(path)
    if found is not None or not may_be_cut:
        _assert_failed(found, *statuses)
    assert stage.recover(path).body == RIGHT


def test_a_slow_origin_response_is_passed_on_and_delays_no_other_reader(stage: Stage) -> None:
    asked = threading.Event()
    pace = threading.Event()
    is_sent = threading.Event()

    def play(exchange: Exchange) -> None:
        asked.set()
        exchange.send(OK + b"Content-Length: 5\r\n\r\n")
        for byte in RIGHT:
            pace.wait(WAIT_S / 3)
            exchange.send(bytes([byte]))
        is_sent.set()

    path = stage.path(play)
    with Wire(stage.gateway.port) as wire:
        wire.send(request("GET", path))
        assert asked.wait(RECOVERY_S)
        other = stage.read(stage.path(_right))
        assert not is_sent.is_set()
        assert other is not None
        assert other.body == RIGHT
        assert wire.answer().body == RIGHT


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_a_write_that_the_origin_drops_is_a_5xx_and_is_not_repeated(
    stage: Stage, method: str
) -> None:
    """It may have been done."""
    path = stage.path(Exchange.close)
    body = None if method == "DELETE" else b"more"
    found = ask(stage.gateway.port, method, path, body, content_type="text/plain")
    _assert_failed(found, 502, 503, 504)
    assert stage.origin.paths().count(f"{method} {path}") == 1


@pytest.mark.usefixtures("processes")
def test_an_unreachable_origin_is_a_502_or_503_with_retry_after() -> None:
    with BlockingOrigin() as origin:
        url = origin.url
    with edge(url, impatient(WAIT_S)) as gateway:
        for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
            body = b"x" if method in {"PUT", "POST"} else None
            found = ask(gateway.port, method, "/v1/stream/a", body, content_type="text/plain")
            assert found.status in {502, 503}
            assert found.headers["x-request-id"]
            assert int(found.headers["retry-after"]) >= 1
