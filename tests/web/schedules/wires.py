"""A client's connection in memory, and an origin that answers when it is told to."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

import h11

if TYPE_CHECKING:
    from tests.edge.simulation.network import SimulatedLoop

POLL_S = 3.0
HIGH = 400  # unsent bytes from which on a writer is told to stop


class _Socket:
    """What servers want of a socket; it has no descriptor that could be watched."""

    family = socket.AF_UNIX

    def setsockopt(self, *_: object) -> None:
        """Take anything."""

    def fileno(self) -> int:
        """As of a closed one."""
        return -1


class Pipe(asyncio.Transport):
    """The server's end of a connection. `written` is all that was ever written to it.

    What the client sends is read as one piece in a pass of the loop. As of asyncio's own
    transports, nothing is read or lost inside a call of the protocol.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "socket": _Socket()})
        self._loop = loop
        self._protocol: Any = None
        self._to_read: deque[bytes] = deque()
        self._unsent = 0
        self._is_full = False
        self._reads = True
        self._pumps = False
        self._closing = False
        self._eof_is_sent = False
        self.client_reads = True
        self.written = bytearray()
        self.is_lost = False

    def begin(self, protocol: asyncio.Protocol) -> None:
        """The connection is there."""
        self._protocol = protocol
        protocol.connection_made(self)

    # What the client does

    def send(self, data: bytes) -> None:
        """Send; an empty piece is the end of it."""
        self._to_read.append(data)
        self._pump()

    def pause(self) -> None:
        """Take nothing more."""
        self.client_reads = False

    def resume(self) -> None:
        """Take what was written."""
        self.client_reads = True
        if self.is_lost:
            return
        self._unsent = 0
        if self._closing:
            self._loop.call_soon(self._lose, None)
        if self._is_full:
            self._is_full = False
            self._protocol.resume_writing()

    def leave(self, error: Exception | None) -> None:
        """Break the connection."""
        self._force(error)

    def _pump(self) -> None:
        if self._pumps or not self._to_read or not self._reads or self._closing:
            return
        self._pumps = True
        self._loop.call_soon(self._read)

    def _read(self) -> None:
        self._pumps = False
        if not self._to_read or not self._reads or self._closing:
            return
        data = self._to_read.popleft()
        if data:
            self._protocol.data_received(data)
        elif not self._protocol.eof_received():
            self.close()
        self._pump()

    def _force(self, error: Exception | None) -> None:
        self._unsent = 0
        self._closing = True
        self._loop.call_soon(self._lose, error)

    def _lose(self, error: Exception | None) -> None:
        if not self.is_lost:
            self.is_lost = self._closing = True
            self._protocol.connection_lost(error)

    # What a protocol calls

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write."""
        if self._eof_is_sent:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._closing or not data:
            return
        self.written += data
        if self.client_reads:
            return
        self._unsent += len(data)
        if self._unsent > HIGH and not self._is_full:
            self._is_full = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        """Write them joined."""
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        """Write nothing more."""
        self._eof_is_sent = True

    def can_write_eof(self) -> bool:
        """It can."""
        return True

    def close(self) -> None:
        """End it when all is taken."""
        if not self._closing:
            self._closing = True
            if not self._unsent:
                self._loop.call_soon(self._lose, None)

    def abort(self) -> None:
        """End it at once."""
        self._force(None)

    def is_closing(self) -> bool:
        """Whether it ends."""
        return self._closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give it to another."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Whose it is."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def is_reading(self) -> bool:
        """Whether what the client sends is read."""
        return self._reads and not self._closing

    def pause_reading(self) -> None:
        """Read nothing."""
        self._reads = False

    def resume_reading(self) -> None:
        """Read what waits."""
        self._reads = True
        self._pump()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Leave them as they are."""

    def get_write_buffer_size(self) -> int:
        """What the client has not taken."""
        return self._unsent

    @property
    def is_stuck(self) -> bool:
        """Whether it waits for a client that takes nothing."""
        return self._unsent > 0


