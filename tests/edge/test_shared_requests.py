"""Equal readers share one request to the origin, and none of them depends on another."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.edge.gateways import PlayedGateway, edge, impatient, whole
from tests.support.blocking_origin import BlockingOrigin, Exchange
from tests.support.http1 import Wire, ask, request
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

READERS = 100
WAIT_S = 5.0
TEXT = "Content-Type: text/plain"
DATA = (TEXT, "Stream-Next-Offset: 1_0", "Stream-Up-To-Date: true", "Stream-Cursor: 9")
KEPT = "Cache-Control: max-age=600"


def _is_of_feed(exchange: Exchange) -> bool:
    """Whether a stream is followed with it, after readers were told of what DATA has.

    After a poll that failed the feed asks without waiting.
    """
    return exchange.target.endswith(("live=long-poll&offset=1_0", "?offset=1_0"))


class Hall(PlayedGateway):
    """A gateway before an origin that is played by hand."""

    earlier: frozenset[str] = frozenset()  # paths of earlier tests, whose feeds may still ask

    def asked(self, path: str) -> int:
        """How many requests for a path have come to the origin, but for the feed's own poll."""
        return sum(self._path_of(one) == path and not _is_of_feed(one) for one in self.origin.seen)

    def next(self) -> Exchange:
        """The next request of a reader; the polls of feeds wait for ever, checks are answered."""
        while True:
            exchange = self.origin.next()
            if exchange.target == "/":  # a check of the origin that was under way
                exchange.answer(b"")
            elif not _is_of_feed(exchange) and self._path_of(exchange) not in self.earlier:
                return exchange

    @staticmethod
    def _path_of(exchange: Exchange) -> str:
        return exchange.target.partition("?")[0]

    def settle(self) -> None:
        """Until the gateway has seen everything that was sent to it before."""
        for _ in range(2):  # once to be seen, once more for what that led to
            sentinel = self.path()
            with Wire(self.port) as wire:
                wire.send(request("GET", sentinel))
                exchange = self.next()
                assert exchange.target == sentinel, exchange
                exchange.answer(b"", "Cache-Control: no-store")
                assert wire.answer().status == 200

    def recover(self) -> None:
        """Until the gateway knows that the origin is well, whatever happened before."""
        self.origin.play = lambda exchange: exchange.answer(b"", "Cache-Control: no-store")
        wait_until(lambda: ask(self.port, "GET", self.path()).status == 200)
        self.earlier |= {self._path_of(one) for one in self.origin.seen}
        self.origin.reset()

    @contextlib.contextmanager
    def waiting(self, target: str, readers: int = READERS) -> Iterator[tuple[Exchange, list[Wire]]]:
        """Readers who all wait for the one request that has come to the origin."""
        with contextlib.ExitStack() as stack:
            wires = [stack.enter_context(Wire(self.port)) for _ in range(readers)]
            wires[0].send(request("GET", target))
            exchange = self.next()
            for wire in wires[1:]:
                wire.send(request("GET", target))
            self.settle()
            yield exchange, wires


@pytest.fixture(scope="module")
def started() -> Iterator[Hall]:
    patience = impatient(WAIT_S, poll_timeout=WAIT_S)
    with BlockingOrigin() as origin, edge(origin.url, patience) as gateway:
        yield Hall(gateway.port, origin)


@pytest.fixture
def hall(started: Hall) -> Hall:
    started.recover()
    return started


TARGETS = pytest.mark.parametrize("query", ["offset=0_0", "offset=0_0&live=long-poll"])


@TARGETS
def test_simultaneous_equal_reads_share_one_origin_request(hall: Hall, query: str) -> None:
    path = hall.path()
    with hall.waiting(f"{path}?{query}") as (exchange, wires):
        exchange.answer(b"content", *DATA, KEPT)
        answers = [wire.answer() for wire in wires]
    assert {(answer.status, answer.body) for answer in answers} == {(200, b"content")}
    assert {answer.next_offset for answer in answers} == {"1_0"}
    assert hall.asked(path) == 1


@TARGETS
def test_a_shared_request_continues_when_its_first_reader_disconnects(
    hall: Hall, query: str
) -> None:
    path = hall.path()
    with hall.waiting(f"{path}?{query}") as (exchange, wires):
        wires[0].reset()
        hall.settle()
        exchange.answer(b"content", *DATA, KEPT)
        answers = [wire.answer() for wire in wires[1:]]
    assert {(answer.status, answer.body) for answer in answers} == {(200, b"content")}
    assert hall.asked(path) == 1


def test_a_shared_request_continues_when_its_first_reader_disconnects_within_the_body(
    hall: Hall,
) -> None:
    path = hall.path()
    head = f"HTTP/1.1 200 OK\r\n{KEPT}\r\nContent-Length: 7\r\n\r\n".encode()
    with hall.waiting(path) as (exchange, wires):
        exchange.send(head + b"con")
        hall.settle()
        wires[0].reset()
        hall.settle()
        exchange.send(b"tent")
        answers = [wire.answer() for wire in wires[1:]]
    assert {(answer.status, answer.body) for answer in answers} == {(200, b"content")}
    assert hall.asked(path) == 1


