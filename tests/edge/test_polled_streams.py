"""What is told of a followed stream, whatever its origin answers to the polls."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest
from multidict import CIMultiDict

from headgate_gateway.edge.followed import poll_loop
from headgate_gateway.edge.followed.evidence import StreamEvidence
from headgate_gateway.edge.followed.followed_streams import NEWS_BYTES
from headgate_gateway.edge.followed.poll_loop import OriginPollLoop
from headgate_gateway.edge.followed.poller import PolledOrigin, Poller
from headgate_gateway.edge.followed.recent_window import RecentWindow, WindowBudget
from headgate_gateway.origin.reader import GATHERED_BYTES
from headgate_gateway.protocol.cache_headers import Freshness
from headgate_gateway.protocol.http.forwarding import IdentityHeaders
from headgate_gateway.rules.followed import Span
from headgate_gateway.rules.read_rules import LostOffsets
from tests.edge.followed_parts import reading, state_of
from tests.origin.opening import TARGET, opened
from tests.support.raw_origin import RawOrigin, Steps, answer, close
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from headgate_gateway.edge.followed.origin_reads import PollResult
    from headgate_gateway.errors import HeadgateError
    from headgate_gateway.origin.client import Origin
    from tests.support.raw_origin import Play, Wire

TEXT = "Content-Type: text/plain"
NEXT = "Stream-Next-Offset: "
UP_TO_DATE, CLOSED = "Stream-Up-To-Date: true", "Stream-Closed: true"
END = answer(b"", f"{NEXT}9", CLOSED, status="204 No Content")
LONG = GATHERED_BYTES + 1
FIELDS = CIMultiDict([("Authorization", "Bearer a"), ("Via", "1.1 headgate")])


def news(end: str, body: bytes = b"data", *fields: str) -> bytes:
    return answer(body, TEXT, f"{NEXT}{end}", UP_TO_DATE, *fields)


def chunked(wire: bytes, size: int = 2) -> bytes:
    head, _, body = wire.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))
    return b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", chunks])


def in_two(wire: bytes) -> Play:
    async def play(to: Wire) -> None:
        for part in (wire[:-2], wire[-2:]):
            await to.send(part)
            await asyncio.sleep(0.05)  # longer than a body is gathered for

    return play


def cut(wire: bytes) -> Play:
    async def play(to: Wire) -> None:
        await to.send(wire)
        await to.close()

    return play


class Watcher:
    """One who hears of a stream: a transcript, and its end."""

    def __init__(self) -> None:
        self.transcript: list[tuple[object, ...]] = []
        self.is_over = asyncio.Event()

    def on_answer(self, start: str, polled: PollResult) -> None:
        self.transcript.append(("answered", start, polled))
        if polled.closed and polled.caught_up:
            self.is_over.set()

    def on_hold(self) -> None:
        self.transcript.append(("holds",))

    def on_failure(self, reason: HeadgateError, *, quietly: bool) -> None:
        self.transcript.append(("failed", type(reason), str(reason), quietly))

    def end(self, reason: HeadgateError) -> None:
        self.transcript.append(("end", type(reason), str(reason)))
        self.is_over.set()

    def on_directives(self, directives: str) -> None:
        self.transcript.append(("said", directives))

    def doubt(self) -> None:
        self.transcript.append(("doubt",))

    def on_error(self, error: Exception) -> None:
        raise error


class Stage(NamedTuple):
    """A stream that is followed from 5 on; before that came `old`."""

    server: RawOrigin
    origin: Origin
    watcher: Watcher
    begin: Callable[[], OriginPollLoop]


@asynccontextmanager
async def stage(*scripts: bytes | Play) -> AsyncIterator[Stage]:
    watcher, window = Watcher(), RecentWindow("text/plain", "2", WindowBudget(NEWS_BYTES))
    window.append(Span("2", "5", b"old"))
    async with RawOrigin(*scripts) as server, opened(server, poll_timeout=2) as origin:
        polled = PolledOrigin(origin, IdentityHeaders(), Freshness(), Counter())
        evidence = StreamEvidence(LostOffsets(), lambda: 0.0)
        state = state_of(window, reading(TARGET, FIELDS))
        state.note_directives = watcher.on_directives  # type: ignore[method-assign]
        poller = Poller(polled, state, evidence)

        def begin() -> OriginPollLoop:
            return OriginPollLoop(origin, poller, "5", watcher, lambda: 0.0)

        yield Stage(server, origin, watcher, begin)
        assert origin.requests.count == 0


async def followed(*scripts: bytes | Play) -> tuple[str, Counter[str]]:
    """What is told of a stream, and how its requests were counted."""
    async with stage(*scripts) as (server, origin, watcher, begin):
        begin()
        async with asyncio.timeout(20):
            await watcher.is_over.wait()
        assert all("Authorization: Bearer a" in heard.fields for heard in server.heard)
        assert origin.servers.why_unhealthy() is None
        told = " ".join(str(line[0]) for line in watcher.transcript)
        return told, +Counter(origin.figures.results)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poll_loop, "FIRST_BACKOFF_S", 0.001)


# What the origin answers before the end, what is told then, and how the requests are counted.
AGAIN = "failed said answered answered"
CASES: dict[str, tuple[list[bytes | Play], str, dict[str, int]]] = {
    "news": (
        [news("6"), news("7", b"more", "Stream-Cursor: 3", "Cache-Control: max-age=2")],
        "answered answered answered",
        {"2xx": 4},
    ),
    "chunks": ([chunked(news("6")), news("7")], "answered answered answered", {"2xx": 4}),
    "many chunks": ([chunked(news("6", b"x" * 1000), 1)], "answered answered", {"2xx": 3}),
    "slow": ([in_two(news("6")), news("7")], "answered answered answered", {"2xx": 4}),
    "long": ([news("6", b"x" * LONG), news("7")], "answered answered answered", {"2xx": 4}),
    "closed with the last news": ([news("9", b"x", CLOSED)], "answered", {"2xx": 1}),
    "nothing": (
        [answer(b"", f"{NEXT}5", status="204 No Content")] * 3,
        "answered answered answered answered",
        {"2xx": 5},
    ),
    "half a character": (
        [answer(b"\xc3", TEXT, f"{NEXT}6"), news("7", b"\xa4")],
        "said answered answered",
        {"2xx": 4},
    ),
    "compressed": ([news("6", b"x", "Content-Encoding: gzip"), news("6")], AGAIN, {"2xx": 4}),
    "304": ([answer(b"", status="304 Not Modified"), news("6")], AGAIN, {"2xx": 3, "3xx": 1}),
    "404": ([answer(b"no", status="404 Not Found")], "end", {"4xx": 1}),
    "429": (
        [answer(b"no", "Retry-After: 7", status="429 Slow Down"), news("6")],
        AGAIN,
        {"2xx": 3, "4xx": 1},
    ),
    "500": (
        [*[answer(b"no", status="500 Oh")] * 5, news("6")],
        f"failed failed failed failed {AGAIN}",
        {"2xx": 3, "5xx": 5},
    ),
    "503 in chunks": (
        [chunked(answer(b"no", status="503 Later")), news("6")],
        AGAIN,
        {"2xx": 3, "5xx": 1},
    ),
    "cut in its head": (
        [cut(b"HTTP/1.1 200 OK\r\nA:"), news("6")],
        AGAIN,
        {"2xx": 3, "broken": 1},
    ),
    "cut in its body": ([cut(news("6")[:-1]), news("6")], AGAIN, {"2xx": 4}),
    "cut in its chunks": ([cut(chunked(news("6"))[:-3]), news("6")], AGAIN, {"2xx": 4}),
    "closes": ([close, news("6")], AGAIN, {"2xx": 3, "broken": 1}),
    "closes again and again": (
        [*[close] * 5, news("6")],
        f"failed failed {AGAIN}",
        {"2xx": 3, "broken": 3},
    ),
    "no HTTP": ([cut(b"what?\r\n\r\n"), news("6")], AGAIN, {"2xx": 3, "broken": 1}),
    "closes behind it": (
        [news("6", b"x", "Connection: close"), news("7")],
        "answered answered answered",
        {"2xx": 4},
    ),
    "by an old server": (
        [cut(news("6").replace(b"1.1", b"1.0", 1)), news("7")],
        "answered answered answered",
        {"2xx": 4},
    ),
    "until the end": (
        [cut(f"HTTP/1.1 200 OK\r\n{TEXT}\r\n{NEXT}6\r\n\r\nx".encode()), news("7")],
        "answered answered answered",
        {"2xx": 4},
    ),
    "goes on": (
        [b"HTTP/1.1 100 Continue\r\n\r\n" + news("6"), news("7")],
        "answered answered answered",
        {"2xx": 4},
    ),
}


@pytest.mark.parametrize(("scripts", "told", "counted"), CASES.values(), ids=CASES)
async def test_a_followed_stream_is_read_whatever_its_origin_answers(
    scripts: list[bytes | Play], told: str, counted: dict[str, int]
) -> None:
    assert await followed(*scripts, END) == (told, counted)


async def test_a_late_origin_is_reported_as_holding_and_a_silent_one_as_failed() -> None:
    async def late(to: Wire) -> None:
        await asyncio.sleep(poll_loop.HOLDS_S + 0.3)
        await to.send(news("6"))

    async def silent(_: Wire) -> None:
        await asyncio.Event().wait()

    told, _ = await followed(late, silent, news("7"), END)
    assert told == "holds answered holds failed said answered answered"


async def test_news_is_delivered_without_a_task() -> None:
    steps = Steps(b"", news("6"))
    async with stage(answer(), steps, Steps(b"", END)) as (server, origin, watcher, begin):
        await (await origin.send("GET", TARGET, CIMultiDict())).read(9)  # a connection is kept
        tasks = len(asyncio.all_tasks())
        begin()
        await until(lambda: len(server.heard) == 2)
        assert len(asyncio.all_tasks()) == tasks
        assert origin.requests.count == 0, "polls take no places"
        steps.go()
        await until(lambda: len(server.heard) == 3)
        assert len(asyncio.all_tasks()) == tasks
        assert [line[0] for line in watcher.transcript] == ["answered"]
        assert server.connections == 1


async def test_a_stopped_follower_closes_its_poll() -> None:
    async with stage(Steps(b"")) as (server, _, watcher, begin):
        following = begin()
        await until(lambda: len(server.heard) == 1)
        following.stop()
        await until(lambda: server.closed == 1)
        assert watcher.transcript == []


async def test_a_follower_stopped_before_its_first_poll_sends_no_request() -> None:
    async with stage(END) as (server, _, watcher, begin):
        begin().stop()
        await asyncio.sleep(0)
        assert (server.heard, watcher.transcript) == ([], [])


async def test_an_observer_that_raises_ends_its_follower_and_spares_the_connection() -> None:
    failures: list[Exception] = []
    async with stage(news("6"), news("7")) as (server, origin, watcher, begin):
        watcher.on_answer = lambda *_: 1 / 0  # type: ignore[method-assign, assignment]
        watcher.on_error = failures.append  # type: ignore[method-assign, assignment]
        begin()
        await until(lambda: bool(failures))
        assert isinstance(failures[0], ZeroDivisionError)
        assert len(server.heard) == 1
        assert (await (await origin.send("GET", TARGET, CIMultiDict())).read(9)) == b"data"
        assert server.connections == 1, "the connection is none the worse"
