"""Answers that are bytes already, in the shape that aiohttp's handler loop expects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.web_request import BaseRequest


class WireResponse(web.StreamResponse):
    """Writes its bytes to the transport and waits until the client has taken most of them."""

    def __init__(
        self, status: int, wire: bytes, *, keep_alive: bool, abandon: bool = False
    ) -> None:
        """With `abandon` the rest of the request is not waited for."""
        super().__init__(status=status)
        self._abandon = abandon
        self._wire = wire
        self._keep_alive = keep_alive
        self._protocol: BaseRequest | None = None

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Write everything."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client is gone")
        if self._wire:
            transport.write(self._wire)
        self._protocol = request
        return None

    async def write_eof(self, data: bytes = b"") -> None:  # noqa: ARG002 - aiohttp's signature
        """Hold the connection's next request back while this answer is not taken."""
        if self._protocol is not None:
            await self._protocol.protocol._drain_helper()  # aiohttp has no public one
            if self._abandon:
                self._protocol.protocol.force_close()


class HandedOver(WireResponse):
    """The answer goes on without aiohttp."""

    def __init__(self) -> None:
        super().__init__(200, b"", keep_alive=False)

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:  # noqa: ARG002
        """Nothing is left to write here."""
        return None
