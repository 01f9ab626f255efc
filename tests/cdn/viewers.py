"""Many readers in one event loop, each with a connection of its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Self

from tests.support.http1 import Client, request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.support.http1 import Answer

AT_ONCE = 100  # connections that are opened together: fewer than a listener's queue holds


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, when it was there (loop time), and how many polls it took."""

    answer: Answer
    at: float
    polls: int = 1


class Crowd:
    """Readers who have connected, and ask the same at the same time."""

    def __init__(self, clients: Sequence[Client]) -> None:
        self.clients = clients
        self.began = 0.0
        self._waiting: list[asyncio.Task[Answered | None]] = []

    @classmethod
    async def connect(cls, port: int, size: int, patience_s: float) -> Self:
        """So many readers, who each wait no longer than this for whatever comes."""
        clients: list[Client] = []
        for first in range(0, size, AT_ONCE):
            some = range(first, min(first + AT_ONCE, size))
            clients += await asyncio.gather(*(_connect(port, patience_s) for _ in some))
        return cls(clients)

    def ask(self, target: str, **headers: str) -> None:
        """Everybody sends this request."""
        self.send([request("GET", target, None, **headers)] * len(self.clients))

    def send(self, wires: Sequence[bytes]) -> None:
        """Each reader sends its own request."""
        self.began = asyncio.get_running_loop().time()
        self._waiting = [
            asyncio.create_task(_ask(client, wire))
            for client, wire in zip(self.clients, wires, strict=True)
        ]

    def follow(self, poll: Callable[[str | None], str]) -> None:
        """Everybody asks for news, and again with the cursor of a 204, as clients do."""
        self.began = asyncio.get_running_loop().time()
        self._waiting = [asyncio.create_task(_follow(client, poll)) for client in self.clients]

    async def answers(self) -> list[Answered]:
        """Of those who were answered in time."""
        return [one for one in await asyncio.gather(*self._waiting) if one is not None]

    @property
    def is_answered(self) -> bool:
        """Whether nobody waits any more."""
        return all(task.done() for task in self._waiting)

    def close(self) -> None:
        """Everybody goes."""
        for task in self._waiting:
            task.cancel()
        for client in self.clients:
            client.close()


async def _connect(port: int, patience_s: float) -> Client:
    return Client(*await asyncio.open_connection("127.0.0.1", port), patience_s)


async def _ask(client: Client, wire: bytes) -> Answered | None:
    try:
        client.send(wire)
        answer = await client.whole(await client.head())
    except TimeoutError:
        return None
    return Answered(answer, asyncio.get_running_loop().time())


async def _follow(client: Client, poll: Callable[[str | None], str]) -> Answered | None:
    cursor, polls = None, 1
    while (answered := await _ask(client, request("GET", poll(cursor)))) is not None:
        if answered.answer.status != 204:
            return replace(answered, polls=polls)
        cursor, polls = answered.answer.get("Stream-Cursor"), polls + 1
    return None


def milliseconds(delays_s: Sequence[float]) -> str:
    """The middle one and the longest."""
    if not delays_s:
        return "never"
    return f"{median(delays_s) * 1000:.0f}/{max(delays_s) * 1000:.0f} ms"
