"""Live readers of one stream hang on one poll of the origin, through all its troubles."""

from __future__ import annotations

import base64
import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.edge.events import Events
from tests.edge.gateways import PREFIX, edge, impatient
from tests.edge.long_poll_log import LongPollOrigin, offset_after
from tests.support.blocking_origin import Exchange
from tests.support.http1 import Wire, ask, request
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.edge.long_poll_log import LongPollLog, Trouble
    from tests.support.processes import Headgate

VIEWERS = 10
WAIT_S = 2.0


class Stage:
    """A gateway before an origin with long-polls only, and a stream of one message there."""

    def __init__(self, gateway: Headgate, origin: LongPollOrigin) -> None:
        self.gateway = gateway
        self.origin = origin

    def begin(self, content_type: str = "text/plain", first: bytes = b"first ") -> LongPollLog:
        log = self.origin.begin(content_type)
        log.append(first)
        wait_until(lambda: ask(self.gateway.port, "GET", f"{PREFIX}/none").status == 404)
        return log

    @contextlib.contextmanager
    def viewers(self, log: LongPollLog) -> Iterator[list[Events]]:
        """Readers of events, from the beginning."""
        target = f"{log.path}?offset=-1&live=sse"
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(Events(self.gateway.port, target)) for _ in range(VIEWERS)]

    @contextlib.contextmanager
    def pollers(self, log: LongPollLog) -> Iterator[list[Wire]]:
        """Readers who wait at the tail."""
        with contextlib.ExitStack() as stack:
            wires = [stack.enter_context(Wire(self.gateway.port)) for _ in range(VIEWERS)]
            for wire in wires:
                wire.send(request("GET", _poll(log)))
            log.wait_for(lambda log: log.polling == 1)
            yield wires


def _poll(log: LongPollLog) -> str:
    """A long-poll at the tail."""
    return f"{log.path}?offset={offset_after(len(log.messages))}&live=long-poll"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    patience = impatient(WAIT_S, poll_timeout=2 * WAIT_S)
    with LongPollOrigin() as origin, edge(origin.url, patience) as gateway:
        yield Stage(gateway, origin)


@pytest.fixture
def log(stage: Stage) -> Iterator[LongPollLog]:
    log = stage.begin()
    yield log
    stage.origin.end(log)


def test_viewers_of_an_origin_without_sse_are_fed_by_one_long_poll(
    stage: Stage, log: LongPollLog
) -> None:
    with stage.viewers(log) as readers:
        assert {reader.data() for reader in readers} == {b"first "}
        for number in range(20):
            log.append(b"%d " % number)
            assert {reader.data() for reader in readers} == {b"%d " % number}
    assert not [target for target in log.seen if "live=sse" in target]
    assert log.most_polling == 1
    assert len([target for target in log.seen if "live=long-poll" in target]) <= 21 + log.idle


def test_polls_and_viewers_of_one_stream_share_one_origin_poll(
    stage: Stage, log: LongPollLog
) -> None:
    with stage.viewers(log) as readers, stage.pollers(log) as wires:
        log.append(b"second ")
        assert {wire.answer().body for wire in wires} == {b"second "}
        assert {reader.data() + reader.data() for reader in readers} == {b"first second "}
    assert log.most_polling == 1


def test_binary_data_arrive_as_base64_events(stage: Stage) -> None:
    parts = [bytes(range(256)), b"\0\r\n\n data: x\n\n", b"\xff" * 1000]
    log = stage.begin("application/octet-stream", parts[0])
    with stage.viewers(log) as readers:
        assert {reader.headers["stream-sse-data-encoding"] for reader in readers} == {"base64"}
        assert {base64.b64decode(reader.data()) for reader in readers} == {parts[0]}
        for part in parts[1:]:
            log.append(part)
            assert {base64.b64decode(reader.data()) for reader in readers} == {part}
    stage.origin.end(log)


# ---------------------------------------------------------------- troubles


def _half_a_message(exchange: Exchange) -> None:
    exchange.send(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nStream-Next-Offset: 0002_0\r\n"
        b"Stream-Up-To-Date: true\r\nContent-Length: 7\r\n\r\nsec"
    )
    exchange.close()


def _half_a_chunk(exchange: Exchange) -> None:
    exchange.send(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nStream-Next-Offset: 0002_0\r\n"
        b"Stream-Up-To-Date: true\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nsecond \r\n"
    )
    exchange.close()


def _fails(exchange: Exchange) -> None:
    exchange.answer(b"", "Content-Type: text/plain", status="500 Internal Server Error")


def _is_overloaded(exchange: Exchange) -> None:
    exchange.answer(b"", "Retry-After: 0", status="503 Service Unavailable")


def _says_no_offset(exchange: Exchange) -> None:
    exchange.answer(b"second ", "Content-Type: text/plain")


