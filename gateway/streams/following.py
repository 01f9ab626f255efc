"""The streams of a shared log that this process follows, because a reader here waits for them."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.backends.contract import Log
    from gateway.streams.active_stream import ActiveStream, Watcher
    from gateway.streams.deadlines import Deadlines

LINGER_S = 10.0  # a stream is followed for so long when nobody waits for it any more


class LogSubscriptions:
    """The followed streams of one log; none where no other process writes to it."""

    def __init__(self, log: Log, deadlines: Deadlines) -> None:
        self._log = log
        self._deadlines = deadlines

    def follow(self, active: ActiveStream) -> None:
        """Start following the stream, which goes on until LINGER_S after `unfollow`."""
        sharing = self._log.sharing
        if sharing is None:
            return
        if not active.followed:
            active.followed = True
            sharing.follow(active.path)
        self._deadlines.keep_alive(active)

    def unfollow(self, active: ActiveStream) -> None:
        """Stop following a stream, a little later: readers that long-poll will be back soon."""
        if active.followed:
            if active.unfollowing is not None:
                active.unfollowing.cancel()
            loop = asyncio.get_running_loop()
            active.unfollowing = loop.call_later(LINGER_S, self._unfollow, active)

    def watch(self, active: ActiveStream, watcher: Watcher) -> Callable[[], None]:
        """Call `watcher` with each change of the stream from now on; return how to end that.

        Where the stream is not followed yet, it is called once when that has begun.
        """
        active.watchers = (*active.watchers, watcher)
        self.follow(active)
        return partial(self._unwatch, active, watcher)

    def _unwatch(self, active: ActiveStream, watcher: Watcher) -> None:
        active.watchers = tuple(it for it in active.watchers if it is not watcher)
        if not active.needs_news:
            self.unfollow(active)

    def _unfollow(self, active: ActiveStream) -> None:
        active.unfollowing = None
        sharing = self._log.sharing
        if sharing is not None and active.followed and not active.needs_news:
            active.followed = False
            sharing.unfollow(active.path)

    def are_complete(self, active: ActiveStream) -> bool:
        """Return whether this process learns of every change of the stream."""
        if self._log.sharing is None:
            return True
        return active.followed and self._log.why_unhealthy() is None
