"""A network in memory: connections that a seed splits, delays and breaks, on a virtual clock."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support.virtual_time import VirtualLoop

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

Address = tuple[str, int]

_LONGEST_DELAY_S = 0.02


class SimulatedLoop(VirtualLoop):
    """Connects by its own network, whatever asks it to."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.chance = chance
        self._listening: dict[Address, Callable[[], asyncio.BaseProtocol]] = {}
        self._asked: dict[int, Address] = {}

    def listen(self, address: Address, make: Callable[[], asyncio.BaseProtocol]) -> None:
        self._listening[address] = make

    def refuse(self, address: Address) -> None:
        """Accept no more."""
        self._listening.pop(address, None)

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Remember where a socket was to lead to: it is never used itself."""
        await asyncio.sleep(self.chance.uniform(0, _LONGEST_DELAY_S))
        if address not in self._listening:
            raise ConnectionRefusedError(111, "Connection refused")
        self._asked[sock.fileno()] = address

    async def create_connection(  # type: ignore[override] # as it is called here
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str = "",
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        **_: object,
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """A connection to an address, or to where the socket was to lead to."""
        if sock is None:
            return self.connect((host, port), protocol_factory)
        address = self._asked.pop(sock.fileno())
        sock.close()
        return self.connect(address, protocol_factory)

    def connect(
        self, address: Address, make: Callable[[], asyncio.BaseProtocol]
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """A connection to an address. Raises ConnectionRefusedError."""
        accept = self._listening.get(address)
        if accept is None:
            raise ConnectionRefusedError(111, "Connection refused")
        near, far = _End(self), _End(self)
        near.peer, far.peer = far, near
        mine, theirs = make(), accept()
        far.begin(theirs)
        near.begin(mine)
        return near, mine


class _Socket:
    """What servers want of a socket: whether its end is to be a reset."""

    family = socket.AF_UNIX

    def __init__(self) -> None:
        self.resets = False

    def setsockopt(self, level: int, option: int, _value: object) -> None:
        """Take note of a linger time of nothing."""
        self.resets |= (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER)

    def fileno(self) -> int:
        """As of a closed one: nothing can be waited for by a descriptor here."""
        return -1


class _Piece(NamedTuple):
    data: bytes  # none for the end
    due: float


class _End(asyncio.Transport):
    """One end of a connection: what it writes comes to its peer in pieces, later."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._socket = _Socket()
        super().__init__({"peername": ("127.0.0.1", 1), "socket": self._socket})
        self.peer: _End = self
        self._loop = loop
        self._protocol: Any = None
        self._under_way: deque[_Piece] = deque()  # written here
        self._size = 0
        self._high, self._low = 64 << 10, 16 << 10
        self._is_full = False
        # Bytes that the network takes before the far end has them.
        self._buffered = loop.chance.choice([50, 4 << 10])
        self._reads = True
        self._closing = False
        self._sent_end = False
        self._is_lost = False
        self._timer: asyncio.Handle | None = None

    def begin(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol
        protocol.connection_made(self)

    # What a protocol calls

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send, in as many pieces as chance wants."""
        if self._closing or self._is_lost or not data:
            return
        assert not self._sent_end, "written after the end"
        left = bytes(data)
        self._size += len(left)
        chance = self._loop.chance
        while left:
            whole = chance.random() < 0.7
            size = len(left) if whole else chance.randint(1, len(left))
            self._put(left[:size])
            left = left[size:]
        if self._unsent > self._high and not self._is_full:
            self._is_full = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        if not (self._sent_end or self._is_lost):
            self._sent_end = True
            self._put(b"")

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        """End it when all is sent."""
        if not self._closing:
            self.write_eof()
            self._closing = True
            self.peer._schedule()
            if not self._unsent:
                self._loop.call_soon(self._lost, None)

    def abort(self) -> None:
        """End it at once; what the network has not taken is gone."""
        if self._is_lost:
            return
        self._closing = True
        resets = self._socket.resets or bool(self._unsent)
        self._under_way.clear()
        self._size = 0
        if resets:
            self._loop.call_soon(self.peer._lost, ConnectionResetError(104, "reset"))
        else:
            self._sent_end = True
            self._put(b"")
        self._loop.call_soon(self._lost, None)

    def is_closing(self) -> bool:
        return self._closing or self._is_lost

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def is_reading(self) -> bool:
        return self._reads and not self._closing

    def pause_reading(self) -> None:
        self._reads = False

    def resume_reading(self) -> None:
        self._reads = True
        self.peer._schedule()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """When the writer is told to stop, and to go on."""
        self._high = 64 << 10 if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        return self._unsent

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Low, high."""
        return self._low, self._high

    # The way to the peer

    @property
    def _unsent(self) -> int:
        return max(0, self._size - self._buffered)

    def _put(self, data: bytes) -> None:
        now = self._loop.time()
        delay_s = 0.0 if self._loop.chance.random() < 0.6 else self._loop.chance.random()
        due = now + delay_s * _LONGEST_DELAY_S
        if self._under_way:
            due = max(due, self._under_way[-1].due)
        self._under_way.append(_Piece(data, due))
        self._schedule()

    def _schedule(self) -> None:
        if self._timer is None and self._under_way:
            self._timer = self._loop.call_at(self._under_way[0].due, self._deliver)

    def _deliver(self) -> None:
        self._timer = None
        peer = self.peer
        if not self._under_way or not (peer._reads or peer.is_closing()):
            return  # its peer takes nothing now, and asks for it when it does
        data, _ = self._under_way.popleft()
        self._size -= len(data)
        if peer.is_closing():
            if data:
                self._under_way.clear()
                self._size = 0
                self._loop.call_soon(self._lost, ConnectionResetError(104, "reset"))
        elif data:
            peer._protocol.data_received(data)
        elif not peer._protocol.eof_received():
            peer.close()
        self._took()
        self._schedule()

    def _took(self) -> None:
        if self._is_full and self._unsent <= self._low and not self._is_lost:
            self._is_full = False
            self._protocol.resume_writing()
        if self._closing and not self._unsent:
            self._lost(None)

    def _lost(self, error: Exception | None) -> None:
        if not self._is_lost:
            self._is_lost = self._closing = True
            if error is not None:
                self._under_way.clear()
                self._size = 0
            self._protocol.connection_lost(error)
