"""A route to an own log: the operations on its streams, and the answers to reads of them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.access.reader_keys import renewed
from gateway.cache.fetches.single_flight import SingleFlight
from gateway.cache.rendered import RenderedChunk, drop, groups
from gateway.errors import BadRequest, HeadgateError, NotOffered, StreamNotFound
from gateway.hosted import metrics
from gateway.hosted.chunk_reader import ChunkReader
from gateway.hosted.description import described
from gateway.hosted.feeds import HostedFeeds, LiveRead
from gateway.hosted.kept_answers import kept_answer
from gateway.hosted.stream_list import StreamList
from gateway.live.feed import park
from gateway.protocol import cache_headers, cursors, responses
from gateway.protocol.http import cache_status
from gateway.protocol.http.identity import IdentityHeaders
from gateway.protocol.requests import CatchUp, Events, LongPoll, parse_target
from gateway.protocol.streams import chunks
from gateway.protocol.streams.offsets import NOW, Offset
from gateway.runtime.answer import RouteAnswer
from gateway.runtime.route import OPEN
from gateway.runtime.shedding import LIVE, READS
from gateway.runtime.writes import Write
from gateway.streams.appender import Appender
from gateway.streams.creations import Creations
from gateway.streams.lifecycle import Lifecycle
from gateway.streams.stream_clock import StreamClock
from gateway.streams.stream_table import StreamTable
from gateway.streams.sweeper import Sweeper
from gateway.telemetry import traffic as counted
from gateway.telemetry import traffic_metrics
from gateway.telemetry.metrics import Sample
from gateway.telemetry.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping

    from gateway.backends.contract import Log
    from gateway.cache.store import Store
    from gateway.live.contract import FeedSettings, Parkable
    from gateway.protocol.cache_headers import Freshness
    from gateway.protocol.requests import Read
    from gateway.protocol.responses import Response
    from gateway.protocol.streams.chunks import Chunk
    from gateway.protocol.streams.retention import Retention
    from gateway.protocol.streams.state import StreamState
    from gateway.runtime.context import Context
    from gateway.runtime.route import Checks, KeptAnswer, PlainGet, RouteAccess, RunsLike
    from gateway.telemetry.inspection import ListStreams, StreamDescription, StreamPage
    from gateway.telemetry.traffic import Hits

RESERVED = "__ds"  # first segment of the protocol's control paths (section 6)
# A whole chunk never changes, and a removal is told; but whoever deletes keys tells nobody.
SURE_S = 10.0


class HostedRoute:
    """Everything that serves the streams of one log, under one prefix."""

    keeps_order = True  # each kind of write waits in one queue

    def __init__(  # noqa: PLR0913 - what a route is made of
        self,
        prefix: str,
        log: Log,
        freshness: Freshness,
        retention: Retention,
        settings: FeedSettings,
        shared: Context,
        access: RouteAccess = OPEN,
    ) -> None:
        self.prefix = prefix
        self.access = access
        self.identity = IdentityHeaders()
        self.freshness = freshness
        if access.reader_keys is not None:
            access.reader_keys.on_rotation.append(self.clear)
        self.traffic = Traffic()
        self._shared = shared
        self._store: Store[RenderedChunk] = shared.store  # under targets
        self.clock = shared.clock
        self._trims = bool(retention)
        clocks = shared.clock, shared.running, shared.expiry_grace_s
        clock = StreamClock(*clocks, follows_wall=log.sharing is not None, route=prefix)
        self.table = StreamTable(log, clock, self)
        self.appender = Appender(self.table, shared.limits.max_pending_appends, retention)
        self.lifecycle = Lifecycle(self.table, retention, self._ended)
        self.creations = Creations(self.table, self.lifecycle)
        # Read and rendered once for all who wait.
        self.answers: SingleFlight[RenderedChunk] = SingleFlight(self.traffic.collapsed)
        self.reader = ChunkReader(self.table)
        self.feeds = HostedFeeds(self.table, self.reader, freshness, settings, shared, self.traffic)
        self.feeds.source.reader_keys = access.reader_keys
        self.sweeper = Sweeper(self.table, self.lifecycle)
        self.streams = StreamList(self.table)
        self.runs: RunsLike | None = None  # where the settings say that there are some

    def checked(self, name: str) -> str:
        """Return the name of a stream; raises HeadgateError for none, or one that is reserved."""
        if not name:
            raise StreamNotFound(f"a stream has a name: {self.prefix}/NAME")
        if name.endswith("/"):
            raise BadRequest("the path has an empty segment")
        if name.split("/", 1)[0] == RESERVED:
            raise NotOffered("subscriptions are not offered by this server")
        return name

    def parse(self, target: str) -> Read:
        """Parse a target as a read; raises HeadgateError."""
        read = parse_target(target)
        if isinstance(read, HeadgateError):
            raise type(read)(read.detail)
        keys = self.access.reader_keys
        return read if keys is None else keys.with_cache_target(read, target)

    def with_key(self, response: Response, name: str) -> Response:
        """Add the stream's reader key, if there is one, to a response to a permitted reader."""
        keys = self.access.reader_keys
        if keys is None:
            return response
        line = responses.key_line(keys.of(f"{self.prefix}/{name}"))
        return replace(response, fields=f"{response.fields}{line}")

    # Without a task

    @staticmethod
    def cached_answer(shared: Context, get: PlainGet, now: float) -> KeptAnswer | None:
        """Return the answer, when it is in the cache and need not be confirmed."""
        return kept_answer(shared, get, now)

    def park(
        self, connection: Parkable, name: str, read: LongPoll, _headers: Mapping[str, str]
    ) -> bool:
        """Let a long-poll wait in the feed at the tail, or at an offset that the feed still has."""
        try:
            active = self.table.peek(name)
            if (
                active is None
                or active.state is None
                or not self.table.following.are_complete(active)
            ):
                return False
            state = self.table.present(active)
            offset = read.offset
            if state.closed:
                return False
            start = chunks.start_position(state, offset)
            position = state.offset(start)
            if start != state.tail and not self.feeds.reaches(active, position):
                return False
            if isinstance(offset, Offset) and offset.position > state.tail:
                return False  # another gateway may know more: a handler asks the log
            self.table.deadlines.touch(active)
            join = partial(self.feeds.join, active, state)
            park(connection, join, read, position)
        except HeadgateError:
            return False
        return True

    # Caches

    def invalidate(self, write: Write) -> None:
        """Serve nothing of a removed stream, although the log takes time to report its removal."""
        if write.removed_id is not None:
            self.table.drop(write.path.removeprefix(f"{self.prefix}/"), write.removed_id)

    def invalidate_all(self) -> None:
        """Do nothing: the log confirms whatever is not in the cache before it is served."""

    def changed(self, stream_id: int, *, whole: bool) -> None:
        """Forget what is no longer so: what reached the tail, or with `whole` everything."""
        drop(self._store, stream_id, whole=whole)
        drop(self.feeds.source.events, stream_id, whole=whole)

    def _ended(self, name: str, stream_id: int) -> None:
        path = f"{self.prefix}/{name}"
        self._shared.announce(Write(prefix=self.prefix, path=path, removed_id=stream_id))
        self._shared.purge(self.prefix, path)

    def clear(self) -> None:
        """Forget everything, of other routes too: a log seldom loses what it acknowledged."""
        self._store.clear()
        self.feeds.source.events.clear()

    # Reading

    async def read(
        self, read: Read, name: str, if_none_match: str | None
    ) -> RouteAnswer | LiveRead:
        """Return the response, or a LiveRead for SSE and for a long-poll at the tail."""
        now = self.clock()
        entry = self._store.get(read.target, now)
        if entry is not None and entry.confirm_after <= now:
            entry = await self._confirmed(read, name)
        if entry is not None:
            entry.hits += 1
            return RouteAnswer(_conditional(entry, if_none_match), cache_status.hit(entry.hits))
        self._shared.shedding.check(READS if isinstance(read, CatchUp) else LIVE)
        active = await self.table.load(name)
        read = renewed(self.access.reader_keys, read)
        state = self.table.present(active)
        self.table.deadlines.touch(active)
        start = chunks.start_position(state, read.offset)
        if isinstance(read, Events):
            return LiveRead(active, state, start, read.offset is None)
        if start == state.tail and isinstance(read, LongPoll):
            if state.closed:
                ended = responses.poll_ended(state, read, self.freshness, self.clock())
                return RouteAnswer(ended, cache_status.MISS)
            return LiveRead(active, state, start, read.offset is None)
        if read.offset == NOW:
            return RouteAnswer(responses.tail(state, read, self.clock()), cache_status.BYPASS)
        key = read_key(read, state)
        shares = key in self.answers
        entry = await self.answers.read(key, lambda: self.answer(read, state, start))
        cache = cache_status.COLLAPSED if shares else cache_status.MISS
        return RouteAnswer(_conditional(entry, if_none_match), cache)

    async def _confirmed(self, read: Read, name: str) -> RenderedChunk | None:
        """Return the cached response if the log, loaded anew, would give the same."""
        active = await self.table.load(name)  # drops what has become old
        state = self.table.present(active)
        now = self.clock()
        entry = self._store.get(read.target, now)
        if entry is not None and not entry.is_of(state):
            return None  # taken away by other hands than a gateway's, and begun anew
        if entry is not None:
            entry.confirm_after = now + entry.sure_s
        return entry

    async def answer(self, read: Read, state: StreamState, start: int) -> RenderedChunk:
        """Read and render the chunk at `start`, and cache it if it may be."""
        at_tail = start == state.tail
        chunk = chunks.empty(state) if at_tail else await self.reader.chunk_for(read, state, start)
        return self._render(read, chunk)

    def _render(self, read: Read, chunk: Chunk) -> RenderedChunk:
        """Render a chunk as bytes, and cache it if it may be."""
        state = chunk.state
        now = self.clock()
        read = renewed(self.access.reader_keys, read)
        response = responses.data(chunk, read, self.freshness, now)
        until = _same_until(state, read, now)
        # A whole chunk at the tail says that it is up to date, which an append changes too.
        until_change = chunk.at_tail or not chunk.complete
        is_end = state.closed and chunk.start == state.tail
        entry = RenderedChunk(
            read.target,
            groups(state, until_change=until_change),
            response,
            etag=cache_headers.etag(chunk),
            owner=self.traffic.kept,
            given=self._given(read, is_end=is_end),
            is_end=is_end,
            expires_at=until,
        )
        if self.table.is_shared:
            trims = self._trims or state.marks or state.first  # here, or by another gateway
            entry.sure_s = 0.0 if until_change or trims else SURE_S
            entry.confirm_after = self.clock() + entry.sure_s
        is_current = self.reader.is_current(chunk, until_change=until_change)
        if is_current and (until is None or self.clock() < until):
            self._store.put(entry)
        return entry

    def _given(self, read: Read, *, is_end: bool) -> Hits:
        """Return the counts of requests that the cached response answers."""
        begins = counted.TERMINAL if is_end else counted.begins(read.offset)
        operation = counted.LONG_POLL if isinstance(read, LongPoll) else counted.READ
        return self.traffic.hits(operation, begins)

    # For who asks what would become of a read

    def kept(self, read: Read) -> RenderedChunk | None:
        """Return the cached response without marking it as used."""
        return self._store.peek(read.target, self.clock())

    def is_being_read(self, read: Read, state: StreamState) -> bool:
        """Return whether other requests wait for the same read of the log."""
        return read_key(read, state) in self.answers

    # As a part of the process

    def readiness(self) -> Checks:
        """Return the check of the log: why it takes no appends, or None."""
        return {f"log {self.prefix}": self.table.log.why_unhealthy()}

    def notes(self) -> Checks:
        """Return a loss of the log as a note: no other server has more than what is left."""
        upkeep = self.table.log.upkeep
        loss = None if upkeep is None else upkeep.loss()
        return {} if loss is None else {f"loss {self.prefix}": loss}

    def samples(self) -> Iterator[Sample]:
        """Yield the metrics of the log, and of what waits for it."""
        fates = self.lifecycle.figures
        yield from metrics.samples(self.prefix, self.table.log, self.appender, fates)
        yield from traffic_metrics.samples(self.prefix, self.traffic)
        if self.access.guard is not None:
            yield from traffic_metrics.decisions(self.prefix, self.traffic)
        if self.runs is not None:
            yield from self.runs.samples()
        yield Sample(traffic_metrics.FEEDS, (self.prefix,), self.feeds.count)
        refused = self.appender.refused_for_room
        yield Sample(traffic_metrics.REFUSALS, ("max_pending_appends",), refused)

    async def list_streams(self, question: ListStreams) -> StreamPage:
        """Return a page of the streams."""
        return await self.streams.page(question)

    async def describe(self, name: str) -> StreamDescription:
        """Return a stream, its producers, and its readers in this process."""
        active = await self.table.load(name)
        state = self.table.present(active)
        return described(self.streams.row(state), state, active)

    async def share_figures(self, instance: str, figures: str) -> Mapping[str, str]:
        """Store a gateway's figures in a shared log, and return the other gateways'."""
        sharing = self.table.log.sharing
        return {} if sharing is None else await sharing.share_figures(instance, figures)

    async def open(self) -> None:
        """Open the log; raises StartError."""
        log = self.table.log
        await log.open()
        self.table.clock.begin(None if log.upkeep is None else log.upkeep.clock_note())
        self.sweeper.start()

    async def drain(self) -> None:
        """Let every live reader go, and wait until they have and no write is under way."""
        await self.feeds.drain()
        await self.appender.idle.wait()
        await self.creations.idle.wait()

    async def close(self) -> None:
        """Close the log."""
        await self.sweeper.stop()
        self.sweeper.note()
        await self.streams.survey.close()
        if self.runs is not None:
            await self.runs.close()
        await self.table.log.close()


def read_key(read: Read, state: StreamState) -> Hashable:
    """Return what reads that wait for one answer are equal in."""
    return read.target, state.stream_id, state.version, state.history


def _same_until(state: StreamState, read: Read, now: float) -> float | None:
    """Until when an answer stays as it is, whatever the clock says; None for always."""
    if state.lifetime.ttl_s is not None:
        return 0.0  # each read must come to the stream, to restart its countdown
    ends = [] if state.deadline is None else [responses.same_until(state, now)]
    if isinstance(read, LongPoll) and read.cursor is not None:
        ends.append(cursors.same_until(read.cursor, now))
    return min(ends, default=None)


def _conditional(entry: RenderedChunk, if_none_match: str | None) -> RenderedChunk | Response:
    if if_none_match is not None and cache_headers.matches(if_none_match, entry.etag):
        return responses.Response(304, entry.fields)
    return entry
