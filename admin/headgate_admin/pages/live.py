"""Pages that stay true while they are open: their regions, sent again as server-sent events.

A page's own URL serves them to a request for `text/event-stream`. Its regions are rendered once
a tick for all pages that show the same URL; each is sent those that have changed for it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from headgate.events import written
from headgate_admin.errors import ConsoleError
from headgate_admin.events import EVENTS_S, ticks

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    Regions = dict[str, str]
    Render = Callable[[], Awaitable[Regions]]


class _Shared:
    """The regions of one URL, and the number of pages that show it."""

    def __init__(self, render: Render) -> None:
        self._render = render
        self._turn = asyncio.Lock()
        self._taken_at = float("-inf")
        self._regions: Regions = {}
        self.looking = 0

    async def regions(self) -> Regions:
        """Return the regions of this tick, rendered once for all who follow."""
        async with self._turn:
            now = asyncio.get_running_loop().time()
            if now - self._taken_at > EVENTS_S / 2:
                self._regions = await self._render()
                self._taken_at = now
            return self._regions


class LivePages:
    """The URLs that open pages show: at most as many as there are listeners for events."""

    def __init__(self) -> None:
        self._shared: dict[str, _Shared] = {}

    async def follow(self, seen: str, render: Render) -> AsyncGenerator[bytes]:
        """Yield changed regions as events; an empty event shows that nothing changed.

        Pages with the same content share a rendering: `seen` names all that it depends on.

        A failure is an event called `problem`, and the rendering is tried again.
        """
        shared = self._shared.setdefault(seen, _Shared(render))
        shared.looking += 1
        sent: Regions = {}
        try:
            async for _ in ticks():
                try:
                    regions = await shared.regions()
                except ConsoleError as refusal:
                    yield written(msgspec.json.encode(refusal.reason), name=b"problem")
                    continue
                news = {name: html for name, html in regions.items() if sent.get(name) != html}
                yield written(msgspec.json.encode(news), name=b"regions")
                sent = regions
        finally:
            shared.looking -= 1
            if not shared.looking:
                del self._shared[seen]
