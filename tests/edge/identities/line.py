"""A reader's connection without a network: what is sent is there at once, also what comes back.

So a read that the gateway answers at once needs no pass of the event loop.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from tests.support.http1 import Answer, Needed, Reading, head_of, read_body

if TYPE_CHECKING:
    from collections.abc import Callable


T = TypeVar("T")


class Line(asyncio.Transport):
    """The gateway's end is its transport; the reader's end is `send`, `read` and `leave`."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, accept: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self._loop = loop
        self._received = bytearray()
        self._more: asyncio.Future[None] | None = None
        self.is_over = False  # nothing more will come
        self._is_lost = False
        self.came = 0.0  # when the last bytes came, by the loop's time
        self._protocol: Any = accept()
        self._protocol.connection_made(self)

    # The reader's end

    def send(self, data: bytes) -> None:
        """Ask; nothing may have been told before that was not read."""
        assert not self._received, f"answered without being asked: {self._received[:99]!r}"
        self._protocol.data_received(data)

    async def read(self, reading: Reading[T]) -> T:
        """What a reading comes to. Raises ConnectionResetError when the answer is cut."""
        try:
            needed = next(reading)
            while True:
                while (piece := self._taken(needed)) is None:
                    if self.is_over:
                        raise ConnectionResetError(bytes(self._received))
                    self._more = self._loop.create_future()
                    await self._more
                needed = reading.send(piece)
        except StopIteration as done:
            result: T = done.value
            return result

    def leave(self) -> None:
        self.close()
        self._received.clear()

    def _taken(self, needed: Needed) -> bytes | None:
        received = self._received
        if isinstance(needed, bytes):
            at = received.find(needed)
            size = at + len(needed) if at >= 0 else -1
        elif needed is None:
            size = len(received) if self.is_over else -1
        else:
            size = needed if len(received) >= needed else -1
        if size < 0:
            return None
        piece = bytes(received[:size])
        del received[:size]
        return piece

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    # The gateway's end

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """It is there."""
        if not self.is_over:
            self._received += data
            self.came = self._loop.time()
            self._wake()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        self.is_over = True
        self._wake()

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        """End it."""
        self.write_eof()
        if not self._is_lost:
            self._is_lost = True
            self._loop.call_soon(self._lost)

    def _lost(self) -> None:
        self._protocol.connection_lost(None)

    abort = close

    def is_closing(self) -> bool:
        return self._is_lost

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def is_reading(self) -> bool:
        return not self._is_lost

    def pause_reading(self) -> None:
        """The reader asks for one thing at a time: nothing comes that could wait."""

    def resume_reading(self) -> None:
        """It has not stopped."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing waits to be sent."""

    def get_write_buffer_size(self) -> int:
        return 0


def answer(method: str) -> Reading[Answer]:
    head = yield from head_only()
    return head if method == "HEAD" else (yield from read_body(head))


def head_only() -> Reading[Answer]:
    return head_of((yield b"\r\n\r\n"))