def test_the_next_reader_is_answered_after_all_waiting_readers_have_disconnected(
    hall: Hall,
) -> None:
    path = hall.path()
    with hall.waiting(path, readers=5) as (_, wires):
        for wire in wires:
            wire.reset()
        hall.settle()
        with Wire(hall.port) as late:
            late.send(request("GET", path))
            hall.next().answer(b"content", *DATA, KEPT)  # the first one was given up
            assert late.answer().body == b"content"


FAILURES: dict[str, tuple[Callable[[Exchange], None], set[int]]] = {
    "closes": (Exchange.close, {502}),
    "resets": (Exchange.reset, {502}),
    "talks nonsense": (lambda exchange: exchange.send(b"nonsense\r\n\r\n"), {502}),
    "says nothing": (lambda exchange: None, {504}),
    "fails": (
        lambda exchange: exchange.answer(b"", TEXT, status="500 Internal Server Error"),
        {500, 502},
    ),
    "is overloaded": (
        lambda exchange: exchange.answer(b"", TEXT, status="503 Service Unavailable"),
        {502, 503},
    ),
}


@TARGETS
@pytest.mark.parametrize(("fail", "statuses"), FAILURES.values(), ids=FAILURES)
def test_a_failed_shared_request_gives_each_reader_one_error_and_is_repeated_at_most_once(
    hall: Hall, query: str, fail: Callable[[Exchange], None], statuses: set[int]
) -> None:
    path = hall.path()
    with hall.waiting(f"{path}?{query}") as (exchange, wires):
        hall.origin.play = fail  # whatever comes next, too
        fail(exchange)
        answers = [wire.answer() for wire in wires]
    assert {answer.status for answer in answers} <= statuses
    assert all("x-request-id" in answer.headers for answer in answers)
    # One failed request may be repeated once.
    assert hall.asked(path) <= 2


def test_a_shared_response_with_a_cut_body_is_complete_for_no_reader(hall: Hall) -> None:
    path = hall.path()
    head = f"HTTP/1.1 200 OK\r\n{KEPT}\r\nContent-Length: 7\r\n\r\n".encode()
    with hall.waiting(path) as (exchange, wires):
        exchange.send(head + b"con")
        exchange.close()
        for wire in wires:
            answer = whole(wire)
            assert answer is None or answer.status == 502
    assert hall.asked(path) <= 2


def test_a_private_response_to_a_shared_request_makes_all_waiting_readers_request_at_once(
    hall: Hall,
) -> None:
    """They must not queue behind each other, either."""
    path = hall.path()
    with hall.waiting(path, readers=20) as (exchange, wires):
        exchange.answer(b"0", "Cache-Control: private")
        exchanges = [hall.next() for _ in wires[1:]]
        for number, other in enumerate(exchanges, start=1):
            other.answer(str(number).encode(), "Cache-Control: private")
        bodies = [wire.answer().body for wire in wires]
    assert len(set(bodies)) == len(wires)


def test_reads_at_different_offsets_do_not_wait_for_each_other(hall: Hall) -> None:
    path = hall.path()
    with Wire(hall.port) as first, Wire(hall.port) as second:
        first.send(request("GET", f"{path}?offset=0_0"))
        cached = hall.next()
        second.send(request("GET", f"{path}?offset=0_5"))
        hall.next().answer(b"second", *DATA)
        assert second.answer().body == b"second"
        cached.answer(b"first", *DATA)
        assert first.answer().body == b"first"


def test_a_write_does_not_wait_for_a_waiting_poll(hall: Hall) -> None:
    path = hall.path()
    with hall.waiting(f"{path}?offset=0_0&live=long-poll", readers=2) as (exchange, wires):
        with Wire(hall.port) as writer:
            writer.send(request("POST", path, b"more", content_type="text/plain"))
            hall.next().answer(b"", "Stream-Next-Offset: 1_0", status="204 No Content")
            assert writer.answer("POST").status == 204
        exchange.answer(b"more", *DATA)
        assert [wire.answer().body for wire in wires] == [b"more", b"more"]


def test_a_read_after_an_append_through_the_gateway_has_the_appended_data(hall: Hall) -> None:
    """Even when an older answer to the same read is still on its way."""
    path = hall.path()
    target = f"{path}?offset=0_0"
    with Wire(hall.port) as before, Wire(hall.port) as writer, Wire(hall.port) as after:
        before.send(request("GET", target))
        old = hall.next()
        writer.send(request("POST", path, b"more", content_type="text/plain"))
        hall.next().answer(b"", "Stream-Next-Offset: 1_0", status="204 No Content")
        assert writer.answer("POST").status == 204
        after.send(request("GET", target))
        hall.next().answer(b"more", *DATA, KEPT)
        assert after.answer().body == b"more"
        old.answer(b"", TEXT, "Stream-Next-Offset: 0_0", KEPT)
        assert before.answer().status == 200
    assert ask(hall.port, "GET", target).body == b"more"
