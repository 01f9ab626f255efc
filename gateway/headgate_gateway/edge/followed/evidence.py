"""The evidence of one route: the data that readers have of its streams, and which of them is lost.

An origin may come back with an older copy of a stream, or a server may answer that never had its
end, and offsets do not show it. So every read is noted: where it ended, by which server's
incarnation, and a checksum of its data. Whatever serves its reader next can then find out whether
the origin still has what the reader was sent.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from headgate_gateway.edge.reads.shared_response import next_number
from headgate_gateway.protocol.streams.offsets import BEGINNING, NOW

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from headgate_gateway.edge.followed.comparison import Evidence
    from headgate_gateway.rules.cached_response import StreamKey
    from headgate_gateway.rules.read_rules import LostOffsets

MAX_STREAMS = 10_000  # some 500 B each without their reads; the one read longest ago goes first
MAX_ENDS = 16  # of each stream: readers that read it while it grew are at different offsets
MAX_READS = 1024 * MAX_ENDS  # of all streams, some 300 B each
# URLs that are remembered, some 300 B each; the one whose data came the longest ago goes first.
MAX_URLS = 10_000
ANYWHERE = frozenset({BEGINNING, NOW})  # offsets of every stream


class _NewestEntry(NamedTuple):
    """The newest data of one URL: where they end, their identity, and when they arrived."""

    end: str
    identity: str
    number: int


class NewestData:
    """The newest data of each URL that readers of a route were given, of whatever identity.

    Readers with different identities have feeds and fetches of their own, though most of them read
    one stream. One poll may hang while another brings new data. These may belong to a different
    stream, but from then on only an answer requested later can prove that a reader is up to date.
    """

    def __init__(self) -> None:
        self._newest: OrderedDict[tuple[object, ...], _NewestEntry] = OrderedDict()

    def note(self, key: StreamKey, end: str) -> bool:
        """Note that data up to `end` have arrived; return whether they are the newest so far."""
        url, identity = key[:3], key[3]
        known = self._newest.get(url)
        if known is not None and end <= known.end:
            return False
        self._newest[url] = _NewestEntry(end, identity, next_number())
        self._newest.move_to_end(url)
        if len(self._newest) > MAX_URLS:
            self._newest.popitem(last=False)
        return True

    def drop(self, key: StreamKey) -> None:
        """Forget the data of a stream that is gone: those of the next one may end before them."""
        self._newest.pop(key[:3], None)

    def is_newest(self, key: StreamKey, end: str, number: int) -> bool:
        """Return whether an answer may show that its reader is up to date.

        It ends at `end`, and its request has the `number`. It may not if others were given data
        beyond that since the request.
        """
        known = self._newest.get(key[:3])
        return (
            known is None or known.number < number or end >= known.end or known.identity == key[3]
        )


class StreamEvidence:
    """The latest reads of a route's streams, by the offset where each ended, and lost offsets."""

    def __init__(self, lost: LostOffsets, clock: Callable[[], float]) -> None:
        self.lost = lost
        self.clock = clock
        self.newest = NewestData()
        # By stream, the one read last is the last; then by end.
        self._reads: OrderedDict[StreamKey, dict[str, Evidence]] = OrderedDict()
        self._of_path: dict[str, set[StreamKey]] = {}
        self._count = 0  # reads of all streams
        self._dropped: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return the number of reads."""
        return self._count

    @property
    def forgotten(self) -> Counter[str]:
        """The numbers of offsets dropped that would have been compared or refused, by the bound."""
        return self._dropped + self.lost.forgotten

    # Reads

    def add(self, key: StreamKey, read: Evidence) -> None:
        """Note data that readers were sent, in place of any with the same end."""
        reads = self._reads.get(key)
        if reads is None:
            reads = self._reads[key] = {}
            self._of_path.setdefault(key[1], set()).add(key)
        else:
            self._reads.move_to_end(key)
        self._count += read.end not in reads
        read.read_at = read.read_at or self.clock()
        reads.pop(read.end, None)
        reads[read.end] = read
        if len(reads) > MAX_ENDS:
            # Reads from other servers are still to be compared.
            ends = [one.end for one in reads.values() if one.server == read.server]
            self._remove(key, [ends[0] if len(ends) > 1 else next(iter(reads))])
            self._dropped["ends"] += 1
        while len(self._reads) > MAX_STREAMS or self._count > MAX_READS:
            oldest, its_reads = next(iter(self._reads.items()))
            self._remove(oldest, list(its_reads))
            self._dropped["reads"] += 1

    def _remove(self, key: StreamKey, ends: Collection[str]) -> None:
        """Forget the reads of a stream with these ends, and the stream without others."""
        reads = self._reads[key]
        for end in ends:
            del reads[end]
        self._count -= len(ends)
        if not reads:
            del self._reads[key]
            keys = self._of_path[key[1]]
            keys.discard(key)
            if not keys:
                del self._of_path[key[1]]

    def of(self, key: StreamKey) -> Collection[Evidence]:
        """Return the evidence of a stream's latest reads, the latest last."""
        reads = self._reads.get(key)
        return () if reads is None else reads.values()

    def up_to(self, key: StreamKey, tail: str) -> Evidence | None:
        """Return the evidence of the data just before an offset, if a read ended there."""
        reads = self._reads.get(key)
        return None if reads is None else reads.get(tail)

    def unlike(
        self, key: StreamKey, start: str, server: str, *, is_known: bool = False
    ) -> Evidence | None:
        """Return evidence of what a reader at `start` may have from another server, or None.

        `is_known` is True if the offset is one of the stream that `server` has: then only evidence
        that ends there counts.
        """
        reads = None if start in ANYWHERE else self._reads.get(key)
        if reads is None:
            return None
        found = reads.get(start)
        if found is not None:
            return None if found.server == server else found
        if is_known:
            return None
        others = (it for it in reads.values() if it.end > start and it.server != server)
        return max(others, key=attrgetter("end"), default=None)

    def confirm(self, key: StreamKey, end: str, before: str, server: str) -> None:
        """Note that `server` has the data that `before` has sent, up to an offset."""
        for read in self.of(key):
            if read.end <= end and read.server == before:
                read.server = server

    # Losses

    def drop(self, key: StreamKey, read: Evidence) -> None:
        """Drop a read whose data are lost."""
        if self.up_to(key, read.end) is read:
            self._remove(key, [read.end])

    def drop_beyond(self, key: StreamKey, common: str) -> frozenset[str]:
        """Drop the reads that ended beyond an offset, and return where they ended."""
        beyond = frozenset([read.end for read in self.of(key) if read.end > common])
        if beyond:
            self._remove(key, beyond)
        return beyond

    def lose(self, key: StreamKey, common: str, end: str, held: frozenset[str]) -> None:
        """Refuse the offsets `held`, and those beyond `common`, of a stream that reached `end`."""
        past = self.drop_beyond(key, end)  # a read may have gone past the feed
        self.lost.lose(key, common, max(past | {end}), held | past, self.clock())

    def lose_read(self, key: StreamKey, common: str | None, read: Evidence) -> None:
        """Refuse the end of a read whose data are lost, and what lies beyond `common`, if any."""
        self.drop(key, read)
        last = "" if common is None else read.end
        self.lost.lose(key, common or "", last, frozenset({read.end}), self.clock())

    def lose_all(self, path: str, *, for_all: bool) -> None:
        """Refuse the offsets that were read of a deleted stream.

        If the stream is not gone `for_all`, only clients without identity have lost it.
        """
        for key in tuple(self._of_path.get(path, ())):
            if for_all or not key[3]:
                ends = self.drop_beyond(key, "")
                if ends:  # none is refused for good: the next stream may have the same offsets
                    self.lost.lose(key, "", max(ends), frozenset(), self.clock())

    def refuses(self, key: StreamKey, offset: str) -> bool:
        """Return whether an offset may be of a lost stream."""
        lost = self.lost
        return bool(lost.by_stream) and lost.refuses(key, offset, self.clock())
