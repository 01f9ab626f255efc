"""Requests of every kind, of which any call may raise, and what must be left of them: nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, NamedTuple

import pytest
import structlog

from gateway.web import edge_feeds
from tests.faults.injection import Watched
from tests.support.raw_origin import RawOrigin, answer
from tests.web.serving import EDGE, PREFIX, edge_serving, get, put, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from tests.faults.injection import Call
    from tests.support.raw_origin import Wire
    from tests.web.serving import Client, Serving

PATIENCE_S = 5.0
TOLD_TAIL = ("Stream-Next-Offset: 0001", "Stream-Up-To-Date: true", "Content-Type: text/plain")
TOLD_NEWS = ("Stream-Next-Offset: 0002", "Stream-Up-To-Date: true", "Content-Type: text/plain")


class Origin(RawOrigin):
    """Answers by the name of what is asked; `busy` with so many requests."""

    def __init__(self) -> None:
        super().__init__(self._play)
        self.busy = 0

    async def _play(self, wire: Wire) -> None:
        self.busy += 1
        try:
            await self._answer(wire, self.heard[-1].line, self.heard[-1].head.lower())
        except asyncio.IncompleteReadError:
            await wire.close()
        finally:
            self.busy -= 1

    async def _answer(self, wire: Wire, line: str, head: bytes) -> None:
        if b"transfer-encoding" in head:
            await wire.until(b"0\r\n\r\n")
        elif b"content-length: " in head:
            await wire.read(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
        if "live=long-poll" in line:
            await asyncio.sleep(0.01)  # as long-polls do
            await wire.send(answer(b"news" if "0001" in line else b"", *TOLD_NEWS))
        elif "offset=" in line:
            await wire.send(answer(b"", *(TOLD_NEWS if "0002" in line else TOLD_TAIL)))
        elif "slow" in line:
            await wire.send(
                b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 8\r\n\r\n"
            )
            await wire.send(b"slow")
            await asyncio.sleep(0.06)  # longer than others wait for the whole
            await wire.send(b"slow")
        elif b"if-none-match" in head:
            await wire.send(answer(b"", 'ETag: "a"', "Cache-Control: max-age=60", status="304 OK"))
        elif "kept" in line:
            await wire.send(answer(b"kept", 'ETag: "a"', "Cache-Control: max-age=60"))
        else:
            body = b"" if line.startswith("HEAD") else b"data"
            await wire.send(answer(body, "Cache-Control: no-store"))


class Kind(NamedTuple):
    """A kind of request: what is done before it, and the request up to its answer's end."""

    before: Callable[[Serving, str], Awaitable[None]]
    ask: Callable[[Serving, Client, str], Awaitable[None]]


async def nothing(gateway: Serving, name: str) -> None:
    """Nobody has asked before."""


async def whole(client: Client, wire: bytes) -> None:
    """Ask, and read the answer."""
    told = await client.ask(wire)
    if told.get("transfer-encoding") is not None:
        await client.chunks()


def edge(method: str, *lines: str, body: bytes = b"", query: str = "") -> Kind:
    """Nothing but a request before the origin."""

    async def ask(_: Serving, client: Client, name: str) -> None:
        await whole(client, request(method, f"{EDGE}/{name}{query}", *lines, body=body))

    return Kind(nothing, ask)


async def kept(gateway: Serving, name: str) -> None:
    """Somebody has read it."""
    await gateway.ask(get(f"{EDGE}/{name}"))


async def kept_and_old(gateway: Serving, name: str) -> None:
    """Somebody has read it long ago."""
    await kept(gateway, name)
    gateway.clock.advance(61)


async def made(gateway: Serving, name: str) -> None:
    """There is a stream in the own log."""
    await gateway.ask(put(name, body=b"data"))


def own(wire: Callable[[str], bytes]) -> Kind:
    """A request for a stream of the own log."""

    async def ask(_: Serving, client: Client, name: str) -> None:
        await whole(client, wire(name))

    return Kind(made, ask)


async def sse_at_origin(_: Serving, client: Client, name: str) -> None:
    """Until the news are there."""
    client.send(get(f"{EDGE}/{name}?offset=0001&live=sse"))
    if (await client.answer()).status == 200:
        await client.events_until(lambda events: any(event.data == "news" for event in events))


async def two_polls(gateway: Serving, client: Client, name: str) -> None:
    """The second one finds the stream followed, and waits without a task."""
    await whole(client, get(f"{EDGE}/{name}?offset=0001&live=long-poll"))
    await whole(client, get(f"{EDGE}/{name}?offset=0002&live=long-poll"))


async def streamed(_: Serving, client: Client, name: str) -> None:
    """An upload whose length nobody knows before."""
    head = request("POST", f"{EDGE}/{name}", "Transfer-Encoding: chunked")
    client.send(head.replace(b"Content-Length: 0\r\n", b"") + b"3\r\nabc\r\n")
    await asyncio.sleep(0.005)
    client.send(b"3\r\ndef\r\n0\r\n\r\n")
    await client.answer()


