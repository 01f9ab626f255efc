"""The question for the clients and streams that a gateway serves most, and the answer."""

from __future__ import annotations

import msgspec


class ListLoudest(msgspec.Struct, tag=True, frozen=True):
    """A question for the clients and streams that a process has served most lately."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """The load of a client or a stream: averages a second over the last minutes.

    `refused` are responses with 4xx or 5xx. Bytes are those of bodies: what a stream has received
    is what it grows by. The `load` is that of all these in requests: 16 KiB of bodies count as one.
    """

    load: float
    requests: float
    appends: float
    refused: float
    sent_bytes: float
    received_bytes: float


class StreamLoad(Load, frozen=True, kw_only=True):
    """The load of a stream, whose name is below the prefix of its route."""

    route: str
    name: str


class ClientLoad(Load, frozen=True, kw_only=True):
    """The load of a client: a principal with its `account`, or an anonymous one.

    An anonymous client is an address with a user agent; both are None for viewers without the right
    to see them. An IPv6 address stands for its network of 64 bits.
    """

    account: str = ""
    name: str = ""  # of the principal, for display
    address: str | None = None
    user_agent: str | None = None


class LoudestList(msgspec.Struct, tag=True, frozen=True):
    """The clients and the streams of the largest load; each list has 256 rows at most.

    All that cause more than one part in 256 of the load of a process are listed. What a client or a
    stream caused before it came into a full list is missing: at most a load of `missed`.
    """

    clients: tuple[ClientLoad, ...]
    streams: tuple[StreamLoad, ...]
    missed: float = 0.0
