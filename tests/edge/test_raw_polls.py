"""A stream is followed the same without a task as with aiohttp's client, whatever is answered."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple
from unittest.mock import Mock

import pytest
from multidict import CIMultiDict

from gateway.cache.rules.cached_response import CacheRequest
from gateway.cache.rules.lost_offsets import LostOffsets
from gateway.edge.followed.followed_streams import NEWS_BYTES
from gateway.edge.followed.followed_table import FollowedTable
from gateway.edge.followed.stream_evidence import StreamEvidence
from gateway.edge.polls import follower
from gateway.edge.polls.follower import Follower
from gateway.edge.polls.poll_loop import OriginPollLoop, PollTimer
from gateway.edge.polls.poller import PolledOrigin, Poller
from gateway.edge.polls.reader_requests import ReaderRequests
from gateway.edge.polls.recent_window import RecentWindow, WindowBudget
from gateway.edge.polls.verification import Verification
from gateway.origin.plain_bodies import GATHERED_BYTES
from gateway.protocol.cache_headers import Freshness
from gateway.protocol.http.identity import IdentityHeaders
from gateway.protocol.origins.edge_target import EdgeCatchUp
from gateway.protocol.origins.followed import Span
from gateway.protocol.streams.state import Lifetime
from tests.origin.opening import TARGET, keep_one, opened
from tests.support.raw_origin import RawOrigin, Steps, answer, close
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.edge.polls.follower import PollResult
    from gateway.errors import HeadgateError
    from gateway.origin.client import Origin
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

    def lost(self, error: Exception) -> None:
        raise error


class Stage(NamedTuple):
    """A stream that is followed from 5 on; before that came `old`."""

    server: RawOrigin
    origin: Origin
    watcher: Watcher
    begin: Callable[[], OriginPollLoop]


@asynccontextmanager
async def stage(*scripts: bytes | Play, is_raw: bool = True) -> AsyncIterator[Stage]:
    read = EdgeCatchUp(TARGET, TARGET, None, (), is_clear=True)
    request = CacheRequest("a", read, FIELDS, FIELDS, "", "", Lifetime())
    watcher, window = Watcher(), RecentWindow("text/plain", "2", WindowBudget(NEWS_BYTES))
    window.append(Span("2", "5", b"old"))
    async with RawOrigin(*scripts) as server, opened(server, poll_timeout=2) as origin:
        if not is_raw:
            origin.raw = origin.raw_polls = None
        polled = PolledOrigin(origin, IdentityHeaders(), False, Freshness(), Counter())
        evidence = StreamEvidence(FollowedTable(), LostOffsets(), Mock(), lambda: 0.0)
        others = evidence.others(request)
        poller = Poller(
            polled,
            ReaderRequests(request),
            "text/plain",
            Verification(window),
            others,
            watcher.on_directives,
        )

        def begin() -> OriginPollLoop:
            asks = Follower("5", watcher, lambda: 0.0)
            return OriginPollLoop(origin, asks, poller, PollTimer(), watcher.lost)

        await keep_one(origin)
        yield Stage(server, origin, watcher, begin)
        assert origin.requests.count == 0


async def followed(*scripts: bytes | Play, is_raw: bool) -> tuple[object, ...]:
    """What is heard of a stream that these are told of, and what the origin is asked."""
    async with stage(*scripts, is_raw=is_raw) as (server, origin, watcher, begin):
        begin()
        async with asyncio.timeout(20):
            await watcher.is_over.wait()
        figures = origin.figures
        port = b":%d\r\n" % server.port
        heard = [one.head.replace(port, b":0\r\n") for one in server.heard]
        counted = dict(figures.results), sum(figures.duration.counts)
        return watcher.transcript, heard, counted, origin.servers.why_unhealthy()


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "FIRST_BACKOFF_S", 0.001)


CASES: dict[str, list[bytes | Play]] = {
    "news": [news("6"), news("7", b"more", "Stream-Cursor: 3", "Cache-Control: max-age=2")],
    "chunks": [chunked(news("6")), news("7")],
    "many chunks": [chunked(news("6", b"x" * 1000), 1)],
    "slow": [in_two(news("6")), news("7")],
    "long": [news("6", b"x" * LONG), news("7")],
    "closed with the last news": [news("9", b"x", CLOSED)],
    "nothing": [answer(b"", f"{NEXT}5", status="204 No Content")] * 3,
    "half a character": [answer(b"\xc3", TEXT, f"{NEXT}6"), news("7", b"\xa4")],
    "compressed": [news("6", b"x", "Content-Encoding: gzip"), news("6")],
    "304": [answer(b"", status="304 Not Modified"), news("6")],
    "404": [answer(b"no", status="404 Not Found")],
    "429": [answer(b"no", "Retry-After: 7", status="429 Slow Down"), news("6")],
    "500": [*[answer(b"no", status="500 Oh")] * 5, news("6")],
    "503 in chunks": [chunked(answer(b"no", status="503 Later")), news("6")],
    "cut in its head": [cut(b"HTTP/1.1 200 OK\r\nA:"), news("6")],
    "cut in its body": [cut(news("6")[:-1]), news("6")],
    "cut in its chunks": [cut(chunked(news("6"))[:-3]), news("6")],
    "closes": [close, news("6")],
    "closes again and again": [*[close] * 5, news("6")],
    "no HTTP": [cut(b"what?\r\n\r\n"), news("6")],
    "closes behind it": [news("6", b"x", "Connection: close"), news("7")],
    "by an old server": [cut(news("6").replace(b"1.1", b"1.0", 1)), news("7")],
    "until the end": [
        cut(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nStream-Next-Offset: 6\r\n\r\nx"),
        news("7"),
    ],
    "goes on": [b"HTTP/1.1 100 Continue\r\n\r\n" + news("6"), news("7")],
}


@pytest.mark.parametrize("scripts", CASES.values(), ids=CASES)
async def test_a_followed_stream_is_read_equally_by_both_origin_clients(
    scripts: list[bytes | Play],
) -> None:
    raw, general = [await followed(*scripts, END, is_raw=is_raw) for is_raw in (True, False)]
    assert raw == general


async def test_a_late_origin_is_reported_equally_by_both_origin_clients() -> None:
    async def late(to: Wire) -> None:
        await asyncio.sleep(follower.HOLDS_S + 0.3)
        await to.send(news("6"))

    async def silent(_: Wire) -> None:
        await asyncio.Event().wait()

    seen = await asyncio.gather(
        *(followed(late, silent, news("7"), END, is_raw=is_raw) for is_raw in (True, False))
    )
    assert seen[0] == seen[1]
    assert [line[0] for line in seen[0][0]] == [  # type: ignore[attr-defined] # a transcript
        *("holds", "answered", "holds", "failed", "said", "answered", "answered"),
    ]


async def test_the_raw_client_delivers_news_without_a_task() -> None:
    steps = Steps(b"", news("6"))
    async with stage(steps, Steps(b"", END)) as (server, origin, watcher, begin):
        tasks = len(asyncio.all_tasks())
        begin()
        await until(lambda: len(server.heard) == 1)
        assert len(asyncio.all_tasks()) == tasks
        assert origin.requests.count == 0, "polls take no places"
        steps.go()
        await until(lambda: len(server.heard) == 2)
        assert len(asyncio.all_tasks()) == tasks
        assert [line[0] for line in watcher.transcript] == ["answered"]
        assert server.connections == 1


@pytest.mark.parametrize("is_raw", [True, False])
async def test_a_stopped_follower_closes_its_poll(is_raw: bool) -> None:
    async with stage(Steps(b""), is_raw=is_raw) as (server, _, watcher, begin):
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
        watcher.lost = failures.append  # type: ignore[method-assign, assignment]
        begin()
        await until(lambda: bool(failures))
        assert isinstance(failures[0], ZeroDivisionError)
        assert len(server.heard) == 1
        assert origin.raw is not None
        assert (await (await origin.send("GET", TARGET, CIMultiDict())).read(9)) == b"data"
        assert server.connections == 1, "the connection is none the worse"
