"""What a server of some habits answers, where nothing goes wrong."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlsplit

from tests.edge.simulation.streams import STYLES, Making, Nature, Place, Stream, Version

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence


TYPES = ("text/plain; charset=utf-8", "application/json", "application/octet-stream")
NEVER_SHARED = frozenset({"no-cache", "no-store"})
_LIFETIMES = (None, None, "public, max-age=20, stale-while-revalidate=30", *sorted(NEVER_SHARED))


@dataclass(slots=True)
class Habits:
    """What kind of server it is."""

    natures: Sequence[Nature]  # of streams; those of one path have one where there is only one
    tags: bool
    cursors: bool
    tells_of_tails: bool
    longest: int | None  # units of one answer
    poll_s: float
    refuses_what_lies_ahead: bool  # a read past the end
    refuses_odd_offsets_with: int
    wakes_polls: bool  # when a stream is made anew
    ends_by_closing: bool  # some answers have no length but the connection's end

    @classmethod
    def by(cls, chance: random.Random) -> Habits:
        return cls(
            natures=_natures(chance),
            tags=chance.random() < 0.5,
            cursors=chance.random() < 0.5,
            tells_of_tails=chance.random() < 0.85,
            longest=chance.choice([None, None, 7, 40]),
            poll_s=chance.choice([3.0, 12.0, 30.0]),
            refuses_what_lies_ahead=chance.random() < 0.3,
            refuses_odd_offsets_with=chance.choice([400, 410]),
            wakes_polls=chance.random() < 0.7,
            ends_by_closing=chance.random() < 0.2,
        )


def _natures(chance: random.Random) -> Sequence[Nature]:
    """One, as a server has it that has never heard of others, or any."""
    style, lifetime = chance.choice(STYLES[:2]), chance.choice(_LIFETIMES)
    if chance.random() < 0.5:
        return [Nature(chance.choice(TYPES), style, lifetime)]
    styles = chance.choice([STYLES, STYLES, [style]])
    lifetimes = chance.choice([_LIFETIMES, [lifetime]])
    return [Nature(*one) for one in product(TYPES, styles, lifetimes)]


class Request(NamedTuple):
    """As it came."""

    method: str
    target: str
    fields: dict[str, str]
    body: bytes

    @property
    def name(self) -> str:
        return urlsplit(self.target).path.rpartition("/")[2]

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def is_poll(self) -> bool:
        return self.query.get("live") == "long-poll"

    def start(self, stream: Stream, version: Version) -> Place:
        assert version.making is not None, "it is there"
        offset = self.query.get("offset", "-1")
        if offset in {"-1", "now"}:
            nature = stream.makings[version.making].nature
            return Place(nature.style, version.making, version.tail if offset == "now" else 0)
        return stream.parsed(offset)


class Reply(NamedTuple):
    """But for its framing."""

    status: int
    fields: list[str]
    body: bytes = b""


def waits(habits: Habits, stream: Stream, request: Request) -> bool:
    version = stream.versions[-1]
    if version.making is None or version.closed:
        return False
    start = request.start(stream, version)
    if not start.is_of(stream.makings[version.making]):
        return False
    is_refused = start.at > version.tail and habits.refuses_what_lies_ahead
    return start.at >= version.tail and not is_refused


def read(habits: Habits, stream: Stream, version: Version, request: Request, now: float) -> Reply:
    if version.making is None:
        return Reply(404, [])
    making = stream.makings[version.making]
    asked = request.start(stream, version)
    start = asked.at
    ahead = start > version.tail and habits.refuses_what_lies_ahead
    if ahead or not asked.is_of(making):
        odd = asked.style != making.nature.style
        return Reply(habits.refuses_odd_offsets_with if odd else 410, [])
    longest = version.tail if habits.longest is None else start + habits.longest
    end = min(version.tail, longest)
    fields = _told(habits, stream, version, end, now)
    if request.is_poll and end <= start:
        return Reply(204, fields)
    if making.nature.lifetime is not None and not request.is_poll:
        fields.append(f"Cache-Control: {making.nature.lifetime}")
    if habits.tags:
        tag = f'"{version.making}:{start}:{end}:{version.closed and end == version.tail}"'
        fields.append(f"ETag: {tag}")
        if request.fields.get("if-none-match") == tag:
            return Reply(304, fields)
    fields.append(f"Content-Type: {making.nature.content_type}")
    return Reply(200, fields, making.body(start, end))


def _told(habits: Habits, stream: Stream, version: Version, end: int, now: float) -> list[str]:
    assert version.making is not None, "it is there"
    fields = [f"Stream-Next-Offset: {stream.makings[version.making].offset(end)}"]
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
        made = making or stream.begin(now, chance)
        return _written(made, 201 if making is None else 200)
    if making is None:
        return Reply(404, [])
    if request.method == "DELETE":
        stream.end(now)
        return Reply(204, [f"X-Making: {making.number}"])
    if request.method != "POST":
        return _written(making, 200)
    closes = request.fields.get("stream-closed") == "true"
    if making.closed and (request.body or not closes):
        return Reply(409, ["Stream-Closed: true"])
    if request.body:  # the bytes are chosen here, since the stream may be another by now
        making.append(making.piece(chance, len(request.body)))
    making.closed = making.closed or closes
    stream.note(now)
    return _written(making, 204)


def _written(making: Making, status: int) -> Reply:
    end = making.offset(len(making.units))
    fields = [f"Stream-Next-Offset: {end}", f"X-Making: {making.number}"]
    if making.closed:
        fields.append("Stream-Closed: true")
    return Reply(status, fields)
