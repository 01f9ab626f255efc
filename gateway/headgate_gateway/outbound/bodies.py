"""Bodies of requests that are handed over in slices, as the server takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import Payload
from typing_extensions import override

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

    from headgate_gateway.telemetry.outbound import OutboundCounts

SLICE_BYTES = 64 << 10  # as many as a connection keeps before its writer waits


class SlicedBody(Payload):
    """A long body, of which a connection has one slice at a time.

    A connection that got it whole would keep a copy of it, with the head of the request before it.
    """

    _autoclose = True  # it has nothing to close

    def __init__(self, body: bytes, counts: OutboundCounts) -> None:
        super().__init__(body)
        self._size = len(body)
        self._counts = counts

    @override
    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return str(self._value, encoding, errors)

    @override
    async def write(self, writer: AbstractStreamWriter) -> None:
        view, left = memoryview(self._value), len(self._value)
        self._counts.unsent_bytes += left
        try:
            for begin in range(0, len(view), SLICE_BYTES):
                part = view[begin : begin + SLICE_BYTES]
                await writer.write(part)
                self._counts.unsent_bytes -= len(part)
                left -= len(part)
        finally:
            self._counts.unsent_bytes -= left
