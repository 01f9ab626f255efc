"""The streams whose changes by other processes are told, since somebody here waits for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.backends.contract import Log
    from gateway.streams.active_stream import ActiveStream
    from gateway.streams.deadlines import Deadlines

LINGER_S = 10.0  # a stream is followed for so long when nobody waits for it any more


class LogSubscriptions:
    """Has a shared log tell of streams; another one has nothing to tell."""

    def __init__(self, log: Log, deadlines: Deadlines) -> None:
        self._log = log
        self._deadlines = deadlines

    def follow(self, active: ActiveStream) -> None:
        """Hear of the stream's changes for as long as somebody follows it, and a little longer."""
        if not self._log.shared:
            return
        if not active.followed:
            active.followed = True
            self._log.follow(active.path)
        self._deadlines.keep_alive(active)

    def unfollow(self, active: ActiveStream) -> None:
        """Stop following a stream, a little later: readers that long-poll will be back soon."""
        if active.followed:
            if active.unfollowing is not None:
                active.unfollowing.cancel()
            loop = asyncio.get_running_loop()
            active.unfollowing = loop.call_later(LINGER_S, self._unfollow, active)

    def _unfollow(self, active: ActiveStream) -> None:
        active.unfollowing = None
        if active.followed and active.follower is None:
            active.followed = False
            self._log.unfollow(active.path)
