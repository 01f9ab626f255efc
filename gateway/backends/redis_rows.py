"""Streams as keys of Redis: their names, what is in them, and the calls that read and write them.

The contract of each function stands beside it in scripts/headgate.lua.
"""

from __future__ import annotations

import asyncio
import hashlib
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from gateway.backends.base import Loaded
from gateway.backends.redis_wire import pack
from gateway.errors import RecordDamaged
from gateway.protocol.epochs import raised
from gateway.protocol.lifecycle import Place
from gateway.protocol.state import Change, ProducerState, Segment, StreamState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.backends.redis_wire import Reply

RETIRED_S = 30 * 24 * 3600  # a removed stream's generation is remembered; later the clock is enough
# Other gateways that follow the stream need no read for what fits. More would be paid for by every
# gateway that follows it for the sake of a read that one of them may have made already.
MOST_NEWS = 8 * 1024
AT_ONCE = 4096  # records that are taken out of a reply in one turn, of about a millisecond
UNREADABLE = "the state of this stream in Redis cannot be read"

_SOURCE = resources.files(__package__).joinpath("scripts/headgate.lua").read_text()
VERSION = hashlib.sha256(_SOURCE.encode()).hexdigest()[:12]
LIBRARY = _SOURCE.replace("@VERSION@", VERSION)

_encode = msgspec.json.Encoder().encode
_decode_state = msgspec.json.Decoder(StreamState).decode
_decode_producer = msgspec.json.Decoder(ProducerState).decode
_encode_news = msgspec.msgpack.Encoder().encode
decode_news = msgspec.msgpack.Decoder(Change).decode


class Names(NamedTuple):
    """The names of keys and channels under a prefix."""

    prefix: str

    def meta(self, path: str) -> str:
        """A stream's first key, whose name is that of its channel too.

        Braces are percent-encoded in a path, so the whole of it is the key's hash tag.
        """
        return f"{self.prefix}:{{{path}}}"

    def path(self, meta: bytes) -> str:
        """The path of a stream whose meta key that is."""
        return meta.decode()[len(self.prefix) + 2 : -1]

    def keys(self, path: str) -> tuple[str, str, str, str]:
        """A stream's keys, in the order that the functions take them."""
        meta = self.meta(path)
        return meta, self.records(path), f"{meta}:producers", f"{meta}:retired"

    def records(self, path: str) -> str:
        """The key of a stream's records."""
        return f"{self.meta(path)}:records"

    @property
    def deadlines(self) -> str:
        """The sorted set of paths by the time at which something is to be done about them."""
        return f"{self.prefix}:deadlines"

    @property
    def gone(self) -> str:
        """The channel on which removals are published, for those who keep answers."""
        return f"{self.prefix}:gone"


class Channels(Protocol):
    """How the servers publish: by channels of their own slots, or everywhere."""

    sharded: bool


class Calls(NamedTuple):
    """The calls of a gateway, packed."""

    names: Names
    channels: Channels
    gateway: str

    def commit(self, changes: Sequence[Change], token: int) -> bytes:
        """Compare and write; what adds no data is taken even when memory has run out.

        By its token, the gateway's own and higher each time, a commit that is sent again knows that
        it was carried out, whatever others did since.
        """
        keys: list[str] = []
        words: list[bytes | str | int] = []
        for change in changes:
            keys += self.names.keys(change.state.path)
            words += self._change(change, token)
        grows = any(change.records or change.expected is None for change in changes)
        return pack(
            "FCALL",
            f"headgate_{'commit' if grows else 'settle'}_{VERSION}",
            len(keys),
            *keys,
            changes[0].state.reign,
            "SPUBLISH" if self.channels.sharded else "PUBLISH",
            self.names.gone,
            self.gateway,
            *words,
        )

    @staticmethod
    def _change(change: Change, token: int) -> list[bytes | str | int]:
        state = change.state
        expected = "" if change.expected is None else _version(state, change.expected)
        size = sum(len(record.data) for record in change.records)
        news = change if size <= MOST_NEWS else msgspec.structs.replace(change, records=())
        words: list[bytes | str | int] = [
            expected,
            _version(state, state.version + 1 if change.removes else state.version),
            token,
            b"" if change.removes else _encode(state),
            _encode_news(news),
            str(state.first) if state.first else "",
            state.generation,
            RETIRED_S,
            "1" if change.removes or state.soft_deleted else "",
            len(change.records),
        ]
        for record in change.records:
            words += (record.end - len(record.data), record.data)
        words.append(len(change.producers))
        for name, producer in change.producers:
            words += (name.encode(), _encode(producer))
        return [*words, len(change.forgotten), *(name.encode() for name in change.forgotten)]

    def load(self, path: str) -> bytes:
        """Everything about a stream but its records."""
        return pack("FCALL", f"headgate_load_{VERSION}", 4, *self.names.keys(path))

    def confirm(self, path: str) -> bytes:
        """The version at which a stream stands."""
        return pack("FCALL", f"headgate_confirm_{VERSION}", 1, self.names.meta(path))

    def read(self, segment: Segment, start: int, end: int) -> bytes:
        """The records that begin from `start` on and before `end`."""
        stop = max(start, min(end, segment.end))
        return pack("XRANGE", self.names.records(segment.path), f"{start}-0", f"({stop}-0")

    def read_all(self, path: str, places: Sequence[tuple[Segment, int]], end: int) -> list[bytes]:
        """The records in each place and then the stream's state.

        In this order, so that the records are of the stream whose state is told. No transaction:
        that would be refused when memory has run out.
        """
        reads = [self.read(segment, start, end) for segment, start in places]
        return [*reads, self.state(path)]

    def before(self, segment: Segment, position: int) -> bytes:
        """The last record that begins before a position."""
        records = self.names.records(segment.path)
        return pack("XREVRANGE", records, f"({position}-0", "-", "COUNT", 1)

    def state(self, path: str) -> bytes:
        """A stream without its producers."""
        return pack("FCALL", f"headgate_state_{VERSION}", 1, self.names.meta(path))

    def note(self, path: str, moment: float, *, new: bool) -> bytes:
        """When a stream is to be looked at: for a new one, no later than was noted before."""
        earlier = ("LT",) if new else ()
        return pack("ZADD", self.names.deadlines, *earlier, moment, path)

    def note_nothing(self, path: str) -> bytes:
        """Not at all."""
        return pack("ZREM", self.names.deadlines, path)

    def noted(self, now: float, past: int, limit: int) -> bytes:
        """The streams that are to be looked at, without the first `past` of them."""
        return pack("ZRANGEBYSCORE", self.names.deadlines, "-inf", now, "LIMIT", past, limit)

    def probe(self) -> bytes:
        """Whether the server takes writes, and from us."""
        return pack("FCALL", f"headgate_probe_{VERSION}", 0, self.names.prefix)


