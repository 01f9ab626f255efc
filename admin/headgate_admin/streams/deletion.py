"""Deletions of all streams that a search finds: counted, confirmed, carried out."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import tempfile
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec.structs import asdict, replace

from headgate_admin.access.audit import audited
from headgate_admin.errors import ConsoleError
from headgate_admin.model.kinds import Viewer
from headgate_admin.model.streams import OfStream, StreamSearch
from headgate_admin.operation import operation
from headgate_gateway.errors import BadRequest
from headgate_gateway.features.questions.streams import LARGEST_PAGE
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headgate_admin.streams.changes import ConsoleRoutes
    from headgate_admin.streams.client import StreamClient
    from headgate_gateway.features.questions.streams import StreamPage

SAMPLE = 20  # names that are shown before the confirmation
LARGEST_FILE = 256 << 20  # bytes of names and ids: some three million usual ones
# Deletions of other routes that wait for a confirmation or have ended, each with an open file.
MOST_IDLE = 100
AT_ONCE = 8  # requests: they hide a round trip, and other requests hardly wait for them
GONE = frozenset({404, 410})
UNAVAILABLE = frozenset({429, 500, 502, 503, 504})
# A minute, in which a listener restarts and a Redis fails over.
RETRY_AFTER_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
CLOSE_S = 5.0  # for the requests under way when the process ends
LOGGED = ("id", "route", "prefix", "by", "streams", "deleted", "gone", "failed")
SHOWN_WITHIN_S = 2.0  # a short count is over by then, and so is the end of a stopped deletion

# A deletion is counting, then counted until it is confirmed, running, or in one of the others.
DeletionState = Literal["counting", "counted", "running", "done", "stopped", "failed"]
Text = Annotated[str, msgspec.Meta(max_length=2048)]
HeaderValue = Annotated[str, msgspec.Meta(max_length=8192, pattern=r"^(?![\s\S]*[\x00-\x1f\x7f])")]


class DeletionWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The streams of a route to count: those whose names, as in URLs, begin with `prefix`.

    `contains` and `glob` are conditions as of a search. They are about the names below the path
    `base`, which is by default the route.
    """

    route: str
    prefix: Text
    contains: Text = ""
    glob: Text = ""
    base: Text = ""


class DeletionStart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The confirmation of a counted deletion: its number of streams.

    `authorization` is for an origin that decides who may delete: the gateway has none for it.
    """

    id: str
    confirm: int
    authorization: HeaderValue = ""


class DeletionReference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A deletion by its id; where it may be empty, the one that was counted last."""

    id: str = ""


class Deletion(DeletionWish, frozen=True, kw_only=True):
    """A deletion of many streams. `at` is when it was counted, in epoch seconds.

    `size` in bytes is None where an origin has the streams, of which only known ones are counted.
    With `is_cut` there are more than one deletion takes; those up to a name are counted. `trouble`
    is the last failure, and `status` that of HTTP which it came with.
    """

    id: str
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
    status: int | None = None
    ended_at: float | None = None

    @property
    def left(self) -> int:
        """The number of streams that were neither deleted nor tried in vain."""
        return self.streams - self.deleted - self.gone - self.failed


