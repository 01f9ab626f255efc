"""Readers who go on at another gateway, by their offset, whenever one cuts them off."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.faults.follower import CUT_OFF, parse_events
from tests.faults.prefixes import Trace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import aiohttp

    from tests.faults.prefixes import Prefixes

RETRY_S = 0.05  # as clients wait before they ask once more
"""How long a client waits after a refusal before it asks again, the next gateway."""
LOST = frozenset({404, 410})
REFUSED = frozenset({429, 503})


class RoamingReader:
    """One live reader's way through a stream: what it has read, as a digest, and what befell it."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        gateways: Sequence[str],
        prefixes: Prefixes,
        *,
        live: str,
        turn: int,
    ) -> None:
        self.session = session
        self.gateways = gateways
        self.prefixes = prefixes
        self.live = live
        self.number = self.turn = turn
        self.at_end = False
        self.cuts = 0
        self.refusals = 0
        self.restarts = 0
        """How often the reader was told that what it had read is lost, and began anew."""
        self.last_loss = ""
        """What it was told then, and where it was."""
        self._begin()

    def __repr__(self) -> str:
        name = self.prefixes.ledger.name
        return (
            f"{self.live} reader {self.number} of {name} at {self.offset}, "
            f"{self.restarts} restarts {self.last_loss}"
        ).rstrip()

    def _begin(self) -> None:
        self.trace = Trace(self.prefixes.ledger)
        self.offset = "-1"
        self.cursor = ""

    async def follow(self) -> None:
        """Read until the stream ends, however often that takes a new connection."""
        read = self._long_poll if self.live == "long-poll" else self._events
        while not self.at_end:
            base = self.gateways[self.turn % len(self.gateways)]
            self.turn += 1
            query = {"offset": self.offset, "live": self.live}
            if self.cursor:
                query["cursor"] = self.cursor
            try:
                url = f"{base}/{self.prefixes.ledger.name}"
                async with self.session.get(url, params=query) as answer:
                    if answer.status in {200, 204}:
                        await read(answer)
                    else:
                        await self._refused(answer)
            except CUT_OFF:
                self.cuts += 1
                await asyncio.sleep(RETRY_S)

    async def _refused(self, answer: aiohttp.ClientResponse) -> None:
        text = await answer.read()
        if answer.status in LOST:
            self.restarts += 1
            self.last_loss = f"(at {self.offset} by {answer.url.port}: {answer.status} {text!r})"
            self._begin()
        else:
            assert answer.status in REFUSED, (self, str(answer.url), answer.status, text)
            self.refusals += 1
        await asyncio.sleep(RETRY_S)

    async def _long_poll(self, answer: aiohttp.ClientResponse) -> None:
        content = await answer.read()
        headers = answer.headers
        self._advance(
            content,
            headers["Stream-Next-Offset"],
            headers.get("Stream-Cursor"),
            is_closed=headers.get("Stream-Closed") == "true",
        )

    async def _events(self, answer: aiohttp.ClientResponse) -> None:
        """Data counts once the control event that follows it has told the next offset."""
        contents: list[bytes] = []
        async for kind, data in parse_events(answer.content):
            if kind == b"data":
                contents.append(data)
                continue
            control: dict[str, Any] = json.loads(data)
            for content in contents[:-1]:
                self.trace.add(content)
            self._advance(
                contents[-1] if contents else b"",
                control["streamNextOffset"],
                control.get("streamCursor"),
                is_closed=control.get("streamClosed", False),
            )
            contents = []

    def _advance(
        self, content: bytes, next_offset: str, cursor: str | None, *, is_closed: bool
    ) -> None:
        if content:
            self.trace.add(content)
        self.offset = next_offset
        self.cursor = cursor or self.cursor
        self.at_end = is_closed
        self.prefixes.saw(next_offset, self.trace, repr(self))


class Whole(NamedTuple):
    """A stream as one read of it found it."""

    messages: list[bytes]
    is_closed: bool
    tail: str


class Catcher:
    """Reads streams from their beginning, through one gateway or many."""

    def __init__(self, session: aiohttp.ClientSession, gateways: Sequence[str]) -> None:
        self.session = session
        self.gateways = gateways
        self.turn = 0
        self.restarts = 0

    async def read(self, prefixes: Prefixes) -> Whole:
        """Everything; begins anew when what it has read is lost."""
        found: list[bytes] = []
        trace, offset = Trace(prefixes.ledger), "-1"
        led: list[tuple[str, str, str | None, bytes]] = []
        """The answers that led here: where to, by which way, and how they end."""
        while True:
            status, headers, content = await self._get(prefixes.ledger.name, offset)
            if status in LOST:
                self.restarts += 1
                found, trace, offset = [], Trace(prefixes.ledger), "-1"
                await asyncio.sleep(RETRY_S)
                continue
            assert status == 200, (prefixes.ledger.name, offset, status, content, led)
            following = headers["Stream-Next-Offset"]
            led.append((offset, following, headers.get("Cache-Status"), content[-80:]))
            found += prefixes.ledger.split(content)
            if content:
                trace.add(content)
            prefixes.saw(following, trace, f"catch-up from {offset}")
            if etag := headers.get("ETag"):
                prefixes.validates(offset, etag, following, content)
            offset = following
            if headers.get("Stream-Up-To-Date") == "true":
                return Whole(found, headers.get("Stream-Closed") == "true", offset)

    async def _get(self, name: str, offset: str) -> tuple[int, Mapping[str, str], bytes]:
        """The first answer that is one, from whichever gateway gives it."""
        while True:
            base = self.gateways[self.turn % len(self.gateways)]
            self.turn += 1
            try:
                async with self.session.get(f"{base}/{name}", params={"offset": offset}) as answer:
                    content = await answer.read()
                    if answer.status not in REFUSED:
                        return answer.status, answer.headers, content
            except CUT_OFF:
                pass
            await asyncio.sleep(RETRY_S)
