"""Those who write and read, and go on at another gateway whenever one lets them down."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from tests.support.serving import PREFIX, request

if TYPE_CHECKING:
    from tests.streams.simulation.gateway import PatientClient
    from tests.streams.simulation.world import World
    from tests.support.http1 import Answer

CUT = (asyncio.IncompleteReadError, ConnectionError)
LATER = {503}
LOST = {404, 410}


class Person:
    """Somebody with requests."""

    def __init__(self, world: World, path: str, name: str) -> None:
        self.world = world
        self.path = path
        self.name = name
        self.gateway: int | None = None

    def __repr__(self) -> str:
        return self.name

    def connect(self) -> PatientClient:
        """To any gateway; when all is quiet, to the same, since others would help them out."""
        if self.gateway is None or not self.world.is_quiet:
            self.gateway = self.world.chance.randrange(len(self.world.gateways))
        return self.world.gateways[self.gateway].connect()

    async def ask(self, method: str, target: str, *lines: str, body: bytes = b"") -> Answer | None:
        """The answer, or None when the connection was lost."""
        client = self.connect()
        try:
            return await client.ask(request(method, f"{PREFIX}/{target}", *lines, body=body))
        except CUT:
            return None
        except TimeoutError:
            self.world.fault(f"{self} has no answer to {method} {target} by {self.gateway}")
            return None
        finally:
            client.close()

    async def pause(self, longest: float) -> None:
        await asyncio.sleep(self.world.chance.uniform(0, longest))


class Writer(Person):
    """An idempotent producer: each message is sent until it is known to be there."""

    def __init__(self, world: World, path: str, name: str) -> None:
        super().__init__(world, path, name)
        self.epoch = self.seq = self.number = 0
        self.acked: list[bytes] = []
        self.maybe_twice: set[bytes] = set()
        """Sent anew under another epoch, while an attempt that it gave up may be under way."""
        self.is_plain = world.chance.one_in(4)  # no producer: whatever is not answered is unknown
        self.is_over = False

    async def write(self) -> None:
        haste = self.world.chance.choice((0.1, 0.3, 1.0))
        while not (self.world.is_quiet or self.is_over):
            await self.pause(haste)
            self.number += 1
            padding = b"x" * self.world.chance.choice((0, 0, 20, 70))
            await self._send(f"{self.name}.{self.number}{padding.decode()};".encode())

    async def _send(self, message: bytes) -> None:
        gave_up = False
        while not self.is_over:
            stamp = self.epoch, self.seq
            lines = ["Content-Type: text/plain"]
            if not self.is_plain:
                lines += [
                    f"Producer-Id: {self.name}",
                    f"Producer-Epoch: {self.epoch}",
                    f"Producer-Seq: {self.seq}",
                ]
            answer = await self.ask("POST", self.path, *lines, body=message)
            if answer is not None and answer.status in {200, 204}:
                self._acknowledged(answer, message)
                return
            if answer is not None:
                self._refused(answer)
            gave_up = gave_up or answer is None
            if gave_up and stamp != (self.epoch, self.seq):
                self.maybe_twice.add(message)
            if self.is_plain or self.world.is_quiet:
                return
            await self.pause(0.2)

    def _acknowledged(self, answer: Answer, message: bytes) -> None:
        self.seq += 1
        self.acked.append(message)
        # A repeated append is told of the tail, which may be further on.
        if answer.status == 200 or self.is_plain:
            self.world.acknowledged(self.path, str(answer.get("Stream-Next-Offset")), message)

    def _refused(self, answer: Answer) -> None:
        world = self.world
        world.note(f"{self} is refused: {answer.status} {answer.body!r} by {self.gateway}")
        if answer.status == 409 and answer.get("Producer-Expected-Seq") is not None:
            may = world.losses or world.plan.removes
            if not may:
                world.fault(f"{self} at {self.seq} is refused: {answer.body!r}")
            self.epoch, self.seq = self.epoch + 1, 0
        elif answer.status == 400 and b"new epoch" in answer.body and world.losses:
            self.seq = 0  # the epoch itself is lost
        elif answer.status == 403:
            self.epoch, self.seq = int(answer.get("Producer-Epoch") or 0) + 1, 0
        elif answer.status == 409:
            self.is_over = True
        elif answer.status not in LATER and not (answer.status in LOST and world.plan.removes):
            world.fault(f"{self} is refused: {answer.status} {answer.body!r}")


class Keeper(Person):
    """Makes streams, and takes them away where that is in the plan."""

    async def make(self) -> None:
        """Until it is there."""
        while not await self._done("PUT", self.path, "Content-Type: text/plain"):
            await self.pause(0.3)

    async def _done(self, method: str, target: str, *lines: str) -> bool:
        answer = await self.ask(method, target, *lines)
        if answer is not None and answer.status >= 500 and answer.status not in LATER:
            self.world.fault(f"{method} {target}: {answer.status} {answer.body!r}")
        # 409: forks still use what was deleted, so the path is taken for good.
        return answer is not None and answer.status in {200, 201, 204, 409}

    async def keep(self) -> None:
        """Whatever may be done to a stream."""
        chance = self.world.chance
        while not self.world.is_quiet:
            await self.pause(6.0)
            if self.world.plan.removes:
                chosen = chance.choice(("DELETE", "PUT", "PUT", "fork", "DELETE fork"))
                self.world.note(f"{self}: {chosen}")
                await self._do(chosen)
        await self.make()

    async def _do(self, what: str) -> None:
        fork = f"{self.path}-fork"
        if what == "fork":
            await self._done("PUT", fork, f"Stream-Forked-From: {PREFIX}/{self.path}")
        elif what == "DELETE fork":
            await self._done("DELETE", fork)
        else:
            await self._done(what, self.path, "Content-Type: text/plain")


class Reader(Person):
    """Follows a stream: by long-polls, by events, or by asking again and again."""

    def __init__(self, world: World, path: str, name: str) -> None:
        super().__init__(world, path, name)
        self.begin()
        self.data = b""  # of an event whose offset has not come yet
        self.way = world.chance.choice(world.ways)
        self.refused_s = 0.0  # what it waits at most before it comes again
        self.is_up_to_date = False
        self.lazy_s = world.chance.choice((0.0, 0.1, 2.0))

    def begin(self) -> None:
        """Know nothing of the stream."""
        self.offset, self.content, self.cursor = "-1", b"", ""

    async def follow(self) -> None:
        """For ever, and sometimes from the beginning, as somebody new."""
        while True:
            self.refused_s = 0.0
            if self.world.chance.one_in(12) and not self.world.is_quiet:
                self.begin()
            if self.way == "sse":
                await self._follow_events()
            else:
                await self._ask()
            await self.pause(self._rest_s())

    def _rest_s(self) -> float:
        """How long it takes at most until it asks again."""
        if self.refused_s:
            return self.refused_s
        if self.way == "catch-up" and self.is_up_to_date:
            return 3.0
        return 0.05 if self.world.is_quiet else self.lazy_s + 0.01

    async def _ask(self) -> None:
        world, offset = self.world, self.offset
        query = f"offset={offset}"
        if self.way == "long-poll":
            query += "&live=long-poll" + (f"&cursor={self.cursor}" if self.cursor else "")
        tail, life, losses = self._tail(), world.life(self.path), world.losses
        answer = await self.ask("GET", f"{self.path}?{query}")
        if answer is None:
            return
        if answer.status not in {200, 204}:
            self._refused(answer, life)
            return
        self._advance(answer.body, str(answer.get("Stream-Next-Offset")))
        self.cursor = answer.get("Stream-Cursor") or self.cursor
        self.is_up_to_date = answer.get("Stream-Up-To-Date") is not None
        if self.way == "catch-up" and self.is_up_to_date:  # a poll knows only what it has heard
            same = (life, losses) == (world.life(self.path), world.losses)
            if same and int(self.offset[-16:]) < tail:
                world.fault(f"{self} is told that it is up to date at {self.offset}, not {tail}")

    def _tail(self) -> int:
        state = self.world.state(self.path)
        return 0 if state is None else state.tail

    def _advance(self, content: bytes, offset: str) -> None:
        self.content += content
        self.offset = offset
        self.world.note(f"{self} by {self.gateway} is at {offset} after {content!r}")
        self.world.saw(self.path, offset, self.content, self.name)

    def _refused(self, answer: Answer, life: object) -> None:
        world = self.world
        said = f"{self} by {self.gateway} at {self.offset}: {answer.status} {answer.body!r}"
        world.note(said)
        if answer.status in LOST:
            # A poll that waits at the beginning may wait where nothing is kept any more.
            waited = self.offset == "-1" and world.plan.retention and self.way == "long-poll"
            refuses = waited or world.refuses(self.path, self.offset)
            if not refuses and life == world.life(self.path):
                world.fault(said)
            self.begin()
            self.refused_s = 3.0
        elif answer.status in LATER:
            self.refused_s = 0.2
        else:
            world.fault(said)

    async def _follow_events(self) -> None:
        life = self.world.life(self.path)
        client = self.connect()
        try:
            client.send(request("GET", f"{PREFIX}/{self.path}?offset={self.offset}&live=sse"))
            answer = await client.answer()
            if answer.status != 200:
                self._refused(answer, life)
                return
            rest = self.data = b""
            while piece := await client.chunk():
                *events, rest = (rest + piece).split(b"\n\n")
                for event in events:
                    self._event(event)
        except CUT:
            pass
        except TimeoutError:
            self.world.fault(f"{self} hears nothing any more from {self.gateway}")
        finally:
            client.close()

    def _event(self, event: bytes) -> None:
        """Data count once the control event that follows them has told the next offset."""
        fields = dict(line.split(b":", 1) for line in event.split(b"\n"))
        if fields.get(b"event") == b" data":
            self.data = fields[b"data"]
        elif fields.get(b"event") == b" control":
            self._advance(self.data, json.loads(fields[b"data"])["streamNextOffset"])
            self.data = b""
