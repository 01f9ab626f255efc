"""Checks that the origin of a followed stream still has the data that its readers were sent.

`FollowedStream` owns one such check; `Doubts` starts it when a response raises a doubt.
"""

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
    """The comparisons of one stream's known data with its origin, which readers can wait for.

    `poll_loop` is None for a stream that had ended before it was followed: it is not compared.
    """

    def __init__(self, verification: Verification, poll_loop: OriginPollLoop | None) -> None:
        self._verification = verification
        self._poll_loop = poll_loop
        self._comparison: Later[None] = Later()  # set at the end of the next one
        self._restart: asyncio.Handle | None = None

    @property
    def can_be_compared(self) -> bool:
        """True if the stream's data can be compared: it was open when following began."""
        return self._poll_loop is not None

    @property
    def evidence(self) -> Evidence | None:
        """The evidence of the newest data, with the server that has them, if one is known."""
        verified = self._verification
        server = unknown_server() if verified.is_in_doubt else verified.server
        return verified.window.evidence_by(server)

    def doubt(self, *, is_shorter: bool = False) -> None:
        """Compare the known data before new data are appended, and repeat the poll under way.

        `is_shorter` is True if a response has shown a stream that ends before the known end.
        """
        if self._poll_loop is None:
            return
        is_comparing = self._verification.is_in_doubt
        self._verification.doubt(is_shorter=is_shorter)
        if not is_comparing and self._restart is None:
            # Not at once: the caller may be the connection that the poll is on.
            self._restart = asyncio.get_running_loop().call_soon(self._restart_poll)

    def _restart_poll(self) -> None:
        self._restart = None
        if self._poll_loop is not None:
            self._poll_loop.start_over(OriginBusy(UNSURE))

    def hurry(self) -> None:
        """Compare now, without the pause after a failure.

        It is called when a response on another connection shows that the origin can be reached.
        """
        if self._restart is not None:
            self._restart.cancel()
            self._restart_poll()
        if self._poll_loop is not None:
            self._poll_loop.hurry()

    async def until_compared(self, timeout_s: float) -> None:
        """Wait at most `timeout_s` seconds until a comparison, or the stream's feed, has ended."""
        await is_set_within(self._comparison, timeout_s)

    def on_settled(self) -> None:
        """Wake the readers that wait, because the comparison is over or will not take place."""
        comparison, self._comparison = self._comparison, Later[None]()
        comparison.set_result(None)
