"""One run: trouble, then calm, then nobody; and what has to hold in each."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headgate_gateway.edge.reads import shared_response
from headgate_gateway.telemetry.logs import FIELDS, NAME
from tests.edge.simulation.answers import NEVER_SHARED, Habits
from tests.edge.simulation.client import Client
from tests.edge.simulation.edges import (
    MAX_AGE_S,
    POLL_PATIENCE_S,
    PREFIX,
    STALE_S,
    TAIL_S,
    Edge,
    choose_bounds,
)
from tests.edge.simulation.judge import FOR_EVER_S, LONG_S, Judge
from tests.edge.simulation.network import SimulatedLoop
from tests.edge.simulation.origin import Asked, Faults, Origin
from tests.edge.simulation.streams import Stream
from tests.edge.simulation.viewers import Follower, Glancer, Poller, Viewer

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

ORIGIN = ("10.0.0.1", 80)
CATCHES_UP_S = (
    POLL_PATIENCE_S + STALE_S + MAX_AGE_S + 30
)  # a hung poll, copies of the past, a pause
SEES_S = 8.0  # how late an append in calm may be seen
LATEST_S = 15.0  # a write may be that late
HERD = 12
_KINDS: tuple[type[Poller | Follower | Glancer], ...] = (
    Poller,
    Poller,
    Follower,
    Follower,
    Glancer,
)


@dataclass
class World:
    """All that there is in a run."""

    seed: int
    loop: SimulatedLoop
    chance: random.Random
    origin: Origin
    edges: list[Edge]  # the nearest to the origin first, or all of them before it
    in_a_row: bool
    judge: Judge
    viewers: list[Poller | Follower | Glancer] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    # Trouble

    async def run(self) -> None:
        self.origin.start()
        for edge in self.edges:
            await edge.start()
        self._make_streams()
        self._come()
        await self._trouble()
        await self._calm()
        await self._sees_what_is_written()
        await self._costs_one_request()
        await self._leave()
        for edge in self.edges:
            await edge.stop()
        self.origin.stop()

    def _make_streams(self) -> None:
        for number in range(self.chance.randint(1, 2)):
            name = f"s{number}"
            stream = self.origin.streams[name] = Stream(name, self.origin.habits.natures)
            self.origin.make_anew(stream, self.chance.choice([0, 5, 50]))

    def _come(self) -> None:
        for _ in range(self.chance.randint(2, 7)):
            viewer = self._viewer(self.chance.choice(_KINDS))
            self.viewers.append(viewer)
            self._spawn(viewer.run())
        self._spawn(self._followed_once())

    def _viewer(self, kind: type[Poller | Follower | Glancer]) -> Poller | Follower | Glancer:
        return kind(
            self.loop,
            self.chance.choice(self.edges),
            self.chance.choice([*self.origin.streams.values()]),
            self.judge,
            random.Random(self.chance.random()),
            identified=self.chance.random() < 0.15,
        )

    def _spawn(self, doing: Coroutine[None, None, None]) -> None:
        self.tasks.append(self.loop.create_task(doing))

    async def _trouble(self) -> None:
        self.origin.faults = Faults.by(self.chance)
        self.judge.origin_lags = self.origin.faults.lag_s > 0
        self.judge.origin_ends_by_closing = self.origin.habits.ends_by_closing
        troubles = [self.loop.create_task(self._write()) for _ in range(self.chance.randint(1, 2))]
        if self.chance.random() < 0.5:
            troubles.append(self.loop.create_task(self._change_behind_their_backs()))
        if self.chance.random() < 0.3:
            troubles.append(self.loop.create_task(self._crash()))
        await asyncio.sleep(self.chance.uniform(5, 60))
        await _end(troubles)

    async def _write(self) -> None:
        """Through an edge."""
        rare = self.chance.random() < 0.5
        while True:
            await asyncio.sleep(self.chance.expovariate(1.0))
            stream = self.chance.choice([*self.origin.streams.values()])
            way = self.chance.random()
            if stream.current is None or way < 0.02:
                await self._wrote(stream, "PUT")
            elif way < (0.03 if rare else 0.12):
                await self._wrote(stream, "DELETE")
                if self.chance.random() < 0.5:
                    await self._renew(stream)
            elif way < (0.05 if rare else 0.15):
                await self._wrote(stream, "POST", closes=True)
            elif way < 0.2:
                await self._wrote(stream, "HEAD")
            else:
                await self._wrote(stream, "POST")

    async def _renew(self, stream: Stream) -> None:
        """At once, while answers are under way that tell of the stream before."""
        await self._wrote(stream, "PUT")
        for _ in range(self.chance.randint(0, 4)):
            await self._wrote(stream, "POST")

    async def _wrote(self, stream: Stream, method: str, *, closes: bool = False) -> None:
        at = self.chance.randrange(len(self.edges))
        client = Client(self.loop, self.edges[at].address)
        fields = {"Content-Type": "text/plain"} if method in {"PUT", "POST"} else {}
        if closes:
            fields["Stream-Closed"] = "true"
        empty = method != "POST" or (closes and self.chance.random() < 0.5)
        body = b"" if empty else bytes(self.chance.choice([1, 6, 30, 120]))
        target = f"{PREFIX}/{stream.name}"
        got = await client.ask(method, target, fields, body)
        client.leave()
        if got is None or got.status >= 300 or "x-making" not in got.fields or method == "HEAD":
            return
        making = int(got.fields["x-making"])
        nearest = 0 if self.in_a_row else at
        through = [edge.name for edge in self.edges[nearest : at + 1]]
        if method == "DELETE":
            self.judge.wrote(through, stream, making, 0, first=making + 1)
        else:
            tail = stream.parsed(got.fields["stream-next-offset"])
            self.judge.wrote(through, stream, making, tail.at, first=0)

    async def _change_behind_their_backs(self) -> None:
        while True:
            await asyncio.sleep(self.chance.expovariate(0.3))
            stream = self.chance.choice([*self.origin.streams.values()])
            making, way = stream.current, self.chance.random()
            if making is None or way < 0.1:
                self.origin.make_anew(stream, self.chance.choice([0, 3, 30, 120]))
            elif not making.closed:
                making.append(making.piece(self.chance, 20))
                making.closed = self.chance.random() < 0.02
                self.origin.told(stream)

    async def _crash(self) -> None:
        while True:
            await asyncio.sleep(self.chance.uniform(1, 20))
            self.origin.stop()
            try:
                await asyncio.sleep(self.chance.uniform(0, 6))
            finally:
                self.origin.start()

    # Calm

    async def _calm(self) -> None:
        """Everybody comes to the tail by themselves, and stays there."""
        self.origin.faults = Faults()
        await asyncio.sleep(LATEST_S)
        for stream in self.origin.streams.values():
            if stream.current is None or stream.current.closed:
                self.origin.make_anew(stream, 20)
        for viewer in self.viewers:
            viewer.is_quiet = True
        calm = self.judge.calm_since = self.loop.time()
        while not all(viewer.is_there for viewer in self._live()):
            if self.loop.time() - calm > CATCHES_UP_S:
                self.judge.complain(
                    f"not at the tail: {[v for v in self._live() if not v.is_there]}"
                )
                break
            await asyncio.sleep(0.5)
        await asyncio.sleep(max(0, calm + LONG_S + 1 - self.loop.time()))

    def _live(self) -> list[Viewer]:
        return [viewer for viewer in self.viewers if not isinstance(viewer, Glancer)]

    async def _sees_what_is_written(self) -> None:
        for stream in self.origin.streams.values():
            if self.chance.random() < 0.5:
                await self._wrote(stream, "POST")
            elif stream.current is not None:
                stream.current.append(stream.current.piece(self.chance, 20))
                self.origin.told(stream)
        written = self.loop.time()
        while not all(viewer.is_there for viewer in self._live()):
            if self.loop.time() - written > SEES_S:
                late = [viewer for viewer in self._live() if not viewer.is_there]
                self.judge.complain(f"not told of the news: {late}")
                break
            await asyncio.sleep(0.1)

    async def _costs_one_request(self) -> None:
        """Every chunk is asked for once, however many read, where it may be kept."""
        await asyncio.sleep(MAX_AGE_S + STALE_S + 1)
        for stream in self.origin.streams.values():
            began = len(self.origin.asked)
            herd = [self._herd_member(stream) for _ in range(HERD)]
            outcomes = await asyncio.gather(*(one.chase() for one in herd))
            if not all(outcomes) or not all(one.is_there for one in herd):
                self.judge.complain(f"the herd did not come to the tail: {herd}")
            asked = self.origin.asked[began:]
            theirs = f"1.1 {self.edges[0].name}", False  # the herd's edge, for anybody
            self._count(stream, [one for one in asked if one.whose == theirs])
            for one in herd:
                one.leave()

    def _herd_member(self, stream: Stream) -> Glancer:
        chance = random.Random(self.chance.random())
        member = Glancer(self.loop, self.edges[0], stream, self.judge, chance, identified=False)
        member.is_quiet = True
        return member

    def _count(self, stream: Stream, asked: list[Asked]) -> None:
        """Complain of requests for data that were cached, or on their way, already."""
        assert stream.current is not None, "it was made for the calm"
        shared = stream.current.nature.lifetime not in NEVER_SHARED
        kept = shared and not self.origin.habits.ends_by_closing
        if not kept or shared_response.LONGEST_GATHERED <= 1000:
            return
        latest: dict[str, float] = {}
        for one in asked:
            if f"/{stream.name}?offset=" not in one.target or "=now" in one.target:
                continue
            # The beginning may be that of another stream soon: it is cached as a tail is.
            is_beginning = "offset=-1" in one.target
            since = one.at - latest.get(one.target, -FOR_EVER_S)
            if since <= (TAIL_S if is_beginning else MAX_AGE_S):
                self.judge.complain(f"more than one request in {since:.3f} s: {one.target}")
            latest[one.target] = one.at

    async def _followed_once(self) -> None:
        """No stream is followed twice by one edge for the same readers."""
        before: set[int] = set()
        while True:
            polls = self.origin.polls
            whose = [(one.whose, one.target.partition("?")[0]) for one in polls]
            twice = {id(one) for one, who in zip(polls, whose, strict=True) if whose.count(who) > 1}
            if len(before & twice) > 1:
                self.judge.complain(f"followed twice: {polls}")
            before = twice
            await asyncio.sleep(1)

    # Nobody

    async def _leave(self) -> None:
        await _end(self.tasks)
        for viewer in self.viewers:
            viewer.leave()
        await asyncio.sleep(20)
        for edge in self.edges:
            left = edge.left()
            if edge is not self.edges[-1]:
                left.pop("connections", None)  # those from the next edge are kept for a while
            if left:
                self.judge.complain(f"{edge.name} still has {left}")
        if self.origin.polls:
            self.judge.complain(f"still followed: {self.origin.polls}")


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel what should never have ended by itself, and raise what ended it."""
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(outcome, BaseException), "it ended"
        if not isinstance(outcome, asyncio.CancelledError):
            raise outcome


