"""The reads that clients make of a followed stream beside its poll, and what they show of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.edge.followed.snapshots import is_coded, is_of_followed
from gateway.protocol.origins import followed
from gateway.protocol.streams.offsets import NOW
from gateway.protocol.streams.reach import TailBound

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.edge.followed.known_state import KnownState
    from gateway.edge.polls.reader_requests import ReaderRequests
    from gateway.edge.polls.recent_window import RecentWindow
    from gateway.edge.polls.verification import Verification
    from gateway.edge.reads.cache_result import CacheResult
    from gateway.edge.reads.fetch import SharedFetch
    from gateway.edge.rules.cached_response import CachedResponse
    from gateway.protocol.origins.followed import Span
    from gateway.protocol.origins.repair import StreamRead


class ClientReads:
    """The reads of one followed stream by clients: its data, its directives, or another stream's.

    `vary` is True once the origin has had several variants of a read. `on_write` is called with how
    far the stream reaches as a read shows it.
    """

    def __init__(
        self,
        state: KnownState,
        verification: Verification,
        lenders: ReaderRequests,
        on_write: Callable[[TailBound], None],
        clock: Callable[[], float],
    ) -> None:
        self.vary = False
        self._state = state
        self._verification = verification
        self._window: RecentWindow = verification.window
        self._lenders = lenders
        self._on_write = on_write
        self._clock = clock

    def show_another(self, fetch: SharedFetch, facts: StreamRead, body: bytes | None) -> bool:
        """Return whether a read, with its `body` if that is whole, is of another stream."""
        snapshot = self._state.snapshot._replace(
            content_type=facts.content_type,
            tail=facts.next_offset,
            closed=facts.closed and facts.up_to_date,
            number=fetch.number,
        )
        if self._state.contradicts(snapshot, ends=facts.up_to_date or facts.is_empty):
            return True
        if body is None or facts.is_coded or fetch.request.start == NOW:
            return False
        return self._window.contradicts(fetch.request.start, facts.next_offset, body)

    def note(self, span: Span, result: CacheResult) -> None:
        """Note the data of a client's read, and the origin's cache directives for them."""
        cached, facts, known = result.cached, result.cached.facts, self._state.snapshot
        if facts is None:
            return
        if not is_of_followed(cached, self._lenders.request):
            self.vary = True
            return
        if facts.up_to_date and span.end < known.tail:
            return  # the end of a shorter stream: an older state, or another stream
        if not followed.is_of_type(facts.content_type, known.content_type):
            return
        is_sure = not self._verification.is_in_doubt  # else it may be of another stream
        if is_sure and result.current and result.source is None:
            self._learn(span, cached, facts, result.number)
        if span.end == self._state.snapshot.tail and not facts.is_empty and result.tail_is_known:
            self._state.note_directives(cached.data_directives)  # those of older parts may differ

    def _learn(self, span: Span, cached: CachedResponse, facts: StreamRead, number: int) -> None:
        """Note the data that the origin has just sent a reader, and the tail that they show.

        The poll may hang, or be at a server that lags. Until it reports as much, no reader is told
        that it is up to date.
        """
        if not (facts.is_empty or is_coded(cached)):
            self._window.learn(*span)
        is_tail = span.end == self._state.snapshot.tail
        if facts.up_to_date and is_tail:
            self._state.confirmed_at = self._clock()
            self._state.restore(number)
        if self._state.feed.closed:
            return  # the answer was compared with the end when it came
        # A server may echo any offset past the tail, as if its reader were up to date.
        is_echoed = facts.is_empty and span.start != NOW
        if not is_echoed or is_tail:
            self._on_write(TailBound(span.end, facts.closed and facts.up_to_date))
