"""The steps of exchanges."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tests.support.waiting import until
from tests.web.corpus.gateway import turns
from tests.web.corpus.masks import body_of, lines_of, unusual
from tests.web.corpus.player import MAIN

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.web.corpus.exchange import Reply
    from tests.web.corpus.player import Player


@dataclass(frozen=True)
class Send:
    """Requests in one write. The origin answers the next ones by `origin`."""

    requests: tuple[bytes, ...]
    by: str = MAIN
    origin: tuple[bytes | Reply, ...] = ()
    early: bool = False

    async def play(self, player: Player) -> None:
        if self.origin:
            player.gateway.origin_plays(*self.origin)
        requests = [one.replace(b"{etag}", player.tag) for one in self.requests]
        for one in requests:
            head, end, body = one.partition(b"\r\n\r\n")
            player.note(self.by, ">", unusual(lines_of(head + end)[: -1 if end else None], body))
            player.note(self.by, ">|", body_of(body))
        await player.send(b"".join(requests), requests, self.by, early=self.early)


@dataclass(frozen=True)
class Parts:
    """One request in several writes, each of which arrives before the next is sent."""

    parts: tuple[bytes, ...]
    by: str = MAIN
    origin: tuple[bytes | Reply, ...] = ()
    is_shown: bool = True

    async def play(self, player: Player) -> None:
        if self.origin:
            player.gateway.origin_plays(*self.origin)
        whole = [b"".join(self.parts)]
        for number, part in enumerate(self.parts):
            is_first = number == 0
            if self.is_shown:
                player.note(self.by, ">", lines_of(part))
            await player.send(part, whole if is_first else [], self.by, early=False)
            await turns()


@dataclass(frozen=True)
class More:
    """More bytes of what was begun before."""

    data: bytes
    by: str = MAIN

    async def play(self, player: Player) -> None:
        player.note(self.by, ">", lines_of(self.data))
        await player.send(self.data, [], self.by, early=False)
        await turns()


@dataclass(frozen=True)
class Answers:
    """The next answers; a client that `leaves` behind them does not send what it still owes."""

    count: int = 1
    by: str = MAIN
    leaves: bool = False

    async def play(self, player: Player) -> None:
        for _ in range(self.count):
            await player.answer(self.by, leaves=self.leaves)


@dataclass(frozen=True)
class Head:
    """The head of an answer whose body goes on."""

    by: str = MAIN

    async def play(self, player: Player) -> None:
        client = await player.client(self.by)
        player.head(self.by, await client.head())


@dataclass(frozen=True)
class Ask:
    """A request and its answer."""

    request: bytes
    by: str = MAIN
    origin: tuple[bytes | Reply, ...] = ()
    early: bool = False

    async def play(self, player: Player) -> None:
        await Send((self.request,), self.by, self.origin, self.early).play(player)
        await player.answer(self.by)


@dataclass(frozen=True)
class Events:
    """Events of an answer whose head was taken, until they end so."""

    end: bytes
    by: str = MAIN

    async def play(self, player: Player) -> None:
        await player.events(self.by, self.end)


@dataclass(frozen=True)
class EventsEnd:
    """The rest of the events of an answer that ends."""

    by: str = MAIN

    async def play(self, player: Player) -> None:
        await player.events_to_the_end(self.by)


@dataclass(frozen=True)
class Rest:
    """What comes until the connection ends."""

    by: str = MAIN

    async def play(self, player: Player) -> None:
        await player.rest(self.by)


@dataclass(frozen=True)
class Leave:
    """The client breaks its connection."""

    by: str = MAIN

    async def play(self, player: Player) -> None:
        player.say(f"{self.by} leaves")
        player.leave(self.by)


@dataclass(frozen=True)
class Finish:
    """The client sends no more, and listens on."""

    by: str = MAIN

    async def play(self, player: Player) -> None:
        player.say(f"{self.by} sends no more")
        await player.finish(self.by)


@dataclass(frozen=True)
class Pass:
    """Time passes for the gateway: for what expires, not for its timers."""

    seconds: float

    async def play(self, player: Player) -> None:
        player.say(f"{self.seconds:g} seconds pass")
        player.gateway.clock.advance(self.seconds)
        player.gateway.elapsed.advance(self.seconds)


@dataclass(frozen=True)
class Arrive:
    """Whatever was sent arrives."""

    async def play(self, player: Player) -> None:
        await turns()


@dataclass(frozen=True)
class Until:
    """Something has become so."""

    is_once: ClassVar = True

    what: str
    is_so: Callable[[Player], bool]

    async def play(self, player: Player) -> None:
        await until(lambda: self.is_so(player), self.what)
        player.say(self.what)


@dataclass(frozen=True)
class Do:
    """Something is done to the gateway."""

    is_once: ClassVar = True

    what: str
    deed: Callable[[Player], None]

    async def play(self, player: Player) -> None:
        player.say(self.what)
        self.deed(player)
        await turns()


@dataclass(frozen=True)
class Go:
    """The origin sends the next packet of what it holds back."""

    async def play(self, player: Player) -> None:
        player.say("the origin goes on")
        player.gateway.gate.release()
        await turns()


@dataclass(frozen=True)
class Drain:
    """The gateway begins to stop."""

    is_once: ClassVar = True

    async def play(self, player: Player) -> None:
        player.say("the gateway begins to stop")
        gateway = player.gateway
        gateway.server.begin_close()
        gateway.listener.close()
        player.tasks += [asyncio.create_task(route.drain()) for route in gateway.routes]
        await turns()


def parked(count: int = 1) -> Until:
    """Wait until so many live readers wait."""
    return Until(f"{count} wait", lambda player: player.gateway.limits.live_readers == count)