def _world(seed: int, loop: SimulatedLoop, chance: random.Random) -> World:
    origin = Origin(loop, ORIGIN, Habits.by(chance), random.Random(chance.random()))
    many = 2 if chance.random() < 0.4 else 1
    in_a_row = many > 1 and chance.random() < 0.7
    stale_s = chance.choice([0, 0, 20])
    edges: list[Edge] = []
    nearer = ORIGIN
    for number in range(1, many + 1):
        address = (f"10.0.1.{number}", 80)
        edges.append(Edge(loop, f"edge-{number}", address, nearer, stale_s))
        nearer = address if in_a_row else ORIGIN
    judge = Judge(loop.time, tiers=many if in_a_row else 1)
    return World(seed, loop, chance, origin, edges, in_a_row, judge)


@contextlib.contextmanager
def _bounds(chance: random.Random) -> Iterator[None]:
    chosen = choose_bounds(chance)
    places = {(importlib.import_module(module), name): to for (module, name), to in chosen.items()}
    before = {(module, name): getattr(module, name) for module, name in places}
    for (module, name), to in places.items():
        setattr(module, name, to)
    try:
        yield
    finally:
        for (module, name), was in before.items():
            setattr(module, name, was)


class _Complaints(logging.Handler):
    """What the gateway itself calls an error: it expects worse of origins than we do."""

    def __init__(self, wrong: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._wrong = wrong

    def emit(self, record: logging.LogRecord) -> None:
        self._wrong.append(f"{record.getMessage()} {getattr(record, FIELDS, {})}")


@contextlib.contextmanager
def _errors(loop: SimulatedLoop, wrong: list[str]) -> Iterator[None]:
    """What would else be in the log only."""
    loop.set_exception_handler(lambda _, context: wrong.append(str(context)))
    complaints, logger = _Complaints(wrong), logging.getLogger(NAME)
    logger.addHandler(complaints)
    try:
        yield
    finally:
        logger.removeHandler(complaints)


def simulate(seed: int) -> Judge:
    chance = random.Random(seed)
    random.seed(seed)  # what the gateway itself leaves to chance
    loop = SimulatedLoop(random.Random(chance.random()))
    wrong: list[str] = []

    async def play() -> Judge:
        world = _world(seed, loop, chance)
        await world.run()
        wrong.extend(repr(error) for error in world.origin.failures)
        return world.judge

    with _bounds(chance), _errors(loop, wrong), asyncio.Runner(loop_factory=lambda: loop) as runner:
        judge = runner.run(play())
    judge.wrong.extend(wrong)
    return judge
