"""Transports of connections that wait: each a descriptor, all watched by one epoll.

uvloop's transport of a connection takes 1.1 KB, for what an SSE reader needs for a moment only: to
write at once and seldom, to wait until there is room for what was not taken, and to hear of the
client's end. Here it takes 0.2 KB; of 9,000 readers that is 8 MB less.

A connection changes its transport with nothing unsent: its descriptor is duplicated, and the old
transport closed when the new one has a protocol, which the client does not notice.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import sys
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

D = TypeVar("D")

_NOBODY = asyncio.Protocol()  # whom a transport tells of its end that is needed no more
READ_BYTES = 4096  # of what a client sends that is to send nothing: it is not kept
AT_ONCE = 256  # connections that are seen to before others have their turn: a millisecond
HIGH_WATER = 64 * 1024  # asyncio's own, unless its protocol says another
MOST_PARTS = 1024  # that the system takes in one call (IOV_MAX)
NOTHING: deque[bytes | memoryview] = deque(maxlen=0)  # unsent, as of nearly all
_READABLE = select.EPOLLIN | select.EPOLLRDHUP
_OVER = select.EPOLLERR | select.EPOLLHUP


class Descriptors:
    """The bare transports of a loop, and what tells which of them have something to see to."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._epoll = select.epoll()
        loop.add_reader(self._epoll.fileno(), self._see)
        # By descriptor: these are small numbers, below the limit of open files.
        self._transports: list[BareTransport | None] = []

    def take_over(self, transport: asyncio.Transport) -> asyncio.Transport:
        """A bare transport for the same connection, which has no protocol yet.

        It is the given one where that has bytes unsent, or is none of a plain socket.
        """
        found = transport.get_extra_info("socket")
        is_plain = found is not None and transport.get_extra_info("sslcontext") is None
        if not is_plain or transport.is_closing() or transport.get_write_buffer_size():
            return transport
        peer = transport.get_extra_info("peername")
        bare = BareTransport(self, transport, peer[0] if isinstance(peer, tuple) else "")
        try:
            descriptor = os.dup(found.fileno())
        except OSError:  # such as for too many open files
            return transport
        try:
            self._epoll.register(descriptor, _READABLE)
        except OSError:  # what the machine may watch in all is used up (epoll(7))
            os.close(descriptor)
            return transport
        bare.descriptor = descriptor
        self._transports += [None] * (descriptor + 1 - len(self._transports))
        self._transports[descriptor] = bare
        return bare

    def watch(self, descriptor: int, *, reads: bool, writes: bool) -> None:
        """Wait for what the client sends, for room to write, or for its end alone."""
        events = (_READABLE if reads else 0) | (select.EPOLLOUT if writes else 0)
        self._epoll.modify(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """It is no concern any more."""
        self._transports[descriptor] = None
        self._epoll.unregister(descriptor)

    def close(self) -> None:
        """End every connection that is left."""
        for transport in filter(None, self._transports):
            transport.abort()
        if not self._epoll.closed:
            self.loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _see(self) -> None:
        """See to some that have something; of the others the loop tells in its next pass."""
        for descriptor, events in self._epoll.poll(0, AT_ONCE):
            transport = self._transports[descriptor]
            if transport is not None:
                transport.see(events)


class BareTransport(asyncio.Transport):
    """The transport of one connection, as far as a protocol that seldom reads needs one."""

    __slots__ = (
        "_before",
        "_descriptors",
        "_high",
        "_is_closing",
        "_is_paused",
        "_peer",
        "_protocol",
        "_unsent",
        "_unsent_bytes",
        "descriptor",
    )

    def __init__(self, descriptors: Descriptors, before: asyncio.Transport, peer: str) -> None:
        self._descriptors = descriptors
        self._before: asyncio.Transport | None = before  # until it has a protocol of its own
        self.descriptor = -1  # as long as it has none, and when that is closed or somebody else's
        self._peer = sys.intern(peer)  # many have the same
        self._protocol: asyncio.BaseProtocol | None = None
        self._unsent: deque[bytes | memoryview] = NOTHING
        self._unsent_bytes = 0
        self._high = HIGH_WATER
        self._is_paused = False
        self._is_closing = False

    @override
    def __repr__(self) -> str:
        return f"<BareTransport {self.descriptor}, {self._unsent_bytes} bytes unsent>"

    @override
    def get_extra_info(self, name: str, default: object = None) -> object:
        """The address of the client."""
        return (self._peer,) if name == "peername" and self._peer else default

    @override
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Who is told what comes, and of the end. From now on the connection has this transport."""
        self._protocol = protocol
        if self._before is not None:
            self._before.set_protocol(_NOBODY)
            self._end_before()
        if self.descriptor < 0:
            self._descriptors.loop.call_soon(protocol.connection_lost, None)

    @override
    def is_closing(self) -> bool:
        """Whether it takes nothing more."""
        return self._is_closing

    @override
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """How many bytes may be unsent before the protocol is told; it goes on at a quarter."""
        self._high = HIGH_WATER if high is None else high

    @override
    def get_write_buffer_size(self) -> int:
        """Bytes that the client has not taken."""
        return self._unsent_bytes

    # Writing

    @override
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write at once what the system takes, and the rest as there is room."""
        if not self._is_closing:
            sent = 0 if self._unsent else self._sent_of(os.write, data)
            if sent < len(data):
                self._keep((data,), sent)

    @override
    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Write all of them."""
        if not self._is_closing:
            parts = (*list_of_data,)
            sent = 0 if self._unsent else self._sent_of(os.writev, parts[:MOST_PARTS])
            if sent < sum(map(len, parts)):
                self._keep(parts, sent)

    def _sent_of(self, write: Callable[[int, D], int], data: D) -> int:
        try:
            return write(self.descriptor, data)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._lose(error)
        return 0

    def _keep(self, parts: Iterable[bytes | bytearray | memoryview], sent: int) -> None:
        """Keep what was not sent. It is not copied: others may be written the same."""
        if self._is_closing:
            return
        if not self._unsent:
            self._unsent = deque()
            self._descriptors.watch(self.descriptor, reads=True, writes=True)
        for part in parts:
            if sent < len(part):
                whole = part if isinstance(part, bytes) else bytes(part)
                self._unsent.append(memoryview(whole)[sent:] if sent else whole)
                self._unsent_bytes += len(part) - sent
            sent = max(0, sent - len(part))
        if self._unsent_bytes > self._high and not self._is_paused:
            self._is_paused = True
            self._tell_to("pause_writing")

    def _flush(self) -> None:
        sent = self._sent_of(os.writev, (*islice(self._unsent, MOST_PARTS),))
        self._unsent_bytes -= sent
        while sent:
            first = self._unsent.popleft()
            if sent < len(first):
                self._unsent.appendleft(memoryview(first)[sent:])
            sent = max(0, sent - len(first))
        if not self._unsent:
            self._unsent = NOTHING
            if self._is_closing:
                self._lose(None)
                return
            self._descriptors.watch(self.descriptor, reads=True, writes=False)
        if self._is_paused and self._unsent_bytes <= self._high // 4:
            self._is_paused = False
            self._tell_to("resume_writing")

    def _tell_to(self, method: str) -> None:
        assert isinstance(self._protocol, asyncio.Protocol), "before it there is only a short head"
        getattr(self._protocol, method)()

    # What the client does

    def see(self, events: int) -> None:
        """Something has happened to the connection."""
        if events & _OVER or (events & _READABLE and not self._is_closing):
            self._read()
        if events & select.EPOLLOUT and self.descriptor >= 0:
            self._flush()

    def _read(self) -> None:
        try:
            data = os.read(self.descriptor, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(error)
            return
        assert isinstance(self._protocol, asyncio.Protocol), "it is set before the loop goes on"
        if data and not self._is_closing:
            self._protocol.data_received(data)
        elif not data and self._is_closing:
            self._lose(None)  # both sides are over, and nobody takes what is unsent
        elif not data and not self._protocol.eof_received():
            self.close()

    # The end

    @override
    def close(self) -> None:
        """End the connection when what is unsent is taken."""
        if self._is_closing:
            return
        self._is_closing = True
        if self._unsent:
            self._descriptors.watch(self.descriptor, reads=False, writes=True)
        else:
            self._lose(None)

    @override
    def abort(self) -> None:
        """End the connection at once."""
        self._lose(None)

    def give_back(self) -> socket.socket | None:
        """The connection as a socket, whose end is no concern here; None with bytes unsent."""
        if self._unsent or self._is_closing:
            return None
        descriptor = self._leave()
        return socket.socket(fileno=descriptor)

    def _lose(self, error: OSError | None) -> None:
        if self.descriptor < 0:
            return
        self._end_before()
        os.close(self._leave())
        self._unsent, self._unsent_bytes = NOTHING, 0
        if self._protocol is not None:
            self._descriptors.loop.call_soon(self._protocol.connection_lost, error)

    def _end_before(self) -> None:
        before, self._before = self._before, None
        if before is not None:
            before.abort()

    def _leave(self) -> int:
        descriptor, self.descriptor = self.descriptor, -1
        self._is_closing = True
        self._descriptors.forget(descriptor)
        return descriptor
