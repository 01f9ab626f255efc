"""What offsets that were given out answer now: what follows them, or that it is lost."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.faults.follower import CUT_OFF
from tests.faults.roaming import REFUSED, RETRY_S

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

    import aiohttp

    from tests.faults.prefixes import Prefixes
    from tests.faults.readback import Readback

_GO_ON = re.compile(rb"go on from ([0-9_]+)")
FORGET_S = 5.0
"""How long a gateway may go on to answer with what it holds of a lost tail."""


@dataclass(slots=True)
class Found:
    """What the probes of one run found."""

    kept: int = 0
    gone: int = 0
    stale: int = 0
    """Answers with content that is lost, and that was there once under that very offset."""
    unchanged: int = 0
    named: int = 0
    """Offsets that a 410 named to go on from."""
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Probes:
    """Asks through one gateway after another."""

    def __init__(
        self, clients: aiohttp.ClientSession, gateways: Sequence[str], chance: random.Random
    ) -> None:
        self.clients = clients
        self.gateways = itertools.cycle(gateways)
        self.chance = chance
        self.found = Found()

    async def ask(self, prefixes: Prefixes, now: Readback, most: int) -> None:
        """At most so many offsets of each kind, of one stream that nobody writes to."""
        present = {trace.digest: index for index, trace in enumerate(now.traces)}
        kept, lost = [], set(prefixes.lost)
        for offset, trace in prefixes.traces.items():
            if trace.digest not in present:
                lost.add(offset)
            elif present[trace.digest] or offset == "-1":
                # An offset before all content may be of a stream that was lost altogether.
                kept.append(offset)
        self._same_twice(prefixes, kept)
        for offset in self.chance.sample(kept, min(most, len(kept))):
            index = present[prefixes.traces[offset].digest]
            await self._ask_kept(prefixes, offset, now.messages[index:])
        for offset in self.chance.sample(sorted(lost), min(most, len(lost))):
            await self._ask_lost(prefixes, offset, now)
        validated = self.chance.sample(list(prefixes.validated), min(most, len(prefixes.validated)))
        for offset, etag in validated:
            await self._ask_whether_changed(prefixes, offset, etag, lost)

    def _same_twice(self, prefixes: Prefixes, kept: Sequence[str]) -> None:
        """An offset whose append is lost is not the offset of another."""
        again = prefixes.lost.intersection(kept)
        self.found.faults += [
            f"{prefixes.ledger.name}: {offset} was of a lost append and is given again"
            for offset in again
        ]

    async def _ask_kept(self, prefixes: Prefixes, offset: str, rest: list[bytes]) -> None:
        answer = await self._get(prefixes, offset)
        if answer.status != 200:
            self._fault(prefixes, offset, answer, "is still there")
            return
        got = prefixes.ledger.split(answer.body)
        trace = prefixes.traces[offset].copy()
        if answer.body:
            trace.add(answer.body)
        prefixes.saw(answer.headers["Stream-Next-Offset"], trace, f"a probe of {offset}")
        if got != rest[: len(got)] or (rest and not got):
            self._fault(prefixes, offset, answer, "has other content behind it")
        self.found.kept += 1

    async def _ask_lost(self, prefixes: Prefixes, offset: str, now: Readback) -> None:
        live = self.chance.choice(("", "long-poll", "sse"))
        deadline = asyncio.get_running_loop().time() + FORGET_S
        while True:
            answer = await self._get(prefixes, offset, **({"live": live} if live else {}))
            if answer.status == 410:
                if not _tells_why(answer):
                    self._fault(prefixes, offset, answer, "is lost, and nobody says why")
                self.found.gone += 1
                if named := _GO_ON.search(answer.body):
                    await self._ask_named(prefixes, named[1].decode(), now)
                return
            if answer.status != 200 or live == "sse" or not self._was_so(prefixes, offset, answer):
                self._fault(prefixes, offset, answer, "is lost")
                return
            self.found.stale += 1
            if asyncio.get_running_loop().time() > deadline:
                self._fault(prefixes, offset, answer, "is lost and still answered")
                return
            await asyncio.sleep(RETRY_S)

    async def _ask_named(self, prefixes: Prefixes, offset: str, now: Readback) -> None:
        """A reader can go on where a 410 says: it is behind what is still there."""
        answer = await self._get(prefixes, offset)
        got = prefixes.ledger.split(answer.body) if answer.status == 200 else []
        if answer.status != 200 or (got and got[0] not in now.messages):
            self._fault(prefixes, offset, answer, "was named to go on from")
            return
        index = now.messages.index(got[0]) if got else len(now.messages)
        if got != now.messages[index : index + len(got)]:
            self._fault(prefixes, offset, answer, "has something else behind it than is there")
        prefixes.saw(offset, now.traces[index], "those who are told to go on from there")
        self.found.named += 1

    def _was_so(self, prefixes: Prefixes, offset: str, answer: _Answer) -> bool:
        """Whether this answer was right before the loss."""
        before = prefixes.traces.get(offset)
        after = prefixes.traces.get(answer.headers["Stream-Next-Offset"])
        if before is None or after is None:
            return False
        trace = before.copy()
        if answer.body:
            trace.add(answer.body)
        return trace.digest == after.digest

    async def _ask_whether_changed(
        self, prefixes: Prefixes, offset: str, etag: str, lost: set[str]
    ) -> None:
        following, _ = prefixes.validated[offset, etag]
        answer = await self._get(prefixes, offset, if_none_match=etag)
        if answer.status == 304:
            self.found.unchanged += 1
            if offset in lost or following in lost:
                self._fault(prefixes, offset, answer, f"changed since {etag}")
        elif answer.status == 200:
            now = answer.headers["Stream-Next-Offset"]
            prefixes.validates(offset, answer.headers["ETag"], now, answer.body)
        elif answer.status != 410 or offset not in lost:
            self._fault(prefixes, offset, answer, "has neither changed nor not")

    async def _get(
        self, prefixes: Prefixes, offset: str, *, if_none_match: str = "", **query: str
    ) -> _Answer:
        headers = {"If-None-Match": if_none_match} if if_none_match else {}
        while True:
            url = f"{next(self.gateways)}/{prefixes.ledger.name}"
            params = {"offset": offset, **query}
            try:
                async with self.clients.get(url, params=params, headers=headers) as answer:
                    if answer.status in REFUSED:
                        await asyncio.sleep(RETRY_S)
                        continue
                    is_endless = answer.content_type == "text/event-stream"
                    body = b"" if is_endless else await answer.read()
                    return _Answer(answer.status, answer.headers, body)
            except CUT_OFF:
                await asyncio.sleep(RETRY_S)

    def _fault(self, prefixes: Prefixes, offset: str, answer: _Answer, what: str) -> None:
        self.found.faults.append(
            f"{prefixes.ledger.name}: {offset} {what}, but the answer is {answer.status} "
            f"{dict(answer.headers)} {answer.body[:200]!r}"
        )


def _tells_why(answer: _Answer) -> bool:
    if answer.headers["Content-Type"] != "application/problem+json":
        return False
    return bool(json.loads(answer.body)["detail"])
