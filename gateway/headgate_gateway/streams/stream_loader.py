"""Loads streams from a log, and follows those of a shared log that a reader here waits for.

The known state of a shared log's stream is confirmed instead. After a lost connection, the followed
streams are loaded anew, some at a time.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from headgate.shielding import shielded
from headgate_gateway.errors import HeadgateError, LogUnavailable
from headgate_gateway.stepped import in_task
from headgate_gateway.streams.follower import RELOAD_S
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate_gateway.logs.contract import LoadedStream, Log
    from headgate_gateway.logs.sharing import Sharing
    from headgate_gateway.protocol.streams.state import StreamState
    from headgate_gateway.streams.active_stream import ActiveStream, Watcher
    from headgate_gateway.streams.clock import Deadlines

LOADS_AT_ONCE = 100  # a pass of the loop stays short, and pipelines long
LINGER_S = 10.0  # a stream is followed for so long after its last reader


class StreamLoader:
    """Loads of one log's streams; equal ones share one look-up."""

    def __init__(
        self,
        log: Log,
        on_loaded: Callable[[ActiveStream, LoadedStream], None],
        forget: Callable[[ActiveStream], None],
    ) -> None:
        """`on_loaded` gets the result of a load; `forget` gets a stream whose state is stale."""
        self._log = log
        self._sharing = log.sharing
        self._on_loaded = on_loaded
        self._forget = forget
        self._outdated: dict[ActiveStream, None] = {}  # to be loaded for their followers
        self._failed: dict[ActiveStream, None] = {}  # streams of `_outdated` that could not be read
        self._tasks: set[asyncio.Task[None]] = set()

    async def load(self, active: ActiveStream) -> ActiveStream:
        """Load the stream as it is in the log now, also if another process changed it.

        In a shared log, a look-up that began before this call does not count: its reply may be
        older than a change that the caller knows of.
        """
        last_lookup = active.last_lookup
        while True:
            state = active.state
            if active.answered_lookup > last_lookup and (state is not None or active.absent):
                return active
            if state is None:
                await shielded(self._begin_loading(active))
                if active.absent and self._sharing is None:
                    return active
            elif self._sharing is None or await self._is_current(self._sharing, active, state):
                return active

    def start(self, active: ActiveStream) -> asyncio.Future[ActiveStream] | asyncio.Future[None]:
        """Load a stream of which nothing is known, for a caller without a task."""
        if self._sharing is not None:
            return asyncio.get_running_loop().create_task(self.load(active))
        return self._begin_loading(active)

    async def _is_current(self, sharing: Sharing, active: ActiveStream, state: StreamState) -> bool:
        """Return whether the state in memory is the log's; drop it otherwise."""
        await in_task()
        if await sharing.is_current(state):
            return active.state is not None  # or it was forgotten meanwhile
        known = active.state  # a sliding deadline may have moved it on
        if known is not None and known.is_along(state) and known.version == state.version:
            self._forget(active)
        return False

    def _begin_loading(self, active: ActiveStream) -> asyncio.Future[None]:
        """Load by callbacks: tasks for thousands of streams would take longer than their loads."""
        if active.loading is None:
            loading = asyncio.get_running_loop().create_future()
            self._start_load(active, loading)
            active.loading = loading
        return active.loading

    def _start_load(self, active: ActiveStream, loading: asyncio.Future[None]) -> None:
        active.last_lookup += 1
        on_done = partial(
            self._on_lookup_done, active, loading, active.revision, active.last_lookup
        )
        asyncio.ensure_future(self._log.load(active.path)).add_done_callback(on_done)

    def _on_lookup_done(
        self,
        active: ActiveStream,
        loading: asyncio.Future[None],
        revision: int,
        question: int,
        answer: asyncio.Future[LoadedStream],
    ) -> None:
        error: Exception | None = None
        try:
            loaded = answer.result()
            if active.revision == revision:
                active.answered_lookup = question
                self._on_loaded(active, loaded)
            elif active.state is None:  # a commit or a lost race has overtaken the answer
                self._start_load(active, loading)
                return
        except asyncio.CancelledError:
            loading.cancel()
        except Exception as failure:  # noqa: BLE001 - its callers get it
            error = failure
        active.loading = None
        if error is not None:
            loading.set_exception(error)
            loading.exception()  # or asyncio would log it if all callers have left
        elif not loading.done():
            loading.set_result(None)

    def reload(self, *streams: ActiveStream) -> None:
        """Load these streams for their followers, LOADS_AT_ONCE at a time of thousands."""
        self._outdated.update(dict.fromkeys(streams))
        while len(self._tasks) < min(LOADS_AT_ONCE, len(self._outdated)):
            task = asyncio.get_running_loop().create_task(self._reload())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _reload(self) -> None:
        while self._outdated:
            active = next(iter(self._outdated))
            del self._outdated[active]
            try:
                if active.needs_news and active.state is None:
                    await self.load(active)
            except LogUnavailable:
                if not self._failed:
                    asyncio.get_running_loop().call_later(RELOAD_S, self._try_again)
                self._failed[active] = None
            except HeadgateError as damage:
                log.error("stream.not_followed", path=active.path, reason=damage.detail)
            except Exception:  # noqa: BLE001 - the others are still to be looked at
                log.exception("stream.not_followed", path=active.path)

    def _try_again(self) -> None:
        failed, self._failed = self._failed, {}
        self.reload(*failed)


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

        If the stream is not followed yet, it is called once when following has begun.
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