def _version(state: StreamState, version: int) -> str:
    return f"{state.stream_id}.{version}"


def stands(reply: Reply, state: StreamState) -> bool:
    """Whether what `confirm` found is the remembered state."""
    reign, version = reply
    return int(reign) == state.reign and version == _version(state, state.version).encode()


def loaded(reply: Reply) -> Loaded:
    """What `load` found: the state as it goes on under the present reign. Raises RecordDamaged."""
    reign, state, producers, retired = reply
    now = int(reign)
    try:
        generation = None if retired is None else int(retired.split()[0])
        if state is None:
            return Loaded(Place(None, generation, now), {})
        known = {
            name.decode(): _decode_producer(value)
            for name, value in zip(producers[::2], producers[1::2], strict=True)
        }
        return Loaded(Place(raised(_decode_state(state), now), generation, now), known)
    except (ValueError, IndexError) as error:  # msgspec's errors are of the first kind
        raise RecordDamaged(UNREADABLE) from error


def stood(reply: Reply) -> StreamState | None:
    """What `state` found, in the same way."""
    reign, state = reply
    try:
        return None if state is None else raised(_decode_state(state), int(reign))
    except ValueError as error:
        raise RecordDamaged(UNREADABLE) from error


def standing(reply: Reply) -> Loaded | None:
    """What a refused commit found instead, when it tells all of it."""
    _, reign, (state, producers, retired) = reply
    return None if producers is None else loaded((reign, state, producers, retired))


def parts(state: StreamState, start: int, end: int) -> list[tuple[Segment, int]]:
    """Where the records between two positions are, and from where on in each place.

    The last place is the stream's own, which may have grown since the state was known.
    """
    places: list[tuple[Segment, int]] = []
    for segment in state.lineage:
        if start < min(end, segment.end):
            places.append((segment, start))
            start = segment.end
    return [*places, (Segment(state.stream_id, max(start, end), state.path), start)]


async def joined(
    places: Sequence[tuple[Segment, int]], replies: Sequence[Reply], start: int
) -> tuple[bytes, ...]:
    """What was read in each place, up to where the records stop following each other.

    A chunk may be a hundred thousand records, so others have their turn in between. The replies
    are emptied meanwhile: to let go of all of them at once takes its time, too.
    """
    position = start
    datas: list[bytes] = []
    for (_, begin), entries in zip(places, replies, strict=True):
        if begin != position:
            break
        while entries:
            part, entries[:AT_ONCE] = entries[:AT_ONCE], ()
            for entry in part:
                if start_of(entry) != position:
                    return tuple(datas)
                data = entry[1][1]
                datas.append(data)
                position += len(data)
            if entries:
                await asyncio.sleep(0)
    return tuple(datas)


def start_of(entry: Reply) -> int:
    """Where a record begins, by its id in Redis."""
    return int(entry[0][:-2])


def is_inside(reply: Reply, position: int) -> bool:
    """Whether what `before` found goes on beyond a position."""
    return any(start_of(entry) + len(entry[1][1]) > position for entry in reply)