CONDITION = 'If-None-Match: "a"'
KINDS = {
    "a read": edge("GET"),
    "a read of somebody": edge("GET", "Cookie: a"),
    "a read that is slow": Kind(nothing, edge("GET").ask),
    "a read that is kept": Kind(kept, edge("GET").ask),
    "a read that is kept and was asked for before": Kind(kept, edge("GET", CONDITION).ask),
    "a read that is validated": Kind(kept_and_old, edge("GET").ask),
    "a head": edge("HEAD"),
    "a long-poll": Kind(nothing, two_polls),
    "SSE": Kind(nothing, sse_at_origin),
    "a creation": edge("PUT", "Location: x", body=b"made"),
    "an append": edge("POST", body=b"more"),
    "a streamed append": Kind(nothing, streamed),
    "a removal": edge("DELETE"),
    "a read of an own log": own(lambda name: get(f"{name}?offset=-1")),
    "a removal from an own log": own(lambda name: request("DELETE", name)),
}


# What the origin knows them by.
WORDS = {
    "a read that is slow": "slow",
    "a read that is kept": "kept",
    "a read that is kept and was asked for before": "kept",
    "a read that is validated": "kept",
}


class Lines(logging.Handler):
    """Counts what asyncio and aiohttp complain of."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """One more."""
        self.lines.append(record.getMessage())


class Stage:
    """A gateway between clients and an origin. `base` is what it holds when nobody asks."""

    def __init__(self, gateway: Serving, origin: Origin) -> None:
        self.gateway = gateway
        self.origin = origin
        self._count = 0
        self.base = self.held()

    def held(self) -> dict[str, int]:
        """What requests hold."""
        limits = self.gateway.limits
        return {
            "connections": limits.connections,
            "live readers": limits.live_readers,
            "feeds": limits.feeds,
            "bytes in flight": limits.receiving_bytes,
            "appends": self.gateway.route.appender.pending,
            "at the origin": self.gateway.edge.origin.in_flight,
            "the origin is busy": self.origin.busy,
            "tasks": sum(_is_ours(task) for task in asyncio.all_tasks()),
        }

    async def settled(self) -> str:
        """What is held too long; empty when all is back."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while self.held() != self.base:
                    await asyncio.sleep(0.002)  # it is looked at again then
        except TimeoutError:
            now = self.held()
            return ", ".join(f"{now[what]} {what}" for what in now if now[what] != self.base[what])
        return ""

    async def run(self, kind: str, fails: Call | None = None) -> Watched:
        """One request of a kind, with a call that fails."""
        self._count += 1
        name = f"{WORDS.get(kind, 'some')}{self._count}"
        await KINDS[kind].before(self.gateway, name)
        client = await self.gateway.connect()
        watched = Watched(fails)
        with watched, contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, OSError):
            await KINDS[kind].ask(self.gateway, client, name)
        client.close()
        return watched

    async def fault(self, kind: str, call: Call) -> str:
        """What is wrong after a call has failed; empty when nothing is."""
        lines = Lines()
        self.gateway.clock.advance(1)  # the failures of an origin are told once a second
        logger = logging.getLogger()
        logger.addHandler(lines)
        wrong = []
        with structlog.testing.capture_logs() as told:
            try:
                watched = await self.run(kind, call)
            except TimeoutError:
                return "no answer"
            finally:
                logger.removeHandler(lines)
            left = await self.settled()
            if left:
                wrong.append(f"left: {left}")
        if not watched.has_failed:
            return ""
        errors = [str(one) for one in told if one["log_level"] == "error"] + lines.lines
        is_told_as_the_origins = any(one["event"] == "origin.failed" for one in told)
        if len(errors) != 1 and not (is_told_as_the_origins and not errors):
            wrong.append(f"{len(errors)} lines: {errors}")
        for target in (f"{EDGE}/next", f"{PREFIX}/next?offset=-1"):
            after = await self.gateway.ask(get(target))
            if after.status != 200:
                wrong.append(f"then {after.status} for {target}")
        return "; ".join(wrong)


def _is_ours(task: asyncio.Task[object]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and "/gateway/" in code.co_filename


@contextlib.asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    """All that runs, with short times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edge_feeds, "LINGER_S", 0.02)
        async with _running() as stage:
            yield stage


@contextlib.asynccontextmanager
async def _running() -> AsyncIterator[Stage]:
    async with Origin() as origin, edge_serving(origin, long_poll_timeout=0.05) as gateway:
        await gateway.ask(put("next", body=b"next"))
        await gateway.until(lambda: gateway.limits.connections == 0)
        yield Stage(gateway, origin)


async def calls_of(kind: str) -> list[Call]:
    """Those on the way of a request of a kind, once what is made only once is there."""
    async with staged() as stage:
        await stage.run(kind)
        calls = (await stage.run(kind)).calls
        assert await stage.settled() == "", "nothing has failed"
        return calls


async def faults_of(kind: str, calls: Sequence[Call]) -> dict[str, str]:
    """What is wrong after each of these calls has failed, one a run; nothing, one may hope."""
    faults = {}
    waiting = list(calls)
    while waiting:
        async with staged() as stage:
            while waiting:
                call = waiting.pop()
                wrong = await stage.fault(kind, call)
                if wrong:
                    faults[str(call)] = wrong
                    break  # what is left is not to be found again
    return faults
