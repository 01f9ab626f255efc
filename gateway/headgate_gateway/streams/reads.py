"""Reads of the streams of an own log: from the cache, or rendered once for all waiting requests."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from headgate_gateway.access.reader_keys import renewed
from headgate_gateway.errors import StreamGone
from headgate_gateway.protocol import cache_headers, http1, responses
from headgate_gateway.protocol.cache_headers import PurgeTrust
from headgate_gateway.protocol.http import cache_status
from headgate_gateway.protocol.http.repeated_fields import without_vary
from headgate_gateway.protocol.requests import CatchUp, Events, LongPoll
from headgate_gateway.protocol.responses import Facts
from headgate_gateway.protocol.streams import chunks
from headgate_gateway.protocol.streams.limits import in_force
from headgate_gateway.protocol.streams.offsets import NOW, same_cursor_until
from headgate_gateway.routes.answers import RouteAnswer
from headgate_gateway.runtime.shedding import LIVE, READS
from headgate_gateway.runtime.single_flight import SingleFlight
from headgate_gateway.store import CacheEntry
from headgate_gateway.streams.active_stream import have_same_beginning
from headgate_gateway.streams.refetches import Refetches
from headgate_gateway.telemetry import traffic as counted

if TYPE_CHECKING:
    from collections.abc import Hashable

    from headgate_gateway.access.reader_keys import ReaderKeys
    from headgate_gateway.protocol.cache_headers import Freshness
    from headgate_gateway.protocol.http.cache_status import CacheUse
    from headgate_gateway.protocol.requests import Read
    from headgate_gateway.protocol.responses import Response
    from headgate_gateway.protocol.streams.chunks import Chunk
    from headgate_gateway.protocol.streams.limits import Retention
    from headgate_gateway.protocol.streams.state import StreamState
    from headgate_gateway.routes.contract import CachedAnswer, PlainGet
    from headgate_gateway.routes.services import Services
    from headgate_gateway.runtime.request_fields import Own
    from headgate_gateway.store import Store
    from headgate_gateway.streams.active_stream import ActiveStream
    from headgate_gateway.streams.stream_table import StreamTable
    from headgate_gateway.telemetry.traffic import CacheShare, Hits, Traffic

# The head of a hit: of common lines, an id, the connection, the number of hits, and its own lines.
_HIT = http1.OK + b"%b%b%b" + cache_status.HIT + b"%b%b"
_UNCHANGED = http1.UNCHANGED + b"%b%b%b" + cache_status.HIT + b"%b\r\n"
# A whole chunk never changes and gateways notify of removals, but a program that deletes keys of
# Redis does not.
SURE_S = 10.0
# Seconds for which the first chunk of an open stream is served from memory: then it may be closed.
RENEWED_S = 60.0


class RenderedChunk(CacheEntry):
    """A response with status 200, without the status line and the lines of the moment.

    After `confirm_after` (epoch seconds) another program may have changed the stream without a
    notification; once confirmed, the response is served for `sure_s` more. `lines` are its own
    header lines, without the `framing`; those of a hit lack the Vary line, which the lines of the
    moment have, with the value `vary`. The body is separate, since it may be megabytes, which the
    log has just read: it is never copied. `hit_counter` counts the hits.
    """

    __slots__ = (
        "body",
        "confirm_after",
        "etag",
        "facts",
        "framing",
        "hit_counter",
        "hit_lines",
        "lines",
        "sure_s",
        "vary",
    )

    def __init__(
        self,
        key: Hashable,
        groups: tuple[Hashable, ...],
        response: Response,
        *,
        owner: CacheShare,
        hit_counter: Hits,
        expires_at: float | None = None,
    ) -> None:
        lines, body = response.fields.encode("utf-8", "surrogateescape"), response.body
        size = len(lines) + len(body)
        super().__init__(key, size, groups, owner=owner, expires_at=expires_at)
        self.lines = lines
        self.hit_lines = lines
        self.vary: str | None = None  # set with hit_lines by the first hit: many have none
        self.framing = b"Content-Length: %d\r\n\r\n" % len(body)
        self.body = body
        self.facts = response.facts
        self.hit_counter = hit_counter
        self.etag = response.tag
        self.sure_s = self.confirm_after = math.inf

    def is_of(self, state: StreamState) -> bool:
        """Return whether the response is of this stream, and not of another at the same path."""
        return state.stream_id in self.groups


class LiveRead(NamedTuple):
    """A live read: its stream, the stream's present state, and the position where it begins.

    With `from_first` it begins at the first record, wherever that is.
    """

    active: ActiveStream
    state: StreamState
    start: int
    from_first: bool


class HostedReads:
    """The reads of one route, and their part of the cache."""

    def __init__(
        self,
        table: StreamTable,
        freshness: Freshness,
        services: Services,
        reader_keys: ReaderKeys | None,
        traffic: Traffic,
        retention: Retention,
    ) -> None:
        self.table = table
        self.freshness = freshness
        self.reader_keys = reader_keys
        self.traffic = traffic
        self._clock = services.clock
        self._store: Store[RenderedChunk] = services.store  # under targets
        self._retention = retention
        self.services = services
        # A miss of a log on this machine is a read of its own disk, and burdens no server.
        self.refetches = Refetches() if table.is_shared else None
        # Reads under way, each shared by all requests that wait for it.
        self.answers: SingleFlight[RenderedChunk] = SingleFlight(traffic.collapsed)

    async def read(
        self, read: Read, name: str, if_none_match: str | None
    ) -> RouteAnswer | LiveRead:
        """Return the response, or a LiveRead for SSE and for a long-poll at the tail."""
        now = self._clock()
        entry = self._store.get(read.target, now)
        if entry is not None and entry.confirm_after <= now:
            entry = await self._confirmed(read, name)
        if entry is not None:
            entry.hits += 1
            use = cache_status.CacheUse("HIT", cache_status.HIT % entry.hits)
            return _conditional(entry, if_none_match, use)
        self.services.shedding.check(READS if isinstance(read, CatchUp) else LIVE)
        active = await self.table.load(name)
        if self.reader_keys is not None:
            read = renewed(self.reader_keys, read)
        state = self.table.present(active)
        if state.deadline is not None:
            self.table.deadlines.touch(active)
        start = chunks.start_position(state, read.offset)
        is_at_tail = start == state.tail and isinstance(read, LongPoll)
        if is_at_tail and state.closed:
            ended = responses.poll_ended(state, read, self.freshness, self._clock())
            return RouteAnswer.of(ended, cache_status.MISS)
        if is_at_tail or isinstance(read, Events):
            return LiveRead(active, state, start, read.offset is None)
        if read.offset == NOW:
            tail = responses.tail(state, read, self._clock())
            return RouteAnswer.of(tail, cache_status.BYPASS)
        key = read_key(read, state)
        cache = cache_status.COLLAPSED if key in self.answers.under_way else cache_status.MISS
        entry = await self.answers.read(key, partial(self._answer, read, state, start))
        return _conditional(entry, if_none_match, cache)

    async def _confirmed(self, read: Read, name: str) -> RenderedChunk | None:
        """Return the cached response if it still matches the log, which is loaded anew."""
        active = await self.table.load(name)  # drops stale responses
        state = self.table.present(active)
        now = self._clock()
        entry = self._store.get(read.target, now)
        if entry is not None and not entry.is_of(state):
            return None  # another program removed the stream, and a new one began
        if entry is not None:
            entry.confirm_after = now + entry.sure_s
        return entry

    async def chunk_for(self, read: Read, state: StreamState, start: int) -> Chunk:
        """Return the chunk at `start`, or at the beginning if that moved on since the request."""
        try:
            return await self.table.read(state, start)
        except StreamGone:
            now = self.table.present(await self.table.load(state.path))
            if read.offset is not None or have_same_beginning(now, state):
                raise
            return await self.chunk_for(read, now, now.first)

    async def _answer(self, read: Read, state: StreamState, start: int) -> RenderedChunk:
        """Read and render the chunk at `start`, and cache it if it may be."""
        if start == state.tail:
            chunk = chunks.empty(state)
        else:
            chunk = await self.chunk_for(read, state, start)
            state = chunk.state
        now = self._clock()
        if self.reader_keys is not None:
            read = renewed(self.reader_keys, read)
        freshness, until = self.freshness, _same_until(state, read, now)
        # A whole chunk at the tail says that it is up to date, which an append changes too.
        until_change = chunk.at_tail or not chunk.complete
        if self.refetches is not None and chunk.records:
            self.refetches.note(chunk, until_change=until_change)
        if state.closed or not until_change:
            freshness, until = self._freshness_of(chunk, read, now, until)
        response = responses.data(chunk, read, freshness, now)
        entry = RenderedChunk(
            read.target,
            groups(state, until_change=until_change),
            response,
            owner=self.traffic.cache_share,
            hit_counter=self.traffic.hits(
                counted.LONG_POLL if isinstance(read, LongPoll) else counted.READ,
                counted.TERMINAL if response.facts.is_end else counted.resume_kind(read.offset),
            ),
            expires_at=until,
        )
        if self.table.is_shared:
            retention = self._retention or state.own_retention
            trims = retention or state.marks or state.first  # here, or by another gateway
            entry.sure_s = 0.0 if until_change or trims else SURE_S
            entry.confirm_after = self._clock() + entry.sure_s
        is_current = self.table.is_current(chunk, until_change=until_change)
        if is_current and (until is None or self._clock() < until):
            self._store.put(entry)
        return entry

    def _freshness_of(
        self, chunk: Chunk, read: Read, now: float, until: float | None
    ) -> tuple[Freshness, float | None]:
        """Return the freshness of a chunk that no append changes, and until when it stays so.

        Times are in epoch seconds; None means always. `until` is that of the chunk.
        """
        state, freshness = chunk.state, self.freshness
        if not cache_headers.is_whole_beginning(chunk, read):
            return freshness, until
        if in_force(state, self._retention):
            # What is trimmed is not purged. The copy of a first chunk would send its readers to an
            # offset that is gone, and these back to the beginning.
            if not chunk.at_tail:  # whole at the tail, its stream is closed
                freshness = replace(freshness, closed_max_age=freshness.tail_max_age)
            return freshness, until
        trust = PurgeTrust()
        if freshness.trusts_purges:
            trust = self.services.front_caches.trust()
        # The lifetime changes when the stream is closed, or purges fail or succeed again.
        renewed_in_s = trust.for_s if state.closed else RENEWED_S
        if renewed_in_s < math.inf:
            until = now + renewed_in_s if until is None else min(until, now + renewed_in_s)
        return replace(freshness, purged_fields=trust.fields), until


def cached_answer(services: Services, get: PlainGet, own: Own, now: float) -> CachedAnswer | None:
    """Return the cached answer, if it need not be confirmed."""
    entry = services.store.get(get.target, now)
    if not isinstance(entry, RenderedChunk) or entry.confirm_after <= now:
        return None
    is_unchanged = own.tag is not None and cache_headers.matches(own.tag, entry.etag)
    if is_unchanged and entry.facts.is_end:
        return None  # a 304 does not count as the end of a stream
    entry.hits += 1
    if entry.vary is None:
        entry.hit_lines, entry.vary = without_vary(entry.lines)
    common, hits = services.lines.shared_at(now, entry.vary), entry.hits
    lines = common, own.id_line, get.connection, hits, entry.hit_lines
    if is_unchanged:
        return 304, _UNCHANGED % lines, b"", entry.hit_counter
    return 200, _HIT % (*lines, entry.framing), entry.body, entry.hit_counter


def read_key(read: Read, state: StreamState) -> Hashable:
    """Return the key that reads with the same response have in common."""
    return read.target, state.stream_id, state.version, state.history


def _same_until(state: StreamState, read: Read, now: float) -> float | None:
    """Return the time until which the clock does not change a response; None for always."""
    if state.lifetime.ttl_s is not None:
        return 0.0  # each read must come to the stream, to restart its countdown
    ends = [] if state.deadline is None else [cache_headers.same_until(state, now)]
    if isinstance(read, LongPoll) and read.cursor is not None:
        ends.append(same_cursor_until(read.cursor, now))
    return min(ends, default=None)


def _conditional(entry: RenderedChunk, if_none_match: str | None, use: CacheUse) -> RouteAnswer:
    """Return the answer with a rendered chunk, or the 304 to a client that has it."""
    facts = entry.facts
    if if_none_match is not None and cache_headers.matches(if_none_match, entry.etag):
        return RouteAnswer(304, entry.lines, b"", use, Facts(facts.next_offset, facts.closed))
    return RouteAnswer(200, entry.lines, entry.body, use, facts)


def groups(state: StreamState, *, until_change: bool) -> tuple[Hashable, ...]:
    """Return the groups that a response is dropped with: its stream, perhaps its next change."""
    stream = state.stream_id
    return (stream, ("tail", stream)) if until_change else (stream,)
