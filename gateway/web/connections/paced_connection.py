"""Back-pressure on a client's connection: who writes a long response waits for the client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.later import Later
from gateway.web.connections.closing_connection import ClosingConnection

if TYPE_CHECKING:
    from gateway.runtime.context import Context


class PacedConnection(ClosingConnection):
    """A connection whose writers wait while its client receives more slowly than they write."""

    __slots__ = ("_drained",)

    def __init__(self, shared: Context) -> None:
        super().__init__(shared)
        self._drained: Later[None] | None = None  # done when the client keeps up again

    async def drained(self) -> None:
        """Wait until the client has received most of it. Raises ConnectionResetError."""
        if self.transport is not None and self.writing_paused:
            if self._drained is None:
                self._drained = Later()
            await self._drained
        if self.transport is None:
            raise ConnectionResetError("the client is gone")

    @override
    def resume_writing(self) -> None:
        """Let `drained` return: the client has received most of what it was sent."""
        super().resume_writing()
        self.resume_drained()

    def resume_drained(self) -> None:
        """Let `drained` return: the client keeps up, or has disconnected."""
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.set_result(None)
