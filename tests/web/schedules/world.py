"""One run of a schedule: a gateway in memory, two of its clients, and what happens to them."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

from headgate_gateway import app, later
from headgate_gateway.errors import LogUnavailable
from headgate_gateway.routes.router import Router
from headgate_gateway.settings import Route
from headgate_gateway.stepped import Step
from headgate_gateway.web.asks.plans import Plans
from headgate_gateway.web.connections import requests as of_connections
from headgate_gateway.web.connections.connection import Connection
from headgate_gateway.web.connections.fast_path import FastPath
from headgate_gateway.web.connections.server import ConnectionServer
from headgate_gateway.web.requests import request
from tests.edge.simulation.network import SimulatedLoop
from tests.support.gated_log import GatedLog
from tests.support.log_lines import capture_logs
from tests.support.serving import EDGE, PREFIX, Options, edge_route, hosted_route, put, settings_of
from tests.web.schedules import checks
from tests.web.schedules.clients import Client
from tests.web.schedules.requests import Asked, ask
from tests.web.schedules.wires import Origin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.routes.contract import StreamRoute

ORIGIN = ("10.0.0.1", 80)
EPOCH_S = 1_800_000_000.0
ENDS_S = 200.0  # by then everything has ended by itself
SETTLED_S = 0.06  # whatever nobody holds back has come, also by the network to the origin
ALL = -1  # passes of the loop, until nothing happens any more


class Move(NamedTuple):
    """What happens, and how many passes of the loop come behind it, or ALL."""

    what: str
    how: Any
    passes: int = ALL


class World:
    """A gateway with a log of its own and an origin, and its clients.

    The first is the one that a schedule is about; the other one is there, and takes all at once.
    """

    def __init__(self, loop: SimulatedLoop, *, logs: bool) -> None:
        self.loop = loop
        self.log = GatedLog()
        self.origin = Origin(loop)
        self.lines: list[tuple[object, ...]] = []
        self.steps: list[Step[Any]] = []
        self.waited_s = 0.0
        self.is_drained_early = False
        self._number = 0
        self._draining: asyncio.Task[None] | None = None
        settings = settings_of(
            Options(
                long_poll_timeout=20.0,
                heartbeat=7.0,
                sse_max_age=25.0,
                header_timeout=checks.TIMEOUT_S,
                body_timeout=checks.TIMEOUT_S,
                keepalive_timeout=30.0,
                cache_size=1 << 20,
            )
        )
        services = app.make_services(settings, lambda: EPOCH_S + loop.time(), loop.time)
        services.timeouts.header = checks.TIMEOUT_S
        self.services = replace(services, via="1.1 headgate-test")
        if logs:
            self.services.log.enabled = True
            self.services.log.line = lambda *line: self.lines.append(line)
        own = Route(prefix=PREFIX, storage="memory:", tail_max_age=1)
        self.own = hosted_route(settings, own, self.log, self.services)
        edge = Route(
            prefix=EDGE,
            origin=f"http://{ORIGIN[0]}:{ORIGIN[1]}",
            response_timeout=9.0,
        )
        self.edge = edge_route(settings, edge, self.services)
        self.routes: list[StreamRoute] = [self.own, self.edge]
        plans = Plans(Router(self.routes))
        self.server = ConnectionServer(
            app.handlers_of(plans, self.services),
            FastPath(plans, self.services),
            self.services,
            settings.http.keepalive_timeout,
        )
        self.clients: list[Client] = []

    async def run(self, moves: Sequence[Move]) -> None:
        """Play a schedule, then let everything come, and time pass."""
        self.is_drained_early = any(move.what == "drains" for move in moves)
        await self._begin()
        for move in moves:
            # Neither a connection nor a step is called from within a task.
            self.loop.call_soon(self._do, move)
            if move.what == "passes":
                self.waited_s += move.how
                await asyncio.sleep(move.how)
            await self._pass(move.passes)
        self.loop.call_soon(self._let_go)
        await asyncio.sleep(ENDS_S)
        checks.nothing_is_held(self)
        await self._end()
        checks.answers_hold(self)
        checks.log_holds(self)
        checks.nothing_is_pending(self)

    async def _pass(self, passes: int) -> None:
        if passes == ALL:
            await asyncio.sleep(SETTLED_S)
        for _ in range(passes):
            await asyncio.sleep(0)

    async def _begin(self) -> None:
        for route in self.routes:
            await route.open()
        self.loop.listen(ORIGIN, self.origin.accept)
        self.loop.call_soon(self._connect)
        await self._pass(ALL)

    def _connect(self) -> None:
        self.clients += [Client(self.loop, Connection(self.server)) for _ in range(2)]
        first = [Asked("first", 0, put(name), "PUT") for name in ("s", "t", "gone")]
        self.clients[1].send(first, 0)

    def _let_go(self) -> None:
        for gate in (self.log.loads, self.log.reads, self.log.commits):
            gate.set()
        self.origin.flush()
        client = self.clients[0]
        client.pipe.resume()
        client.more(len(client.unsent))

    async def _end(self) -> None:
        self.loop.call_soon(self._drain_begins)
        await asyncio.sleep(30.0)
        assert self._draining is not None, "it has begun"
        assert self._draining.done(), "the drain goes on"
        self._draining.result()
        self.server.stop_sweeping()
        for route in self.routes:
            await route.close()
        self.loop.refuse(ORIGIN)
        await asyncio.sleep(60.0)

    def content(self, stream: str) -> bytes:
        """All that the log has of a stream."""
        return b"".join(self.log._records[self.log._states[stream].stream_id].datas)

    def timers(self) -> list[asyncio.TimerHandle]:
        """All that are set."""
        timers: list[asyncio.TimerHandle] = self.loop._scheduled  # type: ignore[attr-defined] # of asyncio
        return timers

    # What happens

    def _do(self, move: Move) -> None:
        client, other = self.clients
        match move.what:
            case "sends":
                kinds, kept = move.how
                client.send(self._asked(kinds), kept)
            case "sends more":
                client.more(move.how)
            case "leaves":
                client.leave(move.how)
            case "takes":
                (client.pipe.resume if move.how else client.pipe.pause)()
            case "other sends":
                other.send(self._asked([(move.how, False)]), 0)
            case _:
                self._do_here(move)

    def _do_here(self, move: Move) -> None:
        match move.what:
            case "shuts":
                getattr(self.log, move.how).clear()
            case "opens":
                getattr(self.log, move.how).set()
            case "fails":
                self.log.failures.append(LogUnavailable("the disk is full"))
            case "origin answers":
                self.origin.answer(move.how)
            case "origin is quick":
                self.origin.is_quick = move.how
            case "drains":
                self._drain_begins()
            case "is purged":
                self.own.table.caches.clear()
                self.edge.invalidate_all()
            case _:
                assert move.what == "passes", move

    def _asked(self, kinds: Sequence[tuple[str, bool]]) -> list[Asked]:
        begin = self._number + 1
        self._number += len(kinds)
        return [ask(kind, begin + at, has_id=has_id) for at, (kind, has_id) in enumerate(kinds)]

    def _drain_begins(self) -> None:
        if self._draining is None:
            self.server.begin_close()
            self._draining = self.loop.create_task(self._drain())

    async def _drain(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3.0):
                for route in self.routes:
                    await route.drain()
                await self.server.connections.all_idle()
        await self.server.connections.close(1.0)


# Bounds so small that a few requests come to them, by module and name.
_TIGHT: Sequence[tuple[object, str, float]] = (
    (of_connections, "AT_ONCE", 2),
    (of_connections, "HELD_BYTES", 200),
    (of_connections, "MOST_ASKS", 3),
    (later, "TURN_S", 0.0),
)


def play(moves: Sequence[Move], *, logs: bool = False, is_tight: bool = False) -> World:
    """Play a schedule. Raises AssertionError where something does not hold."""
    loop = SimulatedLoop(random.Random(0))
    wrong: list[str] = []
    loop.set_exception_handler(lambda _, context: wrong.append(str(context)))
    with contextlib.ExitStack() as patches:
        for place, name, value in _TIGHT if is_tight else ():
            patches.enter_context(mock.patch.object(place, name, value))
        lines = patches.enter_context(capture_logs())
        runner = patches.enter_context(asyncio.Runner(loop_factory=lambda: loop))
        world = runner.run(_played(loop, moves, logs=logs))
    wrong += [str(line) for line in lines if line["log_level"] in {"error", "critical"}]
    assert not wrong, wrong
    return world


async def _played(loop: SimulatedLoop, moves: Sequence[Move], *, logs: bool) -> World:
    world = World(loop, logs=logs)

    class Noted(Step[Any]):
        """A step that is in the world's books."""

        __slots__ = ()

        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            world.steps.append(self)

    with (
        mock.patch.object(of_connections, "Step", Noted),
        mock.patch.object(request, "Step", Noted),
    ):
        await world.run(moves)
    return world
