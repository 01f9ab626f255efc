"""Trust that the origin still has the known data of a followed stream, and its renewal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.edge.followed.newest_reads import unknown_server
from gateway.edge.polls.poller import UNSURE
from gateway.errors import OriginBusy
from gateway.later import Later, is_set_within

if TYPE_CHECKING:
    from gateway.edge.comparison import Evidence
    from gateway.edge.polls.poll_loop import OriginPollLoop
    from gateway.edge.polls.verification import Verification


class StreamRevalidation:
    """The trust in one stream's origin: doubts are raised here, and readers wait for their end.

    Without a `following` the origin is not asked.
    """

    def __init__(self, verification: Verification, following: OriginPollLoop | None) -> None:
        self._verification = verification
        self._following = following
        self._comparison: Later[None] = Later()  # set when the next comparison is over
        self._beginning: asyncio.Handle | None = None

    @property
    def can_be_compared(self) -> bool:
        """True unless the stream had ended before it was followed, and the origin is not asked."""
        return self._following is not None

    @property
    def evidence(self) -> Evidence | None:
        """The evidence of the newest data, with the server that is known to have them, if any."""
        verified = self._verification
        server = unknown_server() if verified.is_in_doubt else verified.server
        return verified.window.evidence_by(server)

    def doubt(self, *, is_shorter: bool = False) -> None:
        """Let known data be compared before more are joined, and repeat the request under way."""
        if self._following is None:
            return
        is_asked = self._verification.is_in_doubt
        self._verification.doubt(is_shorter=is_shorter)
        if not is_asked and self._beginning is None:
            # Not at once: the caller may be the connection that the poll is on.
            self._beginning = asyncio.get_running_loop().call_soon(self._begin_anew)

    def _begin_anew(self) -> None:
        self._beginning = None
        if self._following is not None:
            self._following.start_over(OriginBusy(UNSURE))

    def hurry(self) -> None:
        """Compare now instead of after a pause: the origin answers on another connection."""
        if self._beginning is not None:
            self._beginning.cancel()
            self._begin_anew()
        if self._following is not None:
            self._following.hurry()

    async def until_compared(self, timeout_s: float) -> None:
        """Wait for the end of a comparison, or of following, for at most `timeout_s` seconds."""
        await is_set_within(self._comparison, timeout_s)

    def on_settled(self) -> None:
        """Wake the readers that wait for a comparison, which is over or will not be."""
        comparison, self._comparison = self._comparison, Later[None]()
        comparison.set_result(None)
