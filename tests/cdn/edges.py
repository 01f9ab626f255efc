"""A CDN in front of an origin, and the streams behind both, as the cases use them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.cdn.origin import STREAMS, TEXT
from tests.cdn.viewers import Crowd
from tests.support.http1 import ask
from tests.support.waiting import at_rest, until

if TYPE_CHECKING:
    from tests.cdn.findings import Fault
    from tests.cdn.origin import Origin
    from tests.support.http1 import Answer

GRACE_S = 2.0  # what a busy machine may add to a time; less than another poll
QUIET_S = 0.1
VIEWERS = 200


def grace(size: int) -> float:
    """What a busy machine may add to the time of so many readers, in seconds."""
    return GRACE_S * max(1.0, size / 200)


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream, as its origin has it."""

    path: str
    port: int
    tail: str
    """Where it ended when it was made."""

    def append(self, data: bytes, **headers: str) -> str:
        """At the origin; where the stream ends then."""
        answer = ask(self.port, "POST", self.path, data, Content_Type=TEXT, **headers)
        assert answer.status in {200, 204}, answer
        return answer.next_offset

    def poll(self, offset: str, cursor: str | None = None) -> str:
        """The target of a long-poll, with its query in the order that clients send it in."""
        echoed = "" if cursor is None else f"&cursor={cursor}"
        return f"{self.path}?offset={offset}&live=long-poll{echoed}"


@dataclass(frozen=True, slots=True)
class Edge:
    """A CDN in front of an origin."""

    port: int
    origin: Origin
    known_faults: frozenset[Fault] = frozenset()
    prefix: str = STREAMS
    """Of its streams, by which its requests are told from another one's."""
    viewers: int = VIEWERS
    """How many come at once in most cases."""

    def ask(self, method: str, target: str, body: bytes | None = None, **headers: str) -> Answer:
        """Through the CDN."""
        return ask(self.port, method, target, body, **headers)

    def at_origin(self, target: str) -> Answer:
        """The same read, past the CDN."""
        return ask(self.origin.port, "GET", target)

    def stored(self, path: str) -> bytes:
        """What the origin has of a stream."""
        stored, offset, is_more = b"", "-1", True
        while is_more:
            answer = self.at_origin(f"{path}?offset={offset}")
            stored, offset = stored + answer.body, answer.next_offset
            is_more = "stream-up-to-date" not in answer.headers
        return stored

    def stream(self, *records: bytes, path: str | None = None) -> Stream:
        """A new stream with these records."""
        path = path or self.origin.path(self.prefix)
        made = ask(self.origin.port, "PUT", path, Content_Type=TEXT)
        assert made.status == 201, made
        stream = Stream(path, self.origin.port, made.next_offset)
        tails = [stream.append(record) for record in records]
        return Stream(path, self.origin.port, tails[-1]) if tails else stream

    async def crowd(self, size: int) -> Crowd:
        """Readers who wait for a poll's time, and not much longer."""
        return await Crowd.connect(self.port, size, self.origin.poll_s + 2 * grace(size))

    def polls(self) -> int:
        """Long-polls that have come to the origin."""
        return self.origin.asked(self.prefix).polls

    async def polls_at_rest(self, before: int) -> None:
        """Wait until more polls than `before` have come to the origin, and no more come."""
        await until(lambda: self.polls() > before, "a poll at the origin")
        await at_rest(self.polls, QUIET_S)
