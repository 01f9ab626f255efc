"""Whether the origin has what is known of a followed stream, and how that is found out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.edge.followed.newest_reads import unknown_server
from gateway.edge.followed.poller import UNSURE
from gateway.errors import OriginBusy
from gateway.later import Later, is_set_within

if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.edge.comparison import Evidence
    from gateway.edge.followed.following import Following
    from gateway.edge.followed.poller import Poller
    from gateway.edge.followed.recent_window import RecentWindow


class Trust:
    """Trust in the origin of one stream; without a `following` it is not asked any more."""

    def __init__(self, poller: Poller, window: RecentWindow, following: Following | None) -> None:
        self._poller = poller
        self._window = window
        self._following = following
        self._comparison: Later[None] = Later()  # the next one that ends
        self._beginning: asyncio.Handle | None = None

    @property
    def can_be_compared(self) -> bool:
        """Whether the origin is asked for the stream: nothing follows an end."""
        return self._following is not None

    @property
    def is_in_doubt(self) -> bool:
        """Whether the origin may have another stream by now."""
        return self._poller.is_in_doubt

    def is_sure_of(self, server: str, offset: str) -> bool:
        """Return whether a server is known to have the same stream up to an offset."""
        return self._poller.is_sure_of(server, offset)

    def is_told_by(self, server: str) -> bool:
        """Return whether a server is the one that has what is known."""
        return self._poller.is_told_by(server)

    def knows(self, offset: str) -> bool:
        """Return whether an offset is one that the stream is known to have."""
        return self._window.knows(offset)

    @property
    def offsets(self) -> Collection[str]:
        """The offsets that the stream is known to have."""
        return self._window.offsets

    @property
    def evidence(self) -> Evidence | None:
        """Return the evidence of the newest data, with the server that has them as far as known."""
        return self._window.evidence_by(
            unknown_server() if self.is_in_doubt else self._poller.server
        )

    def doubt(self, *, is_shorter: bool = False) -> None:
        """Compare with the origin before anything is joined, beginning anew with what is asked."""
        if self._following is None:
            return
        is_asked = self.is_in_doubt
        self._poller.doubt(is_shorter=is_shorter)
        if not is_asked and self._beginning is None:
            # Not at once: the connection may say so on which the poll is out.
            self._beginning = asyncio.get_running_loop().call_soon(self._begin_anew)

    def _begin_anew(self) -> None:
        self._beginning = None
        if self._following is not None:
            self._following.start_over(OriginBusy(UNSURE))

    def hurry(self) -> None:
        """Compare now, not after a pause: the origin answers on another connection."""
        if self._beginning is not None:
            self._beginning.cancel()
            self._begin_anew()
        if self._following is not None:
            self._following.hurry()

    async def compared(self, timeout_s: float) -> None:
        """Wait until the origin has what is known, or is asked no more, or for so long."""
        await is_set_within(self._comparison, timeout_s)

    def settled(self) -> None:
        """Wake the readers that wait for a comparison, which is over or will not be."""
        comparison, self._comparison = self._comparison, Later[None]()
        comparison.set_result(None)
