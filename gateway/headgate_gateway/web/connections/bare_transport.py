"""Transports of connections that wait: a descriptor each, which the loop watches.

An SSE reader writes seldom, waits for room when the socket buffer is full, and has to notice that
its client has disconnected. With uvloop's transport it takes 1.95 KB, with one of these 1.3 KB. A
connection changes its transport while nothing is unsent: its descriptor is duplicated, and the old
transport is aborted once the new one has a protocol. The client does not notice.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections import deque
from typing import TYPE_CHECKING, TypeVar

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

_NO_PROTOCOL = asyncio.Protocol()  # protocol of a replaced transport
READ_BYTES = 4096  # of one read; what an SSE client sends is dropped
HIGH_WATER = 64 * 1024  # asyncio's default, unless the protocol sets its own
MOST_PIECES = 1024  # of one `writev`: the system's IOV_MAX


class BareTransport(asyncio.Transport):
    """The transport of one connection whose protocol seldom reads; `owner` has all of them."""

    __slots__ = (
        *("_before", "_high", "_is_closing", "_is_paused", "_loop", "_owner"),
        *("_peer", "_protocol", "_unsent", "descriptor"),
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        owner: set[asyncio.Transport],
        before: asyncio.Transport,
        descriptor: int,
    ) -> None:
        """Watch the descriptor; raises OSError where it cannot be watched."""
        peer = before.get_extra_info("peername")
        # Interned: many clients share an address. Over a Unix socket it is empty.
        self._peer = sys.intern(peer[0]) if isinstance(peer, tuple) else peer
        self._loop, self._owner = loop, owner
        self._before: asyncio.Transport | None = before  # aborted once this one has a protocol
        self._protocol = _NO_PROTOCOL
        self._unsent: deque[memoryview] | None = None
        self._high = HIGH_WATER
        self._is_closing = self._is_paused = False
        self.descriptor = descriptor  # -1 once it is closed or given away
        loop.add_reader(descriptor, self._read)
        owner.add(self)

    @override
    def get_extra_info(self, name: str, default: object = None) -> object:
        """Return the client's address as `peername`, and the `descriptor`; else the default."""
        if name == "descriptor":
            return self.descriptor
        if name != "peername" or self._peer is None:
            return default
        return (self._peer,) if self._peer else self._peer

    @override
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Set the protocol, and take the connection from the transport before."""
        assert isinstance(protocol, asyncio.Protocol), "it takes bytes"
        self._protocol = protocol
        if self._before is not None:
            self._before.set_protocol(_NO_PROTOCOL)
            self._end_before()
        if self.descriptor < 0:
            self._loop.call_soon(protocol.connection_lost, None)

    @override
    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    @override
    def is_closing(self) -> bool:
        return self._is_closing

    @override
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Pause the protocol above `high` unsent bytes; it is resumed at a quarter of them."""
        self._high = HIGH_WATER if high is None else high

    @override
    def get_write_buffer_size(self) -> int:
        return sum(map(len, self._unsent or ()))

    @override
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write at once what the socket accepts, and the rest when there is room.

        The rest is not copied, because readers share it; the caller must not change it.
        """
        if self._is_closing:
            return
        if self._unsent is None:
            sent = self._accepted(os.write, data)
            if sent == len(data) or self.descriptor < 0:
                return
            self._unsent = deque([memoryview(data)[sent:]])
            self._loop.add_writer(self.descriptor, self._flush)
        else:
            self._unsent.append(memoryview(data))
        if not self._is_paused and self.get_write_buffer_size() > self._high:
            self._is_paused = True
            self._protocol.pause_writing()

    @override
    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Write by one call what the socket accepts: a client that reads sees all pieces at once.

        Some clients take an event that arrives without the next one for the last one.
        """
        pieces, sent = [memoryview(data) for data in list_of_data], 0
        if self._unsent is None and not self._is_closing:
            sent = self._accepted(os.writev, pieces[:MOST_PIECES])
        for piece in pieces:
            if sent < len(piece):
                self.write(piece[sent:])
            sent = max(0, sent - len(piece))

    def _accepted(self, write: Callable[[int, T], int], data: T) -> int:
        """Return how many bytes the socket has accepted; a failure ends the connection."""
        try:
            return write(self.descriptor, data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self._lose(error)
            return 0

    def _flush(self) -> None:
        unsent = self._unsent
        assert unsent is not None, "else nothing waits for room to write"
        while unsent:
            sent = self._accepted(os.write, unsent[0])
            if self.descriptor < 0:  # the connection is lost
                return
            if sent < len(unsent[0]):
                unsent[0] = unsent[0][sent:]
                break
            unsent.popleft()
        if not unsent:
            self._unsent = None
            self._loop.remove_writer(self.descriptor)
            if self._is_closing:
                self._lose(None)
                return
        if self._is_paused and self.get_write_buffer_size() <= self._high // 4:
            self._is_paused = False
            self._protocol.resume_writing()

    def _read(self) -> None:
        try:
            data = os.read(self.descriptor, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(error)
            return
        if data:
            self._protocol.data_received(data)
        elif not self._protocol.eof_received():
            self.close()

    @override
    def close(self) -> None:
        """End the connection once the unsent bytes are written."""
        if not self._is_closing and self._unsent:
            self._is_closing = True
            self._loop.remove_reader(self.descriptor)
        elif not self._is_closing:
            self._lose(None)

    @override
    def abort(self) -> None:
        """End the connection at once."""
        self._lose(None)

    def detach(self) -> socket.socket | None:
        """Return the connection as a socket that the caller owns; None with bytes unsent."""
        return None if self._unsent or self._is_closing else socket.socket(fileno=self._release())

    def _lose(self, error: OSError | None) -> None:
        if self.descriptor >= 0:
            self._end_before()
            os.close(self._release())
            self._unsent = None
            self._loop.call_soon(self._protocol.connection_lost, error)

    def _end_before(self) -> None:
        before, self._before = self._before, None
        if before is not None:
            before.abort()

    def _release(self) -> int:
        descriptor, self.descriptor = self.descriptor, -1
        self._is_closing = True
        self._loop.remove_reader(descriptor)
        self._loop.remove_writer(descriptor)
        self._owner.discard(self)
        return descriptor


class Descriptors:
    """The bare transports of an event loop, among the `transports` of SSE readers."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transports: set[asyncio.Transport]) -> None:
        self._loop = loop
        self._transports = transports

    def adopt(self, transport: asyncio.Transport) -> asyncio.Transport:
        """Return a bare transport for the same connection, without a protocol yet.

        Return `transport` itself if it has unsent bytes, is closing, or uses TLS, and if no
        descriptor can be had or watched: too many open files, or the system's limit of watches.
        """
        found = transport.get_extra_info("socket")
        is_plain = found is not None and transport.get_extra_info("sslcontext") is None
        if not is_plain or transport.is_closing() or transport.get_write_buffer_size():
            return transport
        try:
            descriptor = os.dup(found.fileno())
        except OSError:
            return transport
        try:
            return BareTransport(self._loop, self._transports, transport, descriptor)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, OSError):
                return transport
            raise

    def close(self) -> None:
        """Abort every open connection."""
        for transport in tuple(self._transports):
            transport.abort()
