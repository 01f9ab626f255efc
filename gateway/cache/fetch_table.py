"""The GETs under way at an origin, and which of them equal requests join."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from gateway.cache.fetch import UNUSABLE
from gateway.errors import OriginBroken
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from gateway.cache.cached_response import CachedResponse, CacheRequest
    from gateway.cache.fetch import Doubt, Send, SharedFetch
    from gateway.cache.shared_body import SharedBodyReader
    from gateway.protocol.reach import Reach
    from gateway.telemetry.metrics import Histogram


class FetchTable:
    """The fetches of a route that are under way; equal requests find those that may be joined.

    `on_fetched` is called as soon as it is known what becomes of an answer, before anybody has it.
    """

    def __init__(self, on_fetched: Callable[[SharedFetch], None], collapsed: Histogram) -> None:
        self._on_fetched = on_fetched
        self._collapsed = collapsed
        self._joinable: dict[Hashable, SharedFetch] = {}
        self._of_path: dict[str, set[SharedFetch]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # What may stand in for an answer besides a kept one, by whoever knows of anything.
        self.in_place: Callable[[CacheRequest], CachedResponse | None] | None = None
        self.on_heard: Callable[[SharedFetch], Doubt | None] | None = None

    def __contains__(self, key: Hashable) -> bool:
        """Whether one is under way that was meant to be joined."""
        return key in self._joinable

    def joinable(self, key: Hashable) -> SharedFetch | None:
        """The one that an equal request may join."""
        fetch = self._joinable.get(key)
        return None if fetch is None or fetch.is_left else fetch

    def start(self, fetch: SharedFetch, send: Send, *, shared: bool) -> None:
        """Carry one out; if it is to be `shared`, let others join."""
        self.begin(fetch, shared=shared)
        try:
            self.carry_out(fetch, send)
        except BaseException:
            self._take_out(fetch)  # a reader that joined it would wait for ever
            raise

    def begin(self, fetch: SharedFetch, *, shared: bool) -> None:
        """Know of one that somebody carries out."""
        if fetch.old is not None:
            fetch.old.is_asked_for = True
        if shared:
            self._joinable[fetch.key] = fetch
        path = fetch.request.read.path
        others = self._of_path.get(path)
        if others is None:
            self._of_path[path] = {fetch}
        else:
            others.add(fetch)
        fetch.on_fetched = self._fetched
        fetch.in_place = self.in_place
        fetch.on_heard = self.on_heard

    def carry_out(self, fetch: SharedFetch, send: Send) -> asyncio.Task[None]:
        """Do so in a task."""
        task = asyncio.get_running_loop().create_task(fetch.run(send))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(partial(self._task_over, fetch))
        return task

    def outdate(self, path: str, reach: Reach | None) -> None:
        """A write passes by: nobody joins any more what was asked for before it.

        Without a `reach`, another stream may be there.
        """
        for fetch in self._of_path.get(path, ()):
            if reach is None:
                fetch.of_the_past = True
            else:
                fetch.passed_by = fetch.passed_by.together(reach)
            fetch.outdated = True
            self._close(fetch)

    def outdate_all(self) -> None:
        """Let nobody join a fetch under way, because any path may have another stream now."""
        for path in tuple(self._of_path):
            self.outdate(path, None)

    def left(self, fetch: SharedFetch, reader: SharedBodyReader) -> None:
        """One fewer waits for it; with the last one it is known how many it was given to."""
        fetch.leave(reader)
        self._count(fetch)

    def _count(self, fetch: SharedFetch) -> None:
        if fetch.is_over and fetch.given and not fetch.is_read:
            self._collapsed.observe(fetch.given)
            fetch.given = 0

    async def close(self) -> None:
        """End what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _fetched(self, fetch: SharedFetch) -> None:
        self._take_out(fetch)
        self._on_fetched(fetch)

    def _task_over(self, fetch: SharedFetch, task: asyncio.Task[None]) -> None:
        """Whatever has raised: nobody waits for it any more, nor finds it."""
        self._take_out(fetch)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("origin.answer_lost", target=fetch.request.path, exc_info=error)
        if task.cancelled() or error is not None:
            fetch.fail(OriginBroken(UNUSABLE))
        self.over(fetch)

    def over(self, fetch: SharedFetch) -> None:
        """All that was to be done has been, and all that was to be told, told."""
        fetch.is_over = True
        if fetch.given:
            self._count(fetch)

    def _take_out(self, fetch: SharedFetch) -> None:
        """Let nobody join any more, nor make it old: it is over, or all but."""
        self._close(fetch)
        if fetch.old is not None:
            fetch.old.is_asked_for = False
        path = fetch.request.read.path
        others = self._of_path.get(path)
        if others is not None:
            others.discard(fetch)
            if not others:
                del self._of_path[path]

    def _close(self, fetch: SharedFetch) -> None:
        """Let nobody join any more."""
        if self._joinable.get(fetch.key) is fetch:
            del self._joinable[fetch.key]
