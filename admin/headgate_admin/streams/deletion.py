"""Deletion of all streams whose names begin with a prefix: counted, confirmed, carried out."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec.structs import replace

from headgate_admin.access.audit import audited
from headgate_admin.errors import ConsoleError
from headgate_admin.model.kinds import Viewer
from headgate_admin.model.streams import OfStream, StreamSearch
from headgate_admin.operation import operation
from headgate_gateway.features.questions.streams import LARGEST_PAGE
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headgate_admin.streams.changes import ConsoleRoutes
    from headgate_admin.streams.client import StreamClient
    from headgate_gateway.features.questions.streams import StreamPage

SAMPLE = 20  # names that are shown before the confirmation
MOST_NAMES = 16 << 20  # characters of all names: some 250,000 usual ones, in memory
AT_ONCE = 8  # requests: they hide a round trip, and other requests hardly wait for them
# Seconds between two batches: a usual disk syncs some thousand commits a second, and other writers
# must get most of them.
PAUSE_S = 0.04
GONE = frozenset({404, 410})
UNAVAILABLE = frozenset({429, 500, 502, 503, 504})
# A minute, in which a listener restarts and a Redis fails over.
RETRY_AFTER_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
CLOSE_S = 5.0  # for the requests under way when the process ends
LOGGED = ("id", "route", "prefix", "by", "streams", "deleted", "gone", "failed")
SHOWN_WITHIN_S = 2.0  # a short count is over by then, and so is the end of a stopped deletion

# A deletion is counting, then counted until it is confirmed, running, or in one of the others.
DeletionState = Literal["counting", "counted", "running", "done", "stopped", "failed"]


class DeletionWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The streams of a route to count: those whose names, as in URLs, begin with `prefix`."""

    route: str
    prefix: Annotated[str, msgspec.Meta(max_length=2048)]


class DeletionStart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The confirmation of a counted deletion: its number of streams."""

    id: str
    confirm: int


class DeletionReference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A deletion by its id."""

    id: str


class Deletion(msgspec.Struct, frozen=True, kw_only=True):
    """A deletion of many streams. `at` is when it was counted, in epoch seconds.

    `size` in bytes is None where an origin has the streams. With `is_cut` there are more than one
    deletion takes; those up to a name are counted. `trouble` is the last failure.
    """

    id: str
    route: str
    prefix: str
    by: str
    at: float
    state: DeletionState = "counting"
    streams: int = 0
    size: int | None = 0
    sample: tuple[str, ...] = ()  # the first names
    is_cut: bool = False
    deleted: int = 0
    gone: int = 0  # deleted by others, or other streams by then
    failed: int = 0
    trouble: str | None = None
    ended_at: float | None = None

    @property
    def left(self) -> int:
        """The number of streams that were neither deleted nor tried in vain."""
        return self.streams - self.deleted - self.gone - self.failed


