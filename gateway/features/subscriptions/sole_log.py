"""The subscriptions of a log that this process alone has open: loaded while streams are served."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.errors import LogUnavailable
from gateway.features.subscriptions.engine import RouteSubscriptions
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE_S = 10.0  # that a request waits
AGAIN_S = 1.0  # between two attempts, while the log cannot be read


class SoleLogSubscriptions(RouteSubscriptions):
    """The subscriptions of one route.

    A start waits for their rows; requests wait until all streams are compared. Streams may change
    meanwhile: what has changed before they are observed is in the list of them.
    """

    _opening: asyncio.Task[None] | None = None

    @override
    async def open(self) -> None:
        rows = await self.rows.read()
        self._opening = asyncio.get_running_loop().create_task(self._open(rows))

    async def _open(self, rows: Sequence[tuple[str, bytes]]) -> None:
        """Open, and try again while the log cannot be read."""
        try:
            await self.restore(rows)
        except Exception:  # streams are served all the same
            log.exception("subscription.not_opened", route=self.prefix)
            raise
        is_logged = False
        while self.by_id:
            try:
                await self.keys.prepare(self.clock())
                await self.find_changes()
            except LogUnavailable:
                await asyncio.sleep(AGAIN_S)
            except Exception:  # noqa: BLE001 - streams are served all the same
                if not is_logged:
                    log.exception("subscription.not_opened", route=self.prefix)
                is_logged = True
                await asyncio.sleep(AGAIN_S)
            else:
                return

    @override
    async def wait_until_open(self) -> None:
        opening = self._opening
        if opening is None:
            return
        if not opening.done():
            await asyncio.wait({opening}, timeout=PATIENCE_S)
        if not opening.done():
            raise LogUnavailable("the subscriptions are still being compared with the streams")
        if opening.cancelled() or opening.exception() is not None:
            raise LogUnavailable("the subscriptions could not be loaded: see the log of Headgate")

    @override
    async def close(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        await super().close()
