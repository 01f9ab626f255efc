"""Requests of every kind, in which a call raises or the client leaves, and what they leave."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import TYPE_CHECKING, NamedTuple

import pytest

from headgate_gateway.edge.followed import followed_streams
from headgate_gateway.telemetry.logs import log
from headgate_gateway.telemetry.rare_lines import OutageLine
from tests.faults.injection import Fault, Watched
from tests.faults.kinds_before_an_origin import BEFORE_AN_ORIGIN, Origin
from tests.faults.kinds_of_own_logs import OF_OWN_LOGS
from tests.support.log_lines import capture_logs
from tests.support.serving import EDGE, PREFIX, edge_serving, get, put
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from tests.faults.kinds import Kind
    from tests.support.http1 import Answer
    from tests.support.serving import Serving

PATIENCE_S = 5.0
KINDS = {**BEFORE_AN_ORIGIN, **OF_OWN_LOGS}
FILES = "/proc/self/fd"


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
        """What requests hold; a connection to the origin is kept for the next, and two files."""
        limits = self.gateway.limits
        return {
            "connections": limits.connections,
            "live readers": limits.live_readers,
            "feeds": limits.feeds,
            "bytes in flight": limits.receiving_bytes,
            "appends": self.gateway.route.writes.outcomes.pending,
            "bytes of appends": self.gateway.route.writes.outcomes.pending_bytes,
            "at the origin": self.gateway.edge.origin.requests.count,
            "the origin is busy": self.origin.busy,
            "tasks": sum(_is_ours(task) for task in asyncio.all_tasks()),
            "files": sum(1 for _ in os.scandir(FILES)) - 2 * self.origin.open,
        }

    async def settled(self) -> str:
        """What is held too long; empty when all is back."""
        try:
            await until(lambda: self.held() == self.base, within_s=PATIENCE_S)
        except AssertionError:
            now = self.held()
            return ", ".join(f"{now[what]} {what}" for what in now if now[what] != self.base[what])
        return ""

    async def run(self, kind: str, fault: Fault | None = None) -> Run:
        """One request of a kind, with something that goes wrong."""
        self._count += 1
        name = f"{KINDS[kind].word}{self._count}"
        await KINDS[kind].before(self.gateway, name)
        client = await self.gateway.connect()
        told, is_over = None, True
        with Watched(fault, client.abort) as watched:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    told = await KINDS[kind].ask(self.gateway, client, name)
            except TimeoutError:
                is_over = False
            except (asyncio.IncompleteReadError, OSError):
                pass  # the connection was ended
        client.close()
        return Run(name, watched, told, is_over)

    async def wrong_after(self, kind: str, fault: Fault) -> str:
        """What is wrong after a fault; empty when nothing is."""
        with _listening() as lines, capture_logs() as told:
            run = await self.run(kind, fault)
            left = await self.settled()
        if not run.watched.has_failed:
            return ""
        wrong = [f"left: {left}" if left else "", "" if run.is_over else "no answer"]
        wrong.append(_wrong_lines(fault, told, lines))
        try:
            wrong.append(await self._then(KINDS[kind], run))
        except TimeoutError:
            wrong.append("then no answer")
        return "; ".join(filter(None, wrong))

    async def _then(self, kind: Kind, run: Run) -> str:
        for target in (f"{EDGE}/next", f"{PREFIX}/next?offset=-1"):
            after = await self.gateway.ask(get(target))
            if after.status != 200:
                return f"then {after.status} for {target}"
        return await kind.then(self.gateway, run.name, run.told)


class Run(NamedTuple):
    """A request that was made, and what its client was told: None when the connection ended."""

    name: str
    watched: Watched
    told: Answer | None
    is_over: bool


def _wrong_lines(
    fault: Fault, told: Sequence[Mapping[str, object]], complaints: Sequence[str]
) -> str:
    """What raises is told in one line, and of a client that leaves there is none."""
    lines = [str(one) for one in told if one["log_level"] == "error"] + list(complaints)
    is_told_as_the_origins = any(one["event"] == "origin.failed" for one in told)
    wanted = 0 if fault.leaves or (is_told_as_the_origins and not lines) else 1
    return "" if len(lines) == wanted else f"{len(lines)} lines: {lines}"


@contextlib.contextmanager
def _listening() -> Iterator[list[str]]:
    """What asyncio and aiohttp complain of."""
    heard = Lines()
    logging.getLogger().addHandler(heard)
    try:
        yield heard.lines
    finally:
        logging.getLogger().removeHandler(heard)


def _log_each(line: OutageLine, **said: str) -> None:
    """Log each failure, where a gateway logs some of those that follow each other."""
    log.warning(line._event, **said)  # whose name no caller needs


def _is_ours(task: asyncio.Task[object]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and "/gateway/" in code.co_filename


@contextlib.asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    """All that runs, with short times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(followed_streams, "LINGER_S", 0.02)
        patch.setattr(followed_streams, "LONGEST_DOUBT_S", 0.04)
        patch.setattr(OutageLine, "note", _log_each)
        async with _running() as stage:
            yield stage


@contextlib.asynccontextmanager
async def _running() -> AsyncIterator[Stage]:
    async with Origin() as origin, edge_serving(origin, long_poll_timeout=0.05) as gateway:
        await gateway.ask(put("next", body=b"next"))
        await until(lambda: gateway.limits.connections == 0)
        yield Stage(gateway, origin)


async def faults_in(kind: str) -> list[Fault]:
    """All that may go wrong in a request of a kind, once what is made only once is there."""
    async with staged() as stage:
        await stage.run(kind)
        run = await stage.run(kind)
        assert run.told is not None, "nothing has gone wrong"
        assert await stage.settled() == "", "nothing has gone wrong"
        raising = [Fault(call, leaves=False) for call in run.watched.calls]
        return raising + [Fault(call, leaves=True) for call in run.watched.turns]


async def wrong_after(kind: str, faults: Sequence[Fault]) -> dict[str, str]:
    """What is wrong after each of these faults, one a run; nothing, one may hope."""
    found: dict[str, str] = {}
    waiting = list(faults)
    while waiting:
        # What is left is not to be found again, and may keep a gateway from its end.
        with contextlib.suppress(TimeoutError, AssertionError):
            async with staged() as stage:
                await _first_wrong(stage, kind, waiting, found)
    return found


async def _first_wrong(
    stage: Stage, kind: str, waiting: list[Fault], found: dict[str, str]
) -> None:
    while waiting:
        fault = waiting.pop()
        wrong = await stage.wrong_after(kind, fault)
        if wrong:
            found[str(fault)] = wrong
            return
