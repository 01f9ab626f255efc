"""Those who read through an edge: they come and go, stall, and go on by offset."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.edge.simulation.client import Client, Told
from tests.edge.simulation.edges import PATIENCE_S, POLL_S, PREFIX, Edge
from tests.edge.simulation.judge import FOR_EVER_S, Got, Judge

if TYPE_CHECKING:
    import random

    from tests.edge.simulation.network import SimulatedLoop
    from tests.edge.simulation.streams import Stream

BEGINNING = "-1"
# A poll first reads, and reads again what has moved on meanwhile, each time as long as may be.
_LONGEST_POLL_S = POLL_S + 3 * (2 * PATIENCE_S) + 30


class Viewer:
    """`position` is the offset that all was told up to."""

    def __init__(
        self,
        loop: SimulatedLoop,
        edge: Edge,
        stream: Stream,
        judge: Judge,
        chance: random.Random,
        *,
        identified: bool,
    ) -> None:
        self._loop = loop
        self._edge = edge
        self.stream = stream
        self._judge = judge
        self._chance = chance
        self._fields = {"Authorization": "me"} if identified else {}
        self._client = Client(loop, edge.address)
        self._tags: dict[str, tuple[str, Got]] = {}
        self.position = BEGINNING
        self.closed = False
        self.is_quiet = False  # stays and does nothing rash any more

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._edge.name} {self.stream.name} {self.position}>"

    @property
    def is_there(self) -> bool:
        version = self.stream.versions[-1]
        if version.making is None:
            return True
        tail = self.stream.makings[version.making].offset(version.tail)
        return self.position == tail and self.closed == version.closed

    def leave(self) -> None:
        self._client.leave()

    async def read(self, query: str, start: str) -> Got | None:
        target = f"{PREFIX}/{self.stream.name}?{query}"
        fields = dict(self._fields)
        known = self._tags.get(target)
        if known is not None and self._chance.random() < 0.5:
            fields["If-None-Match"] = known[0]
        got = await self._client.ask("GET", target, fields)
        if got is None:
            if self._judge.is_calm and self.is_quiet:
                self._judge.complain(f"{self!r} was cut: {query}")
            return None
        if got.status == 304 and known is not None:
            old = known[1]
            told = {**old.fields, "age": "0", "stream-up-to-date": "", **got.fields}
            got = got._replace(status=200, fields=told, body=old.body)
        if "etag" in got.fields and got.status == 200:
            self._tags[target] = got.fields["etag"], got
        self._judge.answer(self._edge.name, self.stream, start, got, f"{fields} {query}")
        return got

    def _take(self, got: Got) -> None:
        if got.status in {400, 404, 410}:
            self.position, self.closed = BEGINNING, False
        elif got.status in {200, 204}:
            self.position = got.fields["stream-next-offset"]
            self.closed = got.fields.get("stream-closed") == "true"

    async def _pause(self, longest_s: float) -> None:
        await asyncio.sleep(self._chance.uniform(0, longest_s))

    async def _again(self) -> None:
        """After the end of a stream, or what went wrong."""
        await self._pause(2.0)
        if self.closed and not self.is_there:
            self.position, self.closed = BEGINNING, False


class Poller(Viewer):
    """Catches up, then polls."""

    async def run(self) -> None:
        caught_up = self._chance.random() < 0.5
        cursor = ""
        while True:
            live = "&live=long-poll" if caught_up else ""
            more = f"&cursor={cursor}" if live and cursor and self._chance.random() < 0.8 else ""
            began = self._loop.time()
            got = await self._asked(f"offset={self.position}{live}{more}")
            self._in_time(got, began)
            if got is None or got.status not in {200, 204}:
                caught_up = caught_up and self.position != BEGINNING
                await self._again()
                continue
            cursor = got.fields.get("stream-cursor", "")
            if not live:
                empty = len(got.body) <= 2
                caught_up = empty or got.fields.get("stream-up-to-date") == "true"
            if self.closed:
                await self._again()
            if self._chance.random() < 0.1 and not self.is_quiet:
                await self._pause(4.0)

    async def _asked(self, query: str) -> Got | None:
        asking = asyncio.ensure_future(self.read(query, self.position))
        rash = not self.is_quiet and self._chance.random() < 0.15
        try:
            await asyncio.wait([asking], timeout=self._chance.uniform(0, 5) if rash else None)
            if not asking.done():
                self.leave()
            got = await asking
        finally:
            asking.cancel()
        if got is not None:
            self._take(got)
        return got

    def _in_time(self, got: Got | None, began: float) -> None:
        took_s = self._loop.time() - began
        longest_s = POLL_S + 1.5 if self._judge.is_calm else _LONGEST_POLL_S
        if took_s > longest_s:
            self._judge.complain(f"{self!r} waited for {took_s:.1f} s: {got}")


class Follower(Viewer):
    """Follows events."""

    async def run(self) -> None:
        while True:
            await self._follow()
            await self._again()

    async def _follow(self) -> None:
        asked = self._loop.time()
        target = f"{PREFIX}/{self.stream.name}?live=sse&offset={self.position}"
        leaves = asked + self._chance.uniform(0, 20)
        coded = False
        client = self._client
        async for told in client.events(target, self._fields):
            if isinstance(told, Got):
                if told.status not in {200, 204}:
                    self._judge.answer(self._edge.name, self.stream, self.position, told, target)
                if told.status in {400, 404, 410}:
                    self.position = BEGINNING
                coded = told.fields.get("stream-sse-data-encoding") == "base64"
                self.closed = self.closed or told.status == 204
                continue
            self._hear(told, asked, coded=coded)
            if not self.is_quiet and self._chance.random() < 0.05:
                await client.stall(self._chance.uniform(0, 6))
            if not self.is_quiet and self._loop.time() > leaves:
                self.leave()
                return

    def _hear(self, told: Told, asked: float, *, coded: bool) -> None:
        judge, stream = self._judge, self.stream
        if len(told.data) > 1:
            judge.complain(f"{self!r} was told of more than one piece: {told}")
        body = told.data[0] if told.data else b""
        versions = stream.within(asked - FOR_EVER_S, self._loop.time())
        floor = judge.floor(self._edge.name, stream, asked)
        what = f"{self!r} {told} floor {floor}"
        judge.answers += 1
        end = stream.parsed(told.offset)
        makings = [
            one
            for one in stream.of(end, versions)
            if one.number >= floor.first and one.nature.is_coded is coded
        ]
        if not judge.is_cut(stream, self.position):
            judge.units(stream, self.position, end, body, makings, what)
        if told.closed and not judge.ends_closed(stream, end, versions):
            judge.complain(f"not closed: {what}")
        if told.up_to_date:
            judge.tail(stream, end, versions, floor)
        self.position, self.closed = told.offset, told.closed


class Glancer(Viewer):
    """Reads all there is, now and then, and perhaps where it ends."""

    async def run(self) -> None:
        while True:
            if self._chance.random() < 0.2:
                await self.read("offset=now", "now")
            await self.chase()
            await self._pause(5.0)

    async def chase(self) -> bool:
        """Read from the beginning to the tail; whether that could be."""
        self.position, self.closed = BEGINNING, False
        while True:
            before = self.position
            got = await self.read(f"offset={self.position}", self.position)
            if got is None or got.status != 200:
                return False
            self._take(got)
            if self.position == before or "stream-up-to-date" in got.fields or self.closed:
                return True
            if self._chance.random() < 0.1 and not self.is_quiet:
                return False
