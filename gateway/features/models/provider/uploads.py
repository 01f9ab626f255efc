"""Bodies of requests that are only passed on: sent to the provider while they come."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from gateway.errors import OriginBroken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


class Upload:
    """A body that is sent on while it comes, once: what was sent is not kept for another server."""

    def __init__(self, parts: AsyncIterator[bytes]) -> None:
        self._parts = parts
        self._begun = False
        self._clock: asyncio.Timeout | None = None
        self.error: Exception | None = None  # why it ended too early
        self._on_error: Callable[[], None] | None = None  # once there is a response

    def call_on_error(self, on_error: Callable[[], None]) -> None:
        """Call `on_error` if the body ends too early from now on."""
        self._on_error = on_error

    @contextlib.contextmanager
    def timed_by(self, clock: asyncio.Timeout) -> Iterator[None]:
        """Enter with the timeout of a server, which stands still while the client is waited for."""
        self._clock = clock
        try:
            yield
        finally:
            self._clock = None

    async def parts(self, wait_s: float) -> AsyncIterator[bytes]:
        """Yield the parts, each of which the server may take `wait_s` for, as for its response."""
        time = asyncio.get_running_loop().time
        try:
            self._expire_at(None)
            async for part in self._once():
                self._expire_at(time() + wait_s)
                yield part
                self._expire_at(None)
            self._expire_at(time() + wait_s)
        except Exception as error:
            self.error = error  # aiohttp would tell it as a fault of the connection
            if self._on_error is not None:
                self._on_error()
            raise

    def _once(self) -> AsyncIterator[bytes]:
        if self._begun:
            raise OriginBroken("the provider broke off before it had the whole body")
        self._begun = True
        return self._parts

    def _expire_at(self, moment: float | None) -> None:
        # The server may have responded before it had all.
        if self._clock is not None and not self._clock.expired():
            self._clock.reschedule(moment)