class Origin:
    """Requests wait until somebody has them answered. `is_quick` answers them at once."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self.waiting: deque[_Talk] = deque()
        self.begun: deque[_Talk] = deque()
        self.is_quick = False
        self.tail = 0
        self.cuts = 0

    def accept(self) -> asyncio.Protocol:
        """The server's end of a new connection."""
        return _Talk(self)

    def came(self, talk: _Talk) -> None:
        """A request is whole."""
        self.waiting.append(talk)
        if self.is_quick:
            # Else who follows a stream would ask again and again at one moment.
            self._loop.call_later(POLL_S if talk.is_poll else 0.0, self._answer_quickly, talk)

    def _answer_quickly(self, talk: _Talk) -> None:
        if talk in self.waiting:
            self.waiting.remove(talk)
            talk.answer("whole")

    def answer(self, how: str) -> None:
        """Answer the oldest, or go on with the oldest answer."""
        if how == "rest":
            if self.begun:
                self.begun.popleft().go_on()
        elif self.waiting:
            self.cuts += how == "cut"
            self.waiting.popleft().answer(how)

    def flush(self) -> None:
        """Answer everything."""
        self.is_quick = True
        waiting = list(self.waiting)
        self.waiting.clear()
        for talk in waiting:
            self.came(talk)
        while self.begun:
            self.answer("rest")


class _Talk(asyncio.Protocol):
    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._transport: Any = None
        self._http = h11.Connection(h11.SERVER)
        self._asked: h11.Request | None = None
        self._size = 0

    @property
    def is_poll(self) -> bool:
        """Whether it asks for what is to come."""
        return self._asked is not None and b"live=" in self._asked.target

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._http.receive_data(data)
        self._look()

    def eof_received(self) -> None:
        self._forget()

    def connection_lost(self, _: BaseException | None) -> None:
        self._forget()

    def _forget(self) -> None:
        for queue in (self._origin.waiting, self._origin.begun):
            if self in queue:
                queue.remove(self)

    def _look(self) -> None:
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Request):
                self._asked, self._size = event, 0
                if self._http.they_are_waiting_for_100_continue:
                    self._put(h11.InformationalResponse(status_code=100, headers=[]))
            elif isinstance(event, h11.Data):
                self._size += len(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self._origin.came(self)
            else:
                return

    def _put(self, event: Any) -> None:
        data = self._http.send(event)
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def answer(self, how: str) -> None:
        """Answer whole, begin, refuse, or cut."""
        asked = self._asked
        assert asked is not None, "it waits"
        if how == "cut" or self._transport.is_closing():
            self._transport.abort()
        elif how == "fail":
            self._whole(asked, 500, [], b"oops")
        elif asked.method not in {b"GET", b"HEAD"}:
            self._written(asked)
        elif self.is_poll and how != "begin":
            self._whole(asked, 204, [*self._tail(), ("Stream-Up-To-Date", "true")])
        else:
            self._read(asked, how)

    def _tail(self) -> list[tuple[str, str]]:
        return [("Stream-Next-Offset", f"{self._origin.tail + 8:016d}")]

    def _written(self, asked: h11.Request) -> None:
        self._origin.tail += self._size
        status = {b"POST": 204, b"PUT": 201, b"DELETE": 204}.get(asked.method, 405)
        self._whole(asked, status, self._tail())

    def _whole(
        self, asked: h11.Request, status: int, fields: list[tuple[str, str]], body: bytes = b""
    ) -> None:
        length = [] if status == 204 else [("Content-Length", str(len(body)))]
        self._put(h11.Response(status_code=status, headers=[*fields, *length]))
        if body and asked.method != b"HEAD":
            self._put(h11.Data(data=body))
        self._end()

    def _read(self, asked: h11.Request, how: str) -> None:
        fields = [("Content-Type", "text/plain"), *self._tail(), ("Content-Length", "8")]
        fields += [("Cache-Control", "max-age=60"), ("Stream-Up-To-Date", "true"), ("ETag", '"e"')]
        self._put(h11.Response(status_code=200, headers=fields))
        if asked.method == b"HEAD":
            self._end()
            return
        self._put(h11.Data(data=b"e1-;"))
        if how == "begin":
            self._origin.begun.append(self)
        else:
            self.go_on()

    def go_on(self) -> None:
        """Answer the rest."""
        self._put(h11.Data(data=b"e2-;"))
        self._end()

    def _end(self) -> None:
        self._put(h11.EndOfMessage())
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._look()
        else:
            self._transport.close()