def _ends_at_the_beginning(exchange: Exchange) -> None:
    exchange.answer(b"", "Content-Type: text/plain", "Stream-Next-Offset: 0000_0")


def _goes_back(exchange: Exchange) -> None:
    if "live=" in exchange.target:
        _ends_at_the_beginning(exchange)
    else:
        body = b"" if f"offset={offset_after(1)}" in exchange.target else b"first "
        exchange.answer(body, "Content-Type: text/plain", f"Stream-Next-Offset: {offset_after(1)}")


TROUBLES: dict[str, Trouble] = {
    "closes": Exchange.close,
    "resets": Exchange.reset,
    "talks nonsense": lambda exchange: exchange.send(b"nonsense\r\n\r\n"),
    "sends half a message": _half_a_message,
    "sends half a chunk": _half_a_chunk,
    "fails": _fails,
    "is overloaded": _is_overloaded,
    "tells no next offset": _says_no_offset,
}
# Reads tell that it is no other stream, so it is no error that somebody has to be told.
ODDITIES: dict[str, Trouble] = {"tells an offset before the one asked for": _goes_back}


@pytest.mark.parametrize(
    "trouble", [*TROUBLES.values(), *ODDITIES.values()], ids=[*TROUBLES, *ODDITIES]
)
def test_viewers_stay_connected_and_miss_nothing_while_polls_fail(
    stage: Stage, log: LongPollLog, trouble: Trouble
) -> None:
    with stage.viewers(log) as readers:
        assert {reader.data() for reader in readers} == {b"first "}
        log.trouble(trouble)
        log.wait_for(lambda log: log.failed >= 2)
        log.trouble(None)
        log.append(b"second ")
        assert {reader.data() for reader in readers} == {b"second "}
        log.append(b"third ")
        assert {reader.data() for reader in readers} == {b"third "}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
def test_each_waiting_poll_gets_one_error_when_the_origin_fails(
    stage: Stage, log: LongPollLog, trouble: Trouble
) -> None:
    with stage.pollers(log) as wires:
        target = _poll(log)
        log.trouble(trouble)
        answers = [wire.answer() for wire in wires]
        for answer in answers:
            assert answer.status in {500, 502, 503}
            assert answer.headers["retry-after"]
            assert answer.headers["cache-control"] == "no-store"
        assert log.failed < VIEWERS
        log.trouble(None)
        log.append(b"second ")
        for wire in wires:
            assert _until_answered(wire, target) == b"second "


def _until_answered(wire: Wire, target: str) -> bytes:
    """As clients do: an error is asked for again."""
    while (answer := wire.request("GET", target)).status != 200:
        assert answer.status in {502, 503, 504}
    return answer.body


def test_a_hanging_origin_is_a_504_for_polls_while_viewers_stay(
    stage: Stage, log: LongPollLog
) -> None:
    with stage.viewers(log) as readers:
        assert {reader.data() for reader in readers} == {b"first "}
        with stage.pollers(log) as wires:
            log.trouble(lambda exchange: None)
            for wire in wires:
                wire.answer().assert_problem(504, "origin")
        log.trouble(None)
        log.append(b"second ")
        assert {reader.data() for reader in readers} == {b"second "}


def test_a_404_of_the_origin_ends_the_viewers_of_a_stream(stage: Stage, log: LongPollLog) -> None:
    with stage.viewers(log) as readers:
        assert {reader.data() for reader in readers} == {b"first "}
        log.trouble(
            lambda exchange: exchange.answer(
                b"no such stream", "Content-Type: text/plain", status="404 Not Found"
            )
        )
        for reader in readers:
            with pytest.raises(AssertionError, match="has ended"):
                reader.data()
        with Events(stage.gateway.port, f"{log.path}?offset=-1&live=sse") as late:
            assert late.status == 404


def test_a_stream_that_has_lost_its_end_ends_its_viewers_and_refuses_polls_with_410(
    stage: Stage, log: LongPollLog
) -> None:
    """What comes to be after its new end would be taken for what they wait for."""
    with stage.viewers(log) as readers, stage.pollers(log) as wires:
        assert {reader.data() for reader in readers} == {b"first "}
        log.trouble(_ends_at_the_beginning)
        assert {wire.answer().status for wire in wires} == {503}  # it may lag
        for reader in readers:
            with pytest.raises(AssertionError, match="has ended"):
                reader.data()
        while (answer := wires[0].request("GET", _poll(log))).status == 503:
            answer.assert_problem(503, "ends before")
        assert answer.status == 410


def test_a_stream_without_readers_is_polled_no_more(stage: Stage, log: LongPollLog) -> None:
    with stage.viewers(log) as readers:
        assert {reader.data() for reader in readers} == {b"first "}
    asked = -1
    while asked != len(log.seen):  # nothing for as long as several polls are held
        asked = len(log.seen)
        log.rest()