class PrefixDeletion:
    """The deletion by prefix of this gateway: one at a time, in memory.

    What is refused raises ConsoleError.
    """

    def __init__(
        self,
        list_streams: Callable[[StreamSearch], Awaitable[StreamPage]],
        routes: ConsoleRoutes,
        client: StreamClient,
        clock: Callable[[], float],
    ) -> None:
        """`clock` returns epoch seconds."""
        self._list_streams = list_streams
        self._routes = routes
        self._client = client
        self._clock = clock
        self.current: Deletion | None = None  # the one that was counted last, in any state
        self._streams: list[tuple[str, str | None]] = []  # names, with ids where the log has them
        self._characters = 0
        self._stop = asyncio.Event()
        self._stop_reason = ""
        self._task: asyncio.Task[None] | None = None

    @operation("GET", "/api/v1/streams/deletion")
    def last(self) -> Deletion:
        """Return the deletion of many streams that was counted last."""
        if self.current is None:
            raise ConsoleError(404, "no deletion was counted since the start")
        return self.current

    def by_id(self, deletion_id: str) -> Deletion:
        """Return the deletion with this id."""
        if self.current is None or self.current.id != deletion_id:
            raise ConsoleError(404, "there is no such deletion: another one was counted since")
        return self.current

    @operation("POST", "/api/v1/streams/deletion")
    async def count(self, body: DeletionWish, viewer: Viewer) -> Deletion:
        """Begin to count the streams below a prefix, which deletes none.

        The count takes the place of a deletion that has ended or was not confirmed.
        """
        self._routes.check(body.route)
        if self._task is not None and not self._task.done():
            raise ConsoleError(409, "a deletion is under way: wait for its end, or stop it")
        self.current = Deletion(
            id=secrets.token_hex(6),
            route=body.route,
            prefix=body.prefix,
            by=viewer.name,
            at=self._clock(),
        )
        self._streams, self._characters = [], 0
        self._begin(self._count())
        await self._wait_briefly()
        return self.by_id(self.current.id)

    @operation("POST", "/api/v1/streams/deletion/start")
    def start(self, body: DeletionStart, viewer: Viewer) -> Deletion:
        """Begin to delete the streams that were counted, if their number is confirmed."""
        found = self.by_id(body.id)
        with audited(viewer, "delete all below", found.route, found.prefix) as logged:
            logged["streams"] = found.streams
            if found.state != "counted":
                raise ConsoleError(409, f"this deletion is {found.state}: count again")
            if body.confirm != found.streams:
                raise ConsoleError(400, f"this is not the number of streams, {found.streams}")
            self._set(state="running", by=viewer.name)
            self._begin(self._delete_all())
        return self.by_id(body.id)

    @operation("POST", "/api/v1/streams/deletion/stop")
    async def stop(self, body: DeletionReference, viewer: Viewer) -> Deletion:
        """Stop a deletion of many streams, or drop one that was only counted."""
        found = self.by_id(body.id)
        with audited(viewer, "stop the deletion of all below", found.route, found.prefix) as logged:
            if found.state not in {"counting", "counted", "running"}:
                raise ConsoleError(409, f"this deletion is {found.state} already")
            self._stop_by("stopped")
            if found.state == "counted":
                self._end("stopped")
            await self._wait_briefly()
            logged["left"] = self.by_id(body.id).left
        return self.by_id(body.id)

    async def close(self) -> None:
        """End the deletion under way, since the process ends."""
        self._stop_by("the server stopped")
        if self._task is not None:
            await asyncio.wait([self._task], timeout=CLOSE_S)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _stop_by(self, reason: str) -> None:
        self._stop_reason = reason
        self._stop.set()

    async def _wait_briefly(self) -> None:
        """Wait a moment for the end of the work under way."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=SHOWN_WITHIN_S)

    def _begin(self, work: Awaitable[None]) -> None:
        """Do work in a task; a fault ends the deletion, and is logged."""
        self._stop.clear()

        async def run() -> None:
            try:
                await work
            except ConsoleError as refusal:
                self._end("failed", refusal.reason)
            except Exception:  # noqa: BLE001 - the deletion must not seem to run for ever
                log.exception("deletion.broken")
                self._end("failed", "the log says what went wrong")

        self._task = asyncio.create_task(run())

    async def _count(self) -> None:
        after: str | None = ""
        route, prefix = self._under_way.route, self._under_way.prefix
        while after is not None and not self._stop.is_set() and not self._under_way.is_cut:
            search = StreamSearch(route, begins=prefix, after=after, limit=LARGEST_PAGE)
            page = await self._list_streams(search)
            self._note(page)
            after = page.after
        if self._stop.is_set():
            self._end("stopped")
        elif self._streams:
            self._set(state="counted")
        else:
            self._end("done")

    def _note(self, page: StreamPage) -> None:
        """Note the streams of a page, or that there is no room for them."""
        self._characters += sum(len(row.name) for row in page.rows)
        if self._characters > MOST_NAMES:
            self._set(is_cut=True)
            return
        self._streams += [(row.name, row.stream_id) for row in page.rows]
        sizes = [row.size for row in page.rows]
        size = self._under_way.size
        known = size is not None and None not in sizes
        self._set(
            streams=len(self._streams),
            size=size + sum(it or 0 for it in sizes) if known and size is not None else None,
            sample=tuple(name for name, _ in self._streams[:SAMPLE]),
        )

    async def _delete_all(self) -> None:
        for begin in range(0, len(self._streams), AT_ONCE):
            self._routes.check(self._under_way.route)  # a reload may have removed it
            batch = self._streams[begin : begin + AT_ONCE]
            statuses = await asyncio.gather(*(self._delete(*it) for it in batch))
            if all(status in UNAVAILABLE for status in statuses):
                self._end("failed", self._under_way.trouble)
                return
            if await self._stops_within(PAUSE_S):
                break
        self._end("stopped" if self._under_way.left else "done", self._under_way.trouble)

    async def _delete(self, name: str, stream_id: str | None) -> int | None:
        """Delete a stream, in several attempts; return the status of a failure, or None."""
        for wait_s in (*RETRY_AFTER_S, None):
            try:
                path, _ = self._routes.stream(OfStream(self._under_way.route, name))
                await self._client.delete(path, stream_id)
            except ConsoleError as refusal:
                if refusal.status in GONE:
                    self._set(gone=self._under_way.gone + 1)
                    return None
                self._set(trouble=f"{name}: {refusal.reason}")
                if refusal.status not in UNAVAILABLE or wait_s is None:
                    self._set(failed=self._under_way.failed + 1)
                    return refusal.status
                if await self._stops_within(wait_s):
                    return None
            else:
                self._set(deleted=self._under_way.deleted + 1)
                return None
        raise AssertionError("the last attempt returns")

    async def _stops_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        return self._stop.is_set()

    @property
    def _under_way(self) -> Deletion:
        assert self.current is not None, "a deletion is under way"
        return self.current

    def _set(self, **changes: object) -> None:
        self.current = replace(self._under_way, **changes)

    def _end(self, state: DeletionState, trouble: str | None = None) -> None:
        """End the deletion; log what became of one that had begun."""
        had_begun = self._under_way.state == "running"
        self._set(state=state, trouble=trouble, ended_at=self._clock())
        self._streams = []
        if not had_begun:
            return
        ended = self._under_way
        fields = {name: getattr(ended, name) for name in LOGGED}
        if state == "done" and not ended.failed:
            log.info("deletion.done", **fields)
        else:
            reason = self._stop_reason if state == "stopped" else trouble or state
            log.warning("deletion.incomplete", **fields, left=ended.left, reason=reason)
