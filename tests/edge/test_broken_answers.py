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
from tests.support.raw_origin import answer

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
def stage() -> Iterator[Stage]:
    with BlockingOrigin() as origin, edge(origin.url, impatient(WAIT_S)) as gateway:
        yield Stage(gateway, origin)


def _assert_failed(found: Answer | None, *statuses: int) -> None:
    assert found is not None
    assert found.status in statuses, found
    found.assert_problem(found.status, "origin")
    assert found.headers["x-request-id"]
    assert found.headers["cache-control"] == "no-store"


def _assert_failed_or_cut(stage: Stage, path: str) -> None:
    """Whoever reads it now sees that it went wrong, and whoever reads it later that it is right."""
    found = stage.read(path)
    if found is not None:
        _assert_failed(found, 502)
    assert stage.recover(path).body == RIGHT


# ---------------------------------------------------------------- heads

HEADS = {
    "nothing": b"",
    "a line": b"hello\r\n\r\n",
    "no version": b"200 OK\r\nContent-Length: 5\r\n\r\nwrong",
    "another protocol": b"ICY 200 OK\r\nContent-Length: 5\r\n\r\nwrong",
    "another version": b"HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nwrong",
    "HTTP/0.9": b"<html>wrong</html>",
    "TLS": b"\x15\x03\x03\x00\x02\x02\x46" + bytes(30),
    "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18),
    "zeros": bytes(10_000),
    "half a status line": b"HTTP/1.1 20",
    "half a head": OK + b"Content-Len",
    "no status": b"HTTP/1.1 OK\r\nContent-Length: 5\r\n\r\nwrong",
    "a small status": b"HTTP/1.1 99 Less\r\nContent-Length: 5\r\n\r\nwrong",
    "a large status": b"HTTP/1.1 1000 More\r\nContent-Length: 5\r\n\r\nwrong",
    "a status of 600": b"HTTP/1.1 600 More\r\nContent-Length: 5\r\n\r\nwrong",
    "a negative status": b"HTTP/1.1 -200 Minus\r\nContent-Length: 5\r\n\r\nwrong",
    "another protocol from here on": (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nwrong"
    ),
    "a signed length": OK + b"Content-Length: +5\r\n\r\nwrong",
    "a negative length": OK + b"Content-Length: -5\r\n\r\nwrong",
    "no length": OK + b"Content-Length: five\r\n\r\nwrong",
    "two lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nwrong",
    "a list of lengths": OK + b"Content-Length: 5, 6\r\n\r\nwrong",
    "a length and chunks": (
        OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwrong\r\n0\r\n\r\n"
    ),
    "another coding": OK + b"Transfer-Encoding: gzip\r\n\r\nwrong",
    "chunks twice": OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n5\r\nwrong\r\n0\r\n\r\n",
    "chunks of HTTP/1.0": (
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwrong\r\n0\r\n\r\n"
    ),
    "NUL in a header": OK + b"X: a\0b\r\nContent-Length: 5\r\n\r\nwrong",
    "CR in a header": OK + b"X: a\rSet-Cookie: b=c\r\nContent-Length: 5\r\n\r\nwrong",
    "a header without a colon": OK + b"X\r\nContent-Length: 5\r\n\r\nwrong",
    "a header with a space": OK + b"X : a\r\nContent-Length: 5\r\n\r\nwrong",
    "a huge header": OK + b"X: " + b"a" * 1_000_000 + b"\r\nContent-Length: 5\r\n\r\nwrong",
    "many headers": OK + b"X: a\r\n" * 10_000 + b"Content-Length: 5\r\n\r\nwrong",
    "a head without an end": OK + b"X: a\r\n" * 100_000,
}


@pytest.mark.parametrize("sent", HEADS.values(), ids=HEADS)
def test_a_malformed_origin_response_is_a_502_and_is_not_cached(stage: Stage, sent: bytes) -> None:
    path = stage.path(_then_close(sent))
    _assert_failed(stage.read(path), 502)
    assert stage.recover(path).body == RIGHT


def test_a_connection_reset_by_the_origin_is_a_502_and_is_not_cached(stage: Stage) -> None:
    path = stage.path(Exchange.reset)
    _assert_failed(stage.read(path), 502)
    assert stage.recover(path).body == RIGHT


def test_the_final_response_after_an_informational_one_is_passed_on(stage: Stage) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    path = stage.path(lambda exchange: exchange.send(early + answer(RIGHT)))
    found = stage.read(path)
    assert found is not None
    assert (found.status, found.body) == (200, RIGHT)
    assert "link" not in found.headers


def test_a_folded_header_of_the_origin_adds_no_header(stage: Stage) -> None:
    folded = OK + b"X: a\r\n Set-Cookie: b\r\nContent-Length: 5\r\n\r\n" + RIGHT
    found = stage.read(stage.path(lambda exchange: exchange.send(folded)))
    assert found is not None
    assert "set-cookie" not in found.headers
    assert found.status == 502 or found.headers["x"].split() == ["a", "Set-Cookie:", "b"]


def test_endless_informational_responses_are_a_502_or_504(stage: Stage) -> None:
    def play(exchange: Exchange) -> None:
        for _ in range(100_000):
            exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        exchange.close()

    path = stage.path(play)
    _assert_failed(stage.read(path), 502, 504)
    assert stage.recover(path).body == RIGHT


# ---------------------------------------------------------------- bodies

CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
BODIES = {
    "no byte of its length": OK + b"Content-Length: 10\r\n\r\n",
    "less than its length": OK + b"Content-Length: 10\r\n\r\nwron",
    "much less than its length": OK + b"Content-Length: 1000000\r\n\r\n" + b"w" * 500_000,
    "chunks without an end": CHUNKED + b"5\r\nwrong\r\n",
    "half a chunk": CHUNKED + b"5\r\nwr",
    "half a chunk's size": CHUNKED + b"5\r\nwrong\r\n1",
    "no chunk": CHUNKED,
    "a last chunk without its end": CHUNKED + b"5\r\nwrong\r\n0\r\n",
    "a chunk over its size": CHUNKED + b"4\r\nwrong\r\n0\r\n\r\n",
    "a chunk that has no size": CHUNKED + b"5\r\nwrong\r\nxyz\r\nwrong\r\n0\r\n\r\n",
    "a chunk of negative size": CHUNKED + b"5\r\nwrong\r\n-5\r\nwrong\r\n0\r\n\r\n",
    "a chunk with 0x": CHUNKED + b"5\r\nwrong\r\n0x5\r\nwrong\r\n0\r\n\r\n",
    "a chunk without measure": CHUNKED + b"5\r\nwrong\r\n" + b"f" * 17 + b"\r\nwrong\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("sent", BODIES.values(), ids=BODIES)
def test_a_body_closed_too_early_looks_cut_to_the_client_and_is_not_cached(
    stage: Stage, sent: bytes
) -> None:
    path = stage.path(_then_close(sent))
    _assert_failed_or_cut(stage, path)


@pytest.mark.parametrize("sent", BODIES.values(), ids=BODIES)
def test_a_body_cut_by_a_reset_looks_cut_to_the_client_and_is_not_cached(
    stage: Stage, sent: bytes
) -> None:
    def play(exchange: Exchange) -> None:
        exchange.send(sent)
        exchange.reset()

    path = stage.path(play)
    _assert_failed_or_cut(stage, path)


def test_a_body_delimited_by_the_connection_end_is_passed_on_and_not_cached(stage: Stage) -> None:
    """Nobody can tell whether it was cut."""
    path = stage.path(_then_close(OK + b"\r\nwro"))
    found = stage.read(path)
    assert found is not None
    assert found.body == b"wro"
    assert stage.recover(path).body == RIGHT


def test_body_that_ends_with_a_reset_is_cut(stage: Stage) -> None:
    cached = threading.Event()

    def play(exchange: Exchange) -> None:
        exchange.send(OK + b"\r\n" + b"w" * 100_000)
        cached.wait(WAIT_S / 2)  # a reset overtakes what the other side has not read yet
        exchange.reset()

    path = stage.path(play)
    _assert_failed_or_cut(stage, path)


@pytest.mark.parametrize(
    ("method", "head", "body"),
    [
        pytest.param(
            "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright", RIGHT, id="a-200"
        ),
        pytest.param("GET", b"HTTP/1.1 204 No Content\r\n\r\n", b"", id="a-204"),
        pytest.param(
            "GET",
            b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nwrong",
            b"",
            id="a-204-with-a-length",
        ),
        pytest.param(
            "HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong", b"", id="a-head-response"
        ),
        pytest.param("GET", CHUNKED + b"5\r\nright\r\n0\r\n\r\n", RIGHT, id="chunks"),
    ],
)
@pytest.mark.parametrize(
    "more", [b"MORE", pytest.param(OK + b"Content-Length: 5\r\n\r\nwrong", id="a-whole-response")]
)
def test_surplus_bytes_behind_an_origin_response_reach_no_other_client(
    stage: Stage, method: str, head: bytes, body: bytes, more: bytes
) -> None:
    path = stage.path(lambda exchange: exchange.send(head + more))
    found = stage.read(path, method)
    assert found is not None
    assert found.status in {200, 204, 502}
    assert found.status == 502 or found.body == body
    for _ in range(10):
        other = stage.read(stage.path(_right))
        assert other is not None
        assert (other.status, other.body) == (200, RIGHT)


# ---------------------------------------------------------------- statuses


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


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(stage: Stage, status: int) -> None:
    def play(exchange: Exchange) -> None:
        exchange.answer(b"", f"Location: {exchange.target}", status=f"{status} Elsewhere")

    path = stage.path(play)
    found = stage.read(path)
    assert found is not None
    assert found.status in {status, 502}
    assert stage.origin.paths().count(f"GET {path}") == 1


# ---------------------------------------------------------------- time


def test_origin_that_never_answers_is_a_504(stage: Stage) -> None:
    path = stage.path(lambda exchange: None)
    began = time.monotonic()
    _assert_failed(stage.read(path), 504)
    assert time.monotonic() - began < 10 * WAIT_S
    assert stage.recover(path).body == RIGHT


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(OK, id="within-the-head"),
        pytest.param(OK + b"Content-Length: 10\r\n\r\nwron", id="within-the-length"),
        pytest.param(CHUNKED + b"5\r\nwr", id="within-a-chunk"),
    ],
)
def test_an_origin_that_stalls_within_its_response_is_a_504_or_a_cut(
    stage: Stage, sent: bytes
) -> None:
    path = stage.path(lambda exchange: exchange.send(sent))
    found = stage.read(path)
    if found is not None:
        _assert_failed(found, 504)
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
