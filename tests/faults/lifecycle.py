"""A client that creates, forks and deletes streams, and knows what must be left of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.faults.follower import CUT_OFF

if TYPE_CHECKING:
    import aiohttp

ABSENT = (404, b"")
HIDDEN = (410, b"")
KEPT_CYCLES = 5


@dataclass(frozen=True, slots=True)
class Step:
    """One request: what it may answer, and what it leaves of the streams it touches."""

    method: str
    name: str
    headers: dict[str, str]
    body: bytes
    answers: frozenset[int]
    """With those that only a repeated request gets, whose first answer was lost."""
    leaves: dict[str, tuple[tuple[int, bytes], ...]]


class Lifecycle:
    """Runs the same script over and over; `problems` finds what a server made of it."""

    def __init__(self, session: aiohttp.ClientSession, url: str, prefix: str, name: str) -> None:
        self.session = session
        self.url = url
        self.prefix = prefix
        self.name = name
        self.cycle = 0
        self.script: list[Step] = []
        self.pending: Step | None = None
        self.steps = 0
        self.streams: dict[str, tuple[tuple[int, bytes], ...]] = {}
        """What a read of each stream may find."""

    async def run(self) -> None:
        """Work until the server goes; the step without an answer is repeated in the next run."""
        try:
            while True:
                if self.pending is None:
                    self.pending = self._next()
                await self._do(self.pending)
                self.pending = None
        except CUT_OFF:
            return

    async def problems(self) -> list[str]:
        """Every stream that is not as the last acknowledged step left it."""
        found = []
        for name, allowed in self.streams.items():
            async with self.session.get(f"{self.url}/{name}") as answer:
                content = await answer.read() if answer.status == 200 else b""
                if (answer.status, content) not in allowed:
                    found.append(f"{name} is {answer.status} {content!r}, not of {allowed}")
        return found

    async def _do(self, step: Step) -> None:
        for name, left in step.leaves.items():
            before = self.streams.get(name, (ABSENT,))
            self.streams[name] = tuple(dict.fromkeys((*before, *left)))
        url = f"{self.url}/{step.name}"
        async with self.session.request(
            step.method, url, headers=step.headers, data=step.body
        ) as answer:
            text = await answer.read()
            assert answer.status in step.answers, (step, answer.status, text)
        self.steps += 1
        self.streams.update(step.leaves)

    def _next(self) -> Step:
        if not self.script:
            self.cycle += 1
            self.script = self._write_script()
            self.streams = dict(list(self.streams.items())[-2 * KEPT_CYCLES :])
        return self.script.pop(0)

    def _write_script(self) -> list[Step]:
        source, fork = f"{self.name}-s{self.cycle}", f"{self.name}-f{self.cycle}"
        first = f"content of {source}. ".encode()
        second = f"added to {fork}. ".encode()
        again = f"{source} once more. ".encode()
        text = {"Content-Type": "text/plain"}
        producer = {"Producer-Id": self.name, "Producer-Epoch": "0", "Producer-Seq": "0"}
        origin = {"Stream-Forked-From": f"{self.prefix}/{source}"}
        created, taken, deleted = frozenset({200, 201}), frozenset({200, 204}), frozenset({204})
        present, forked = (200, first), (200, first + second)
        return [
            Step("PUT", source, text, first, created, {source: (present,)}),
            Step("PUT", fork, text | origin, b"", created, {fork: (present,)}),
            Step("POST", fork, text | producer, second, taken, {fork: (forked,)}),
            Step("DELETE", source, {}, b"", deleted | {410}, {source: (HIDDEN,)}),
            Step("DELETE", fork, {}, b"", deleted | {404}, {fork: (ABSENT,), source: (ABSENT,)}),
            Step("PUT", source, text, again, created, {source: ((200, again),)}),
        ]
