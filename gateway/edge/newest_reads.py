"""Evidence of the newest data of streams that are read, but not followed yet.

Readers catch up, and then wait for news. The feed that begins with them has no data in memory, and
could not find out later whether the origin still has what they were sent.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from gateway.edge.comparison import evidence_of
from gateway.edge.recent_window import WINDOW_BYTES
from gateway.protocol.followed import Span
from gateway.protocol.offsets import NOW

if TYPE_CHECKING:
    from gateway.cache.cached_response import CachedResponse, CacheRequest
    from gateway.cache.lost_offsets import StreamKey
    from gateway.edge.comparison import Evidence

MAX_STREAMS = 1024  # some 4 kB each; what was read the longest ago goes first
MAX_ENDS = 16  # of each: where readers are who read it while it grew


class NewestReads:
    """The evidence of the latest reads of each stream, by the offsets at which the reads ended."""

    def __init__(self) -> None:
        self._streams: OrderedDict[StreamKey, dict[str, Evidence]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._streams)

    def note(self, request: CacheRequest, cached: CachedResponse, server: str) -> None:
        """Note a whole answer of one of the origin's servers."""
        facts = cached.facts
        if facts is None or facts.is_empty or facts.is_coded or request.start == NOW:
            return
        if len(cached.body) > WINDOW_BYTES:
            return
        key = request.stream_key
        ends = self._streams.get(key, {})
        if not facts.up_to_date and any(facts.next_offset < end for end in ends):
            return  # from further back
        span = Span(request.start, facts.next_offset, cached.body)
        evidence = evidence_of(facts.content_type, span, server)
        if evidence is None:
            return
        ends.pop(span.end, None)
        ends[span.end] = evidence
        if len(ends) > MAX_ENDS:
            del ends[next(iter(ends))]
        self._streams[key] = ends
        self._streams.move_to_end(key)
        if len(self._streams) > MAX_STREAMS:
            self._streams.popitem(last=False)

    def up_to(self, key: StreamKey, tail: str) -> Evidence | None:
        """Return the evidence of the data just before a stream's tail, if a read ended there."""
        return self._streams.get(key, {}).get(tail)

    def of(self, key: StreamKey) -> list[Evidence]:
        """Return the evidence of a stream's latest reads, the latest last."""
        return list(self._streams.get(key, {}).values())

    def drop_beyond(self, key: StreamKey, common: str) -> frozenset[str]:
        """Drop the reads that ended beyond an offset, and return where they ended."""
        ends = self._streams.get(key, {})
        beyond = frozenset({end for end in ends if end > common})
        for end in beyond:
            del ends[end]
        return beyond

    def drop(self, key: StreamKey, evidence: Evidence) -> None:
        """Drop a read whose data are lost."""
        ends = self._streams.get(key, {})
        if ends.get(evidence.end) is evidence:
            del ends[evidence.end]
