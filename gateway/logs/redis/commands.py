"""The calls to Redis that read and write streams, and the parsing of their replies.

The log, its readers and its indexes use them.
The contract of each Redis function is in headgate.lua, beside the function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.errors import RecordDamaged
from gateway.logs.contract import LoadedStream
from gateway.logs.redis.connection import pack
from gateway.logs.redis.names import VERSION
from gateway.protocol.lifecycle import PathState
from gateway.protocol.streams.state import Change, ProducerState, StreamState, raised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.logs.redis.connection import Packed, Reply, Word
    from gateway.logs.redis.connector import RedisConnector
    from gateway.logs.redis.names import RedisNames
    from gateway.protocol.streams.state import Record

RETIRED_S = 30 * 24 * 3600  # the generation of a removed stream is stored; then the clock will do
# Bytes of records in a notification. A gateway that follows the stream saves a read by them, but
# every gateway receives them: so longer records are left out, and read by those that need them.
MOST_PUBLISHED = 8 * 1024
# How many of a stream's keys a function takes.
KEYS = {"load": 3, "trim": 2, "purge": 2, "confirm": 1, "state": 1}
PRODUCER = b"p"  # before the name of a producer, in the hash of its stream
UNREADABLE = "the state of this stream in Redis cannot be read"

_encode = msgspec.json.Encoder().encode
_decode_state = msgspec.json.Decoder(StreamState).decode
_decode_producer = msgspec.json.Decoder(ProducerState).decode
_encode_change = msgspec.msgpack.Encoder().encode
_decode_change = msgspec.msgpack.Decoder(Change).decode


class Stretch(NamedTuple):
    """Records that are read from one key: those that begin from `start` on and before `stop`."""

    stream_id: int
    path: str
    start: int
    stop: int

    def calls(self, key: str) -> tuple[Packed, Packed]:
        """Return the calls for the entry with the first record, and for the entries that follow."""
        return (
            pack("XREVRANGE", key, self.start, "-", "COUNT", 1),
            pack("XRANGE", key, f"{self.start + 1}-0", f"({max(self.start + 1, self.stop)}-0"),
        )


class Commands(NamedTuple):
    """The calls of one gateway, encoded for Redis."""

    names: RedisNames
    connector: RedisConnector
    gateway: str

    def commit(self, change: Change, token: int) -> Packed:
        """Return the call that compares the stream's version and writes the change.

        A change without data has a function that works when Redis is out of memory. The token is a
        number that this gateway increases for each commit. It shows for a commit that is sent again
        whether it was carried out, whatever other gateways have written since.
        """
        state = change.state
        expected = "" if change.expected is None else _version(state, change.expected)
        size = sum(len(record.data) for record in change.records)
        published = (
            change if size <= MOST_PUBLISHED else msgspec.structs.replace(change, records=())
        )
        grows = change.records or change.expected is None
        words: list[Word] = [
            state.history,
            "SPUBLISH" if self.connector.sharded else "PUBLISH",
            self.names.removals_channel,
            self.gateway,
            expected,
            _version(state, state.version + 1 if change.removes else state.version),
            token,
            b"" if change.removes else _encode(state),
            _encode_change(published),
            state.first or "",
            state.generation,
            RETIRED_S,
            "1" if change.removes or state.soft_deleted else "",
            *_entry(change.records),
            2 * len(change.producers),
        ]
        for name, producer in change.producers:
            words += (PRODUCER + name.encode(), _encode(producer))
        words += (PRODUCER + name.encode() for name in change.forgotten)
        function = f"headgate_{'commit' if grows else 'settle'}_{VERSION}"
        keys = self.names.keys(state.path)
        return pack("FCALL", function, len(keys), *keys, *words)

    def call(self, function: str, path: str) -> Packed:
        """Return the call of a function that takes the keys of one stream, and nothing else."""
        keys = self.names.keys(path)[: KEYS[function]]
        return pack("FCALL", f"headgate_{function}_{VERSION}", len(keys), *keys)

    def read(self, path: str, places: Sequence[Stretch]) -> list[Packed]:
        """Return the calls for a stream's state, the records in each place, and the state again.

        The records up to the first state's tail are complete; the second state shows whether they
        are all of one stream. A transaction is not used: Redis refuses it when out of memory.
        """
        state = self.call("state", path)
        reads = [call for place in places for call in place.calls(self.names.records(place.path))]
        return [state, *reads, state]

    def probe(self) -> Packed:
        """Return the call that shows whether the server takes writes from this gateway."""
        return pack("FCALL", f"headgate_probe_{VERSION}", 0, self.names.prefix)


def _entry(records: Sequence[Record]) -> tuple[int | str, bytes, str]:
    """Return START, bytes and lengths of the entry of a commit (see `redis.records`).

    START is "" where there are no records, lengths where there is at most one.
    """
    if not records:
        return "", b"", ""
    start = records[0].end - len(records[0].data)
    if len(records) == 1:
        return start, records[0].data, ""
    lengths = " ".join(str(len(record.data)) for record in records)
    return start, b"".join(record.data for record in records), lengths


def _version(state: StreamState, version: int) -> str:
    return f"{state.stream_id}.{version}"


def is_current(reply: Reply, state: StreamState) -> bool:
    """Return whether the reply to `confirm` has the version and history of `state`."""
    history, version = reply
    return int(history) == state.history and version == _version(state, state.version).encode()


def decode_stream(reply: Reply) -> LoadedStream:
    """Return the stream in a reply to `load`, in the present history. Raises RecordDamaged."""
    history, words, retired = reply
    fields = dict(zip(words[::2], words[1::2], strict=True))
    state = state_in((history, fields.get(b"s")))
    try:
        generation = None if retired is None else int(retired.split()[0])
        producers = {
            name[len(PRODUCER) :].decode(): _decode_producer(value)
            for name, value in fields.items()
            if state is not None and name.startswith(PRODUCER)
        }
    except (ValueError, IndexError) as error:  # msgspec's errors are ValueErrors
        raise RecordDamaged(UNREADABLE) from error
    return LoadedStream(PathState(state, generation, int(history)), producers)


class CommitState(NamedTuple):
    """The parts of the state of a path that show which commits were carried out.

    `tokens` are those of a gateway's latest commits to the stream, and of a removal by that
    gateway.
    """

    state: StreamState | None
    tokens: Sequence[bytes]
    removed_generation: int  # generation of the last removed stream; -1 if none was removed
    removed_version: int


def commit_state_in(reply: Reply, gateway: str) -> CommitState:
    """Return the state that `load` found, with the tokens of a gateway. Raises RecordDamaged."""
    _, words, retired = reply
    fields = dict(zip(words[::2], words[1::2], strict=True))
    tokens = fields.get(b"w" + gateway.encode(), b"").split()
    generation = version = -1
    try:
        state = _decode_state(fields[b"s"]) if fields.get(b"s") else None
        if retired is not None:
            removed, where, remover, token = retired.split()
            generation, version = int(removed), int(where.partition(b".")[2])
            tokens += [token] * (remover == gateway.encode())
    except ValueError as error:
        raise RecordDamaged(UNREADABLE) from error
    return CommitState(state, tokens, generation, version)


def state_in(reply: Reply) -> StreamState | None:
    """Return the state in a reply to `state`, in the present history. Raises RecordDamaged."""
    history, state = reply
    try:
        return raised(_decode_state(state), int(history)) if state else None
    except ValueError as error:
        raise RecordDamaged(UNREADABLE) from error


def change_in(message: bytes) -> Change | None:
    """Return the change that a gateway published, or None if it is in another format."""
    try:
        return _decode_change(message)
    except ValueError:  # published by another version of Headgate, or by another program
        return None
