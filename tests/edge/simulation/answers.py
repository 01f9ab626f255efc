"""What a server of some habits answers, where nothing goes wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    import random

    from tests.edge.simulation.streams import Making, Stream, Version

NEVER_SHARED = frozenset({"no-cache", "no-store"})
_LIFETIMES = (None, None, "public, max-age=20, stale-while-revalidate=30", *sorted(NEVER_SHARED))


@dataclass(slots=True)
class Habits:
    """What kind of server it is."""

    numbered: bool  # offsets tell one making from another
    tags: bool
    cursors: bool
    tells_of_tails: bool
    lifetime: str | None  # Cache-Control of reads
    longest: int | None  # units of one answer
    poll_s: float
    refuses_what_lies_ahead: bool  # a read past the end
    wakes_polls: bool  # when a stream is made anew
    ends_by_closing: bool  # some answers have no length but the connection's end

    @classmethod
    def by(cls, chance: random.Random) -> Habits:
        """Any kind."""
        return cls(
            numbered=chance.random() < 0.5,
            tags=chance.random() < 0.5,
            cursors=chance.random() < 0.5,
            tells_of_tails=chance.random() < 0.85,
            lifetime=chance.choice(_LIFETIMES),
            longest=chance.choice([None, None, 7, 40]),
            poll_s=chance.choice([3.0, 12.0, 30.0]),
            refuses_what_lies_ahead=chance.random() < 0.3,
            wakes_polls=chance.random() < 0.7,
            ends_by_closing=chance.random() < 0.2,
        )


class Request(NamedTuple):
    """As it came."""

    method: str
    target: str
    fields: dict[str, str]
    body: bytes

    @property
    def name(self) -> str:
        """Of the stream."""
        return urlsplit(self.target).path.rpartition("/")[2]

    @property
    def query(self) -> dict[str, str]:
        """Each parameter's value."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def is_poll(self) -> bool:
        """Whether it waits for news."""
        return self.query.get("live") == "long-poll"

    def start(self, stream: Stream, version: Version) -> tuple[int | None, int]:
        """The making that its offset names, if it does, and the position."""
        offset = self.query.get("offset", "-1")
        if offset in {"-1", "now"}:
            return None, version.tail if offset == "now" else 0
        return stream.parsed(offset)


class Reply(NamedTuple):
    """But for its framing."""

    status: int
    fields: list[str]
    body: bytes = b""


def waits(habits: Habits, stream: Stream, request: Request) -> bool:
    """Whether a poll has to wait for news."""
    version = stream.versions[-1]
    if version.making is None or version.closed:
        return False
    making, position = request.start(stream, version)
    if making not in {None, version.making}:
        return False
    is_refused = position > version.tail and habits.refuses_what_lies_ahead
    return position >= version.tail and not is_refused


def read(habits: Habits, stream: Stream, version: Version, request: Request, now: float) -> Reply:
    """The answer of a server that knows this version."""
    if version.making is None:
        return Reply(404, [])
    making, start = request.start(stream, version)
    if making not in {None, version.making}:
        return Reply(410, [])
    if start > version.tail and habits.refuses_what_lies_ahead:
        return Reply(410, [])
    longest = version.tail if habits.longest is None else start + habits.longest
    end = min(version.tail, longest)
    fields = _told(habits, stream, version, end, now)
    if request.is_poll and end <= start:
        return Reply(204, fields)
    if habits.lifetime is not None and not request.is_poll:
        fields.append(f"Cache-Control: {habits.lifetime}")
    if habits.tags:
        tag = f'"{version.making}:{start}:{end}:{version.closed and end == version.tail}"'
        fields.append(f"ETag: {tag}")
        if request.fields.get("if-none-match") == tag:
            return Reply(304, fields)
    fields.append(f"Content-Type: {stream.content_type}")
    return Reply(200, fields, stream.makings[version.making].body(start, end))


def _told(habits: Habits, stream: Stream, version: Version, end: int, now: float) -> list[str]:
    assert version.making is not None, "it is there"
    fields = [f"Stream-Next-Offset: {stream.offset(version.making, end)}"]
    if end == version.tail and habits.tells_of_tails:
        fields.append("Stream-Up-To-Date: true")
    if end == version.tail and version.closed:
        fields.append("Stream-Closed: true")
    if habits.cursors:
        fields.append(f"Stream-Cursor: {int(now)}")
    return fields


def write(stream: Stream, request: Request, chance: random.Random, now: float) -> Reply:
    """Change a stream as a request wants it."""
    making = stream.current
    if request.method == "PUT":
        made = making or stream.begin(now)
        return _written(stream, made, 201 if making is None else 200)
    if making is None:
        return Reply(404, [])
    if request.method == "DELETE":
        stream.end(now)
        return Reply(204, [f"X-Making: {making.number}"])
    if request.method != "POST":
        return _written(stream, making, 200)
    closes = request.fields.get("stream-closed") == "true"
    if making.closed and (request.body or not closes):
        return Reply(409, ["Stream-Closed: true"])
    if request.body:  # the bytes are chosen here, since the stream may be another by now
        making.append(making.piece(chance, len(request.body)))
    making.closed = making.closed or closes
    stream.note(now)
    return _written(stream, making, 204)


def _written(stream: Stream, making: Making, status: int) -> Reply:
    end = stream.offset(making.number, len(making.units))
    fields = [f"Stream-Next-Offset: {end}", f"X-Making: {making.number}"]
    if making.closed:
        fields.append("Stream-Closed: true")
    return Reply(status, fields)
