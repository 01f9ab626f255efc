"""Evidence of the newest data of streams that are read, but not followed yet.

Readers catch up, and then wait for news. The feed that begins with them has no data in memory:
without the evidence it could not find out later whether the origin still has what they were sent.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from itertools import count
from operator import attrgetter
from typing import TYPE_CHECKING

from gateway.cache.rules.lost_offsets import REFUSED_S
from gateway.edge.comparison import evidence_of
from gateway.edge.followed.snapshots import is_variant
from gateway.protocol.origins.followed import Span
from gateway.protocol.streams.offsets import NOW

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.cache.rules.cached_response import CachedResponse, CacheRequest
    from gateway.cache.rules.lost_offsets import StreamKey
    from gateway.edge.comparison import Evidence

MAX_STREAMS = 1024  # some 4 kB each; the one read the longest ago is dropped first
MAX_ENDS = 16  # of each stream: readers that read it while it grew are at different offsets
LONGEST_EVIDENCE = 8 << 20  # bytes: a checksum takes a millisecond or two, and one more read later
UNKNOWN = "?"  # not the name of a server

_numbers = count()


def unknown_server() -> str:
    """Return a unique name for an unknown server."""
    return f"{UNKNOWN}{next(_numbers)}"


class NewestReads:
    """The evidence of the latest reads of each stream, by the offsets at which the reads ended."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._streams: OrderedDict[StreamKey, dict[str, Evidence]] = OrderedDict()
        self._of_path: dict[str, set[StreamKey]] = {}
        self.forgotten: Counter[str] = Counter()  # drops, by the bound that was reached

    def __len__(self) -> int:
        return len(self._streams)

    def note(
        self, request: CacheRequest, cached: CachedResponse, server: str, *, in_doubt: bool
    ) -> None:
        """Note a whole answer of one of the origin's servers, perhaps while the stream is in doubt.

        Earlier evidence of data up to the same offset is kept if it may be of another stream.
        """
        facts = cached.facts
        if facts is None or facts.is_empty or facts.is_coded or request.start == NOW:
            return
        if len(cached.body) > LONGEST_EVIDENCE or (cached.stored.vary and is_variant(cached)):
            return
        key = request.stream_key
        end, ends = facts.next_offset, self._streams.get(key, {})
        if not facts.up_to_date and any(
            end < one.end and one.server == server for one in ends.values()
        ):
            return  # it lies before data that this server is known to have
        span = Span(request.start, facts.next_offset, cached.body)
        evidence = evidence_of(facts.content_type, span, server)
        known = ends.get(end)
        is_of_another = known is not None and (
            # A reader that was sent it comes back within a minute, or waits in a feed that has it.
            in_doubt or (known.server != server and self._clock() - known.read_at < REFUSED_S)
        )
        if evidence is not None and not (is_of_another and _differ(known, evidence)):
            self.add(key, evidence)

    def add(self, key: StreamKey, evidence: Evidence) -> None:
        """Store evidence of data that readers have, in place of any with the same end."""
        ends = self._streams.get(key)
        if ends is None:
            ends = self._streams[key] = {}
            self._of_path.setdefault(key[1], set()).add(key)
        ends.pop(evidence.end, None)
        ends[evidence.end] = evidence._replace(read_at=evidence.read_at or self._clock())
        if len(ends) > MAX_ENDS:
            # Evidence from other servers is still to be compared.
            alike = (end for end, one in ends.items() if one.server == evidence.server)
            first = next(alike)
            del ends[first if first != evidence.end else next(iter(ends))]
            self.forgotten["ends"] += 1
        self._streams.move_to_end(key)
        if len(self._streams) > MAX_STREAMS:
            self._drop(next(iter(self._streams)))
            self.forgotten["reads"] += 1

    def unlike(
        self, key: StreamKey, start: str, server: str, *, is_known: bool = False
    ) -> Evidence | None:
        """Return evidence of what a reader at `start` may have from another server, or None.

        `is_known` is True if the offset is one of the stream that `server` has: then only evidence
        that ends there counts.
        """
        ends = self._streams.get(key)
        if ends is None:
            return None
        found = ends.get(start)
        if found is not None:
            return None if found.server == server else found
        if is_known:
            return None
        others = (one for one in ends.values() if one.end > start and one.server != server)
        return max(others, key=attrgetter("end"), default=None)

    def confirm(self, key: StreamKey, end: str, before: str, server: str) -> None:
        """Note that `server` has the data that `before` has sent, up to an offset."""
        ends = self._streams.get(key, {})
        for one in ends.values():
            if one.end <= end and one.server == before:
                ends[one.end] = one._replace(server=server)

    def doubt(self, path: str) -> None:
        """Let the evidence of the streams at a path be compared before any client reads on."""
        for key in self._of_path.get(path, ()):
            ends = self._streams[key]
            for one in ends.values():
                ends[one.end] = one._replace(server=UNKNOWN)

    def keys_of(self, path: str) -> tuple[StreamKey, ...]:
        """Return the keys of the streams at a path: readers of several kinds have one each."""
        return tuple(self._of_path.get(path, ()))

    def pop(self, key: StreamKey) -> frozenset[str]:
        """Drop the reads of a stream, and return where they ended."""
        return frozenset(self._drop(key)) if key in self._streams else frozenset()

    def _drop(self, key: StreamKey) -> dict[str, Evidence]:
        keys = self._of_path[key[1]]
        keys.discard(key)
        if not keys:
            del self._of_path[key[1]]
        return self._streams.pop(key)

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
        if ends.get(evidence.end) == evidence:
            del ends[evidence.end]


def _differ(one: Evidence | None, other: Evidence) -> bool:
    """Return whether two pieces are not known to be the same."""
    return one is None or one[:4] != other[:4]