class ConsoleDeletions:
    """The deletions of many streams by this gateway: one at a time for each route.

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
        self.list_streams = list_streams
        self.routes = routes
        self.client = client
        self.clock = clock
        # By route, the one that was counted last, in any state; the newest is at the end.
        self._by_route: dict[str, PrefixDeletion] = {}
        # By id, the latest that ended before another took their place: who started one may not
        # have seen its end.
        self._ended: dict[str, Deletion] = {}

    def newest(self, route: str = "") -> Deletion | None:
        """Return the deletion of a route, or of any route, that was counted last."""
        found = (it.current for it in reversed(self._by_route.values()))
        return next((it for it in found if route in {"", it.route}), None)

    @operation("GET", "/api/v1/streams/deletion")
    def show(self, query: DeletionReference) -> Deletion:
        """Return a deletion of many streams, by default the one that was counted last."""
        found = self._ended.get(query.id)
        if found is None:
            found = self._by_id(query.id).current if query.id else self.newest()
        if found is None:
            raise ConsoleError(404, "no deletion was counted since the start")
        return found

    def _by_id(self, deletion_id: str) -> PrefixDeletion:
        for it in self._by_route.values():
            if it.current.id == deletion_id:
                return it
        raise ConsoleError(
            404, "there is no such deletion: another one was counted since, or the server restarted"
        )

    @operation("POST", "/api/v1/streams/deletion")
    async def count(self, body: DeletionWish, viewer: Viewer) -> Deletion:
        """Begin to count the streams of a route that a search finds, which deletes none.

        The count takes the place of a deletion that has ended or was not confirmed.
        """
        self.routes.check(body.route)
        if body.route in self._by_route and self._by_route[body.route].is_busy:
            raise ConsoleError(
                409, "a deletion of this route is under way: wait for its end, or stop it"
            )
        made = Deletion(**asdict(body), id=secrets.token_hex(6), by=viewer.name, at=self.clock())
        deletion = PrefixDeletion(made, self)
        idle = [it for it in self._by_route.values() if not it.is_busy]
        former = [it for it in idle if it.current.route == body.route]
        for it in former or idle[:-MOST_IDLE]:
            it.stop("another one was counted")
            del self._by_route[it.current.route]
            self._ended[it.current.id] = it.current
            if len(self._ended) > MOST_IDLE:
                del self._ended[next(iter(self._ended))]
        self._by_route[body.route] = deletion
        await deletion.wait_briefly()
        return deletion.current

    @operation("POST", "/api/v1/streams/deletion/start")
    def start(self, body: DeletionStart, viewer: Viewer) -> Deletion:
        """Begin to delete the streams that were counted, if their number is confirmed."""
        deletion = self._by_id(body.id)
        found = deletion.current
        with audited(viewer, "delete all below", found.route, found.prefix) as logged:
            logged["streams"] = found.streams
            if found.state != "counted":
                raise ConsoleError(409, f"this deletion is {found.state}: count again")
            if body.confirm != found.streams:
                raise ConsoleError(400, f"this is not the number of streams, {found.streams}")
            deletion.start(viewer.name, body.authorization)
        return deletion.current

    @operation("POST", "/api/v1/streams/deletion/stop")
    async def stop(self, body: DeletionReference, viewer: Viewer) -> Deletion:
        """Stop a deletion of many streams, or drop one that was only counted."""
        deletion = self._by_id(body.id)
        found = deletion.current
        with audited(viewer, "stop the deletion of all below", found.route, found.prefix) as logged:
            if found.state not in {"counting", "counted", "running"}:
                raise ConsoleError(409, f"this deletion is {found.state} already")
            deletion.stop("stopped")
            await deletion.wait_briefly()
            logged["left"] = deletion.current.left
        return deletion.current

    async def close(self) -> None:
        """End the deletions under way, since the process ends."""
        await asyncio.gather(*(it.close() for it in self._by_route.values()))


class PrefixDeletion:
    """A deletion of many streams of a route, from their count to its end."""

    def __init__(self, made: Deletion, console: ConsoleDeletions) -> None:
        """Begin to count. Raises ConsoleError for a search or a machine on which that cannot be."""
        self.current = made
        self._console = console
        self._authorization = ""
        self._fits = _test(made)
        try:  # a line for each stream, with its name and its id: a million need no memory
            self._streams = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - see _end
        except OSError as cause:
            raise ConsoleError(
                503,
                "no folder for temporary files can be written, and what is counted is noted there: "
                "set TMPDIR of the server",
            ) from cause
        self._size = 0  # characters of the file
        self._stop = asyncio.Event()
        self._stop_reason = ""
        self._task = self._begin(self._count())

    @property
    def is_busy(self) -> bool:
        """True while streams are counted or deleted."""
        return not self._task.done()

    def start(self, by: str, authorization: str) -> None:
        """Begin to delete what was counted."""
        self._set(state="running", by=by)
        self._authorization = authorization
        self._task = self._begin(self._delete_all())

    def stop(self, reason: str) -> None:
        """Stop the work under way, or drop what was counted."""
        self._stop_reason = reason
        self._stop.set()
        if self.current.state == "counted":
            self._end("stopped")

    async def close(self) -> None:
        """End the deletion, since the process ends."""
        self.stop("the server stopped")
        await asyncio.wait([self._task], timeout=CLOSE_S)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def wait_briefly(self) -> None:
        """Wait a moment for the end of the work under way."""
        await asyncio.wait([self._task], timeout=SHOWN_WITHIN_S)

    def _begin(self, work: Awaitable[None]) -> asyncio.Task[None]:
        """Do work in a task; a fault ends the deletion, and is logged."""

        async def run() -> None:
            try:
                await work
            except ConsoleError as refusal:
                self._set(status=refusal.status)
                self._end("failed", refusal.reason)
            except OSError as cause:
                self._end("failed", f"what is counted is noted in a file: {cause.strerror}")
            except Exception:  # noqa: BLE001 - the deletion must not seem to run for ever
                log.exception("deletion.broken")
                self._end("failed", "the log says what went wrong")

        return asyncio.create_task(run())

    async def _count(self) -> None:
        after: str | None = ""
        route, prefix = self.current.route, self.current.prefix
        while after is not None and not self._stop.is_set() and not self.current.is_cut:
            search = StreamSearch(route, begins=prefix, after=after, limit=LARGEST_PAGE)
            page = await self._console.list_streams(search)
            await self._note(page)
            after = page.after
        if self._stop.is_set():
            self._end("stopped")
        elif self.current.streams:
            self._streams.seek(0)
            self._set(state="counted")
        else:
            self._end("done")

    async def _note(self, page: StreamPage) -> None:
        """Note the streams of a page that fit, or that there is no room for them."""
        rows = [row for row in page.rows if self._fits(row.name)]
        text = "".join(f"{row.name} {row.stream_id or ''}\n" for row in rows)
        self._size += len(text)
        if self._size > LARGEST_FILE:
            self._set(is_cut=True)
            return
        await asyncio.to_thread(self._streams.write, text)
        known = self.current
        size = None if page.known_only else (known.size or 0) + sum(row.size or 0 for row in rows)
        sample = (*known.sample, *(row.name for row in rows))[:SAMPLE]
        self._set(streams=known.streams + len(rows), size=size, sample=sample)

    async def _delete_all(self) -> None:
        now = asyncio.get_running_loop().time
        while batch := await asyncio.to_thread(list[str], islice(self._streams, AT_ONCE)):
            self._console.routes.check(self.current.route)  # a reload may have removed it
            begun = now()
            statuses = await asyncio.gather(*map(self._delete, batch))
            if all(status in UNAVAILABLE for status in statuses):
                self._end("failed", self.current.trouble)
                return
            if await self._stops_within(now() - begun):  # other writers get half of the time
                break
        self._end("stopped" if self.current.left else "done", self.current.trouble)

    async def _delete(self, line: str) -> int | None:
        """Delete a stream, in several attempts; return the status of a failure, or None."""
        name, _, stream_id = line.rstrip("\n").partition(" ")
        for wait_s in (*RETRY_AFTER_S, None):
            try:
                path, _ = self._console.routes.stream(OfStream(self.current.route, name))
                await self._console.client.delete(path, stream_id, self._authorization)
            except ConsoleError as refusal:
                if refusal.status in GONE:
                    self._set(gone=self.current.gone + 1)
                    return None
                self._set(trouble=f"{name}: {refusal.reason}", status=refusal.status)
                if refusal.status not in UNAVAILABLE or wait_s is None:
                    self._set(failed=self.current.failed + 1)
                    return refusal.status
                if await self._stops_within(wait_s):
                    return None
            else:
                self._set(deleted=self.current.deleted + 1)
                return None
        raise AssertionError("the last attempt returns")

    async def _stops_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        return self._stop.is_set()

    def _set(self, **changes: object) -> None:
        self.current = replace(self.current, **changes)

    def _end(self, state: DeletionState, trouble: str | None = None) -> None:
        """End the deletion; log what became of one that had begun."""
        had_begun = self.current.state == "running"
        self._set(state=state, trouble=trouble, ended_at=self._console.clock())
        self._authorization = ""
        with contextlib.suppress(OSError):  # of what could not be written
            self._streams.close()
        if not had_begun:
            return
        ended = self.current
        fields = {name: getattr(ended, name) for name in LOGGED}
        if state == "done" and not ended.failed:
            log.info("deletion.done", **fields)
        else:
            reason = self._stop_reason if state == "stopped" else trouble or state
            log.warning("deletion.incomplete", **fields, left=ended.left, reason=reason)


def _test(wish: DeletionWish) -> Callable[[str], bool]:
    """Return a function that tells whether a name of the route fits. Raises ConsoleError."""
    if not (wish.contains or wish.glob):
        return lambda _name: True
    # What searches names is loaded when somebody first searches.
    from headgate_gateway.features.console.name_search import name_test

    try:
        fits = name_test(wish.contains, wish.glob)
    except BadRequest as refusal:
        raise ConsoleError(400, refusal.detail) from refusal
    base = f"{wish.base.rstrip('/')}/" if wish.base else f"{wish.route}/"
    return lambda name: fits is None or fits(f"{wish.route}/{name}".removeprefix(base))
