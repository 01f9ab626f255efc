"""Parse the replies of Redis about streams, and the changes that gateways publish."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headgate_gateway.errors import RecordDamaged
from headgate_gateway.logs.contract import LoadedStream
from headgate_gateway.protocol.lifecycle import PathState
from headgate_gateway.protocol.streams.state import Change, ProducerState, StreamState, raised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.logs.redis.connection import Reply

PRODUCER = b"p"  # before the name of a producer, in the hash of its stream
UNREADABLE = "the state of this stream in Redis cannot be read"

_decode_state = msgspec.json.Decoder(StreamState).decode
_decode_producer = msgspec.json.Decoder(ProducerState).decode
_decode_change = msgspec.msgpack.Decoder(Change).decode


def version_of(state: StreamState, version: int) -> str:
    """Return a version of a stream as Redis has it."""
    return f"{state.stream_id}.{version}"


def is_current(reply: Reply, state: StreamState) -> bool:
    """Return whether the reply to `confirm` has the version and history of `state`."""
    history, version = reply
    return int(history) == state.history and version == version_of(state, state.version).encode()


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
