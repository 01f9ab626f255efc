"""Connections that send what they are given, and note both sides of what was said."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
from collections import deque
from typing import TYPE_CHECKING

from tests.fuzz import corpus
from tests.support.http1 import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

QUIET_S = 0.15
"""A connection that says nothing for so long has answered, or waits for more."""
REPORTED = 10
"""One is enough to look at; the first ones may be of several kinds."""
KEPT = 20
"""Conversations that a finding's transcript has: those that were last."""
_FAILED = re.compile(
    rb'"code": ?"internal_error"|"status": ?500|^HTTP/1.1 500 |Server got itself in trouble'
)
"""What the gateway, or aiohttp in it, says of itself; an origin's 500 is passed on."""
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
_SHRINKS = 60
"""Attempts to find a shorter conversation; each is one connection."""


class Conversation:
    """What went over one connection."""

    def __init__(self, sent: list[bytes]) -> None:
        self.sent = sent
        self.received = b""
        self.is_dropped = False  # the server closed it instead of an answer

    @property
    def statuses(self) -> list[bytes]:
        """The statuses of the answers so far."""
        return _STATUS.findall(self.received)

    @property
    def is_last(self) -> bool:
        """Whether the connection ends with the answer so far, or may: a live one is not over."""
        received = self.received.lower()
        is_live = b"\r\ntransfer-encoding: chunked\r\n" in received
        return b"\r\nconnection: close\r\n" in received or (
            is_live and not received.endswith(b"\r\n0\r\n\r\n")
        )

    @property
    def has_failed(self) -> bool:
        """Whether it had a 500 among its answers, or was dropped."""
        return self.is_dropped or _FAILED.search(self.received) is not None

    def told(self) -> dict[str, object]:
        """For a transcript; bytes are Latin-1."""
        return {
            "sent": [part.decode("latin-1") for part in self.sent],
            "received": self.received[:4000].decode("latin-1"),
        }


class Talkers:
    """Many clients of one port; all that they send follows from the seed."""

    def __init__(
        self,
        port: int,
        seed: str,
        transcript: Path,
        conversation: Callable[[random.Random], list[bytes]],
        *,
        is_whole: bool = False,
    ) -> None:
        """Send on each connection what `conversation` returns.

        With `is_whole` requests are sent whole, one by one, and each must be answered.
        """
        self.port = port
        self.statuses: dict[str, int] = {}
        self.findings: list[str] = []
        self._seed = seed
        self._conversation = conversation
        self._transcript = transcript
        self._is_whole = is_whole
        self._failed: list[Conversation] = []
        self._last: deque[Conversation] = deque(maxlen=KEPT)

    async def phase(self, number: int, clients: int, seconds: float) -> None:
        """Talk over so many connections at a time, for so long."""
        until = asyncio.get_running_loop().time() + seconds
        await asyncio.gather(*(self._client(f"{number}-{one}", until) for one in range(clients)))

    async def _client(self, name: str, until: float) -> None:
        chance = random.Random(f"{self._seed}-{name}")
        while asyncio.get_running_loop().time() < until:
            conversation = Conversation([])
            self._last.append(conversation)
            with contextlib.suppress(OSError):
                await self._talk(chance, conversation)
            self._count(conversation)
            if conversation.has_failed:
                await self._report(conversation)

    async def _talk(self, chance: random.Random, conversation: Conversation) -> None:
        requests = self._conversation(chance)  # which may take longer than a server waits for it
        client = await Client.connect(self.port)
        cut = not self._is_whole and chance.random() < 0.15
        try:
            for request in requests:
                parts = [request] if self._is_whole else corpus.segments(chance, request)
                for part in parts[: chance.randint(0, len(parts))] if cut else parts:
                    conversation.sent.append(part)
                    client.send(part)
                    await asyncio.sleep(0)  # each part is a packet of its own
                answered = len(conversation.statuses) if self._is_whole else -1
                if not cut and not await _hear(client, conversation):
                    conversation.is_dropped = len(conversation.statuses) == answered
                    return
                if self._is_whole and conversation.is_last:
                    return
            if cut and chance.random() < 0.5:
                client.reset()
        finally:
            client.abort()

    def _count(self, conversation: Conversation) -> None:
        for status in conversation.statuses:
            self.statuses[status.decode()] = self.statuses.get(status.decode(), 0) + 1

    async def _report(self, conversation: Conversation) -> None:
        if len(self.findings) < REPORTED:
            self._failed.append(conversation)
            lines = await self._shorter(b"".join(conversation.sent))
            what = "dropped after" if conversation.is_dropped else "500 to"
            self.findings.append(f"{what} {lines[:1000]!r}")
        self.write()

    async def _shorter(self, sent: bytes) -> bytes:
        """What still gets a 500 with each line left out that need not be there."""
        lines = sent.splitlines(keepends=True)
        at = tries = 0
        while at < len(lines) and tries < _SHRINKS:
            tries += 1
            fewer = lines[:at] + lines[at + 1 :]
            if await self._fails(b"".join(fewer)):
                lines = fewer
            else:
                at += 1
        return b"".join(lines)

    async def _fails(self, sent: bytes) -> bool:
        conversation = Conversation([sent])
        with contextlib.suppress(OSError):
            client = await Client.connect(self.port)
            try:
                client.send(sent)
                has_ended = not await _hear(client, conversation)
            finally:
                client.abort()
            conversation.is_dropped = self._is_whole and has_ended and not conversation.statuses
        return conversation.has_failed

    def write(self) -> None:
        """Keep the conversations that failed, and the last ones."""
        told: Iterable[dict[str, object]] = [one.told() for one in (*self._failed, *self._last)]
        lines = [json.dumps(one) for one in told]
        self._transcript.write_text("\n".join(lines) + "\n")


async def _hear(client: Client, conversation: Conversation) -> bool:
    """Take what is said until it is quiet; False when the connection has ended."""
    while True:
        try:
            data = await asyncio.wait_for(client.part(), QUIET_S)
        except TimeoutError:
            return True
        if not data:
            return False
        conversation.received += data
        if len(conversation.received) > 1 << 20:  # long streams: their beginning tells enough
            conversation.received = conversation.received[-(1 << 16) :]
