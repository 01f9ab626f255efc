"""The hooks by which a route's cache reports reads to the followed streams, and uses their news."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cache.fetches.fetch_result import STOOD_IN, FetchResult
from gateway.cache.http_cache import REST_S
from gateway.cache.rules.latest_content_types import LatestContentTypes
from gateway.cache.rules.replica_lag import ANOTHER_STREAM
from gateway.edge.followed.snapshots import is_variant
from gateway.errors import StreamGone, StreamNotFound
from gateway.protocol.streams.reach import TailBound

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.cache.fetches.fetch import SharedFetch
    from gateway.cache.http_cache import HttpCache
    from gateway.cache.rules.cached_response import CachedResponse, CacheRequest
    from gateway.edge.followed.doubts import Doubts
    from gateway.edge.followed.followed_stream import FollowedStream
    from gateway.edge.followed.followed_table import FollowedTable
    from gateway.edge.followed.stream_reader import StreamReader
    from gateway.protocol.origins.repair import StreamRead


class CacheHooks:
    """The hooks that one route's cache calls with what its fetches show, and for stand-ins.

    `read_by` returns the followed stream that a request reads.
    """

    def __init__(
        self,
        table: FollowedTable,
        doubts: Doubts,
        reader: StreamReader,
        read_by: Callable[[CacheRequest], FollowedStream | None],
        clock: Callable[[], float],
    ) -> None:
        self._table = table
        self._doubts = doubts
        self._reader = reader
        self._read_by = read_by
        self._clock = clock
        self._incarnations = LatestContentTypes()
        self._drop_tail: Callable[[str], None] = lambda _: None  # of a path; set by `attach`

    def attach(self, cache: HttpCache) -> None:
        """Let the cache call these hooks."""
        cache.another = self._reader.forget
        cache.distrusted = self._distrust
        cache.is_of_now = self._is_of_now
        cache.is_behind = self._is_behind
        cache.is_newest = self._table.newest.is_newest
        self._drop_tail = cache.responses.drop_tail
        cache.answers.in_place = self._in_place
        cache.answers.on_response_start = self._doubts.comparison_before

    def _is_of_now(self, fetch: SharedFetch, fetched: FetchResult | None) -> bool:
        """Return whether a read has found the stream that is there, and not one before it."""
        is_of_now = self._judge(fetch, fetched)
        self._doubts.note(fetch, fetched, is_of_now=is_of_now)
        return is_of_now

    def _judge(self, fetch: SharedFetch, fetched: FetchResult | None) -> bool:
        """Judge a read, and drop what it shows to be outdated: a followed stream, or responses."""
        request, cached = (
            fetch.request,
            fetch.response.result() if fetched is None else fetched.cached,
        )
        if fetch.is_of_the_past or (fetched is not None and fetched.how is STOOD_IN):
            return True
        stream = self._table.by_key.get(key := request.stream_key)
        if cached.status == 404 and stream is not None and not request.admitted_as:
            stream.end(StreamNotFound("the stream was deleted"))
        if cached.facts is None or (cached.stored.vary and is_variant(cached)):
            return True
        is_another = self._incarnations.is_another(key, cached.facts.content_type, fetch.number)
        if is_another is None:
            return False
        body = None if fetched is None else cached.body
        if stream is not None:
            self._compare(stream, fetch, cached.facts, body)
        if is_another:
            self._reader.forget(request.path)
            self._table.newest.drop(key)
        self._note_end(request, cached.facts)
        return True

    def _note_end(self, request: CacheRequest, facts: StreamRead) -> None:
        """Note how far a read reaches, of whatever identity its reader is."""
        if not facts.is_empty:
            is_newest = self._table.note_newest(request.stream_key, facts.next_offset)
            if is_newest and request.identity:
                self._drop_tail(request.path)  # what everybody would get is older
        if facts.ends:
            self._table.note_tail(request, TailBound(facts.next_offset, facts.closed))

    def _compare(
        self, stream: FollowedStream, fetch: SharedFetch, facts: StreamRead, body: bytes | None
    ) -> None:
        """End or doubt a stream if a read, whose whole body is `body`, shows another one."""
        if stream.reads.show_another(fetch, facts, body):
            stream.end(StreamGone(ANOTHER_STREAM))
            if facts.next_offset != fetch.request.start:  # else the origin may only have echoed it
                self._doubts.note_offset(stream, facts.next_offset)
        if facts.ends:
            _doubt_if_shorter(stream, fetch, facts.next_offset)

    def _is_behind(self, fetch: SharedFetch, end: str) -> None:
        """Doubt a stream if a read of it ends before the stream's expected end."""
        if (stream := self._table.by_key.get(fetch.request.stream_key)) is not None:
            _doubt_if_shorter(stream, fetch, end)

    def _distrust(self, path: str) -> None:
        """Drop everything rendered of a path, because an answer may have been another request's."""
        self._reader.distrust(path)
        for stream in self._table.of_path(path):
            stream.doubt()

    def _in_place(self, request: CacheRequest) -> CachedResponse | None:
        """Return what may stand in for a response that the origin has just failed to send."""
        if (stream := self._read_by(request)) is None or (
            found := stream.in_place(request)
        ) is None:
            return None
        stream.rests_until = self._clock() + REST_S
        return found


def _doubt_if_shorter(stream: FollowedStream, fetch: SharedFetch, end: str) -> None:
    """Doubt a stream if a read ends before the stream's expected end."""
    if fetch.passed_by is None and end < stream.state.expected_end:
        stream.doubt(is_shorter=True)
