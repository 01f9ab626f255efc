"""Evidence of the newest data of streams that are read, but not followed yet.

Readers catch up, and then wait for news. The feed that begins with them has no data in memory, and
could not find out later whether the origin still has what they were sent.
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

MAX_STREAMS = 1024  # some 4 kB each; what was read the longest ago goes first
MAX_ENDS = 16  # of each: where readers are who read it while it grew
LONGEST_EVIDENCE = 8 << 20  # bytes: a checksum takes a millisecond or two, and one more read later
UNKNOWN = "?"  # no server's name

_numbers = count()


def unknown_server() -> str:
    """Return a name for whoever has answered, which no other answer has."""
    return f"{UNKNOWN}{next(_numbers)}"


class NewestReads:
    """The evidence of the latest reads of each stream, by the offsets at which the reads ended."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._streams: OrderedDict[StreamKey, dict[str, Evidence]] = OrderedDict()
        self._of_path: dict[str, set[StreamKey]] = {}
        self.forgotten: Counter[str] = Counter()  # by which bound

    def __len__(self) -> int:
        return len(self._streams)

    def note(
        self, request: CacheRequest, cached: CachedResponse, server: str, *, in_doubt: bool
    ) -> None:
        """Note a whole answer of one of the origin's servers, perhaps while the stream is in doubt.

        What readers have up to the same offset is kept if it may be of another stream.
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
            return  # from further back in what this server is known to have
        span = Span(request.start, facts.next_offset, cached.body)
        evidence = evidence_of(facts.content_type, span, server)
        known = ends.get(end)
        is_of_another = known is not None and (
            # Whoever was sent it comes back within a minute, or waits in a feed that has it.
            in_doubt or (known.server != server and self._clock() - known.read_at < REFUSED_S)
        )
        if evidence is not None and not (is_of_another and _differ(known, evidence)):
            self.add(key, evidence)

    def add(self, key: StreamKey, evidence: Evidence) -> None:
        """Note what readers have up to the end of some evidence, in the place of what was there."""
        ends = self._streams.get(key)
        if ends is None:
            ends = self._streams[key] = {}
            self._of_path.setdefault(key[1], set()).add(key)
        ends.pop(evidence.end, None)
        ends[evidence.end] = evidence._replace(read_at=evidence.read_at or self._clock())
        if len(ends) > MAX_ENDS:
            # What other servers have told is still to be compared.
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
        """Return what a reader at an offset may have that another server has told of, or None.

        The offset `is_known` to be of the stream that this server has, if no other has told of it.
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
        """Note that a server has what another one has told of up to an offset."""
        ends = self._streams.get(key, {})
        for one in ends.values():
            if one.end <= end and one.server == before:
                ends[one.end] = one._replace(server=server)

    def doubt(self, path: str) -> None:
        """Have what was read of the streams at a path compared before anybody reads on."""
        for key in self._of_path.get(path, ()):
            ends = self._streams[key]
            for one in ends.values():
                ends[one.end] = one._replace(server=UNKNOWN)

    def keys_of(self, path: str) -> tuple[StreamKey, ...]:
        """Return the keys of the streams at a path, as readers of several kinds see them."""
        return tuple(self._of_path.get(path, ()))

    def take(self, key: StreamKey) -> frozenset[str]:
        """Forget the reads of a stream, and return where they ended."""
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
