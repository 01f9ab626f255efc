"""The evidence of one route: the data that readers have of its streams, and which of them is lost.

An origin may come back with an older copy of a stream, or a server may answer that never had its
end, and offsets do not show it. So every read is noted: where it ended, by which server's
incarnation, and its data. Whatever serves its reader next can then find out whether the origin
still has what the reader was sent.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from headgate_gateway.edge.followed.comparison import Evidence, unknown_server
from headgate_gateway.edge.reads.shared_response import BEFORE_ALL, next_number
from headgate_gateway.protocol.streams.offsets import BEGINNING, NOW

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate_gateway.rules.cached_response import StreamKey
    from headgate_gateway.rules.read_rules import LostOffsets

# Of what is forgotten, copies of another type may be given out until their lifetime is over.
MAX_STREAMS = 10_000  # some 500 B each without their reads; the one read longest ago goes first
MAX_ENDS = 16  # of each stream: readers that read it while it grew are at different offsets
MAX_READS = 1024 * MAX_ENDS  # of all streams, some 400 B each; the oldest goes first
WHOLE_BYTES = 16 << 20  # of reads whose data are stored; of older ones, size and checksum
# URLs that are remembered, some 300 B each; the one whose data came the longest ago goes first.
MAX_URLS = 10_000
ANYWHERE = frozenset({BEGINNING, NOW})  # offsets of every stream


class ReadStream:
    """A stream as reads have shown it: its content type, and the latest reads by their ends."""

    __slots__ = ("content_type", "key", "last", "number", "reads", "server")

    def __init__(self, key: StreamKey, content_type: str) -> None:
        self.key = key
        self.content_type = content_type
        self.number = BEFORE_ALL  # of the latest request that has found this content type
        self.reads: dict[str, Evidence] = {}
        self.server: str | None = None  # the one that has sent them all, or None
        self.last = ""  # the end of the one that reaches furthest

    def look_again(self) -> None:
        """Bring up to date what is known of all reads, after some were changed or dropped."""
        servers = {read.server for read in self.reads.values()}
        self.server = servers.pop() if len(servers) == 1 else None
        self.last = max(self.reads, default="")


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
        self.streams: OrderedDict[StreamKey, ReadStream] = OrderedDict()  # the one read last, last
        self._of_path: dict[str, set[StreamKey]] = {}
        # All reads in the order in which they were noted, and those of them with their data.
        self._reads: dict[Evidence, ReadStream] = {}
        self._whole: dict[Evidence, None] = {}
        self._whole_bytes = 0
        self._dropped: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return the number of reads."""
        return len(self._reads)

    @property
    def forgotten(self) -> Counter[str]:
        """The numbers of offsets dropped that would have been compared or refused, by the bound."""
        return self._dropped + self.lost.forgotten

    # Reads

    def begin(self, key: StreamKey, content_type: str) -> ReadStream:
        """Return a new record of a stream that is read for the first time."""
        stream = self.streams[key] = ReadStream(key, content_type)
        self._of_path.setdefault(key[1], set()).add(key)
        if len(self.streams) > MAX_STREAMS:
            oldest = next(iter(self.streams))
            self._dropped["reads"] += bool(self.drop_beyond(oldest, ""))
            del self.streams[oldest]
            keys = self._of_path[oldest[1]]
            keys.discard(oldest)
            if not keys:
                del self._of_path[oldest[1]]
        return stream

    def add(self, key: StreamKey, read: Evidence) -> None:
        """Note data that readers have been sent otherwise."""
        read.read_at = read.read_at or self.clock()
        self.note(self.streams.get(key) or self.begin(key, read.content_type), read)

    def note(self, stream: ReadStream, read: Evidence) -> None:
        """Note a read of a stream, in place of any with the same end."""
        reads, end, server = stream.reads, read.end, read.server
        if end in reads:
            self._remove(stream, end)
        is_one_server = stream.server == server or not reads
        reads[end] = read
        self._reads[read] = stream
        if read.body is not None:
            self._whole[read] = None
            self._whole_bytes += read.length
        stream.last = max(stream.last, end)
        stream.server = server if is_one_server else None
        if len(reads) > MAX_ENDS:
            # Evidence from other servers is still to be compared.
            ends = (
                reads
                if is_one_server
                else [one.end for one in reads.values() if one.server == server]
            )
            oldest = next(iter(ends))
            self._remove(stream, oldest if oldest != end else next(iter(reads)))
            self._dropped["ends"] += 1
            if not is_one_server:
                stream.look_again()
        while self._whole_bytes > WHOLE_BYTES:
            oldest_read = next(iter(self._whole))
            del self._whole[oldest_read]
            self._whole_bytes -= oldest_read.length
            oldest_read.condense()
        while len(self._reads) > MAX_READS:
            oldest_read, its_stream = next(iter(self._reads.items()))
            self._remove(its_stream, oldest_read.end)
            its_stream.look_again()
            self._dropped["reads"] += 1

    def _remove(self, stream: ReadStream, end: str) -> None:
        read = stream.reads.pop(end)
        del self._reads[read]
        if read in self._whole:
            del self._whole[read]
            self._whole_bytes -= read.length

    def of(self, key: StreamKey) -> list[Evidence]:
        """Return the evidence of a stream's latest reads, the latest last."""
        stream = self.streams.get(key)
        return [] if stream is None else list(stream.reads.values())

    def up_to(self, key: StreamKey, tail: str) -> Evidence | None:
        """Return the evidence of the data just before an offset, if a read ended there."""
        stream = self.streams.get(key)
        return None if stream is None else stream.reads.get(tail)

    def unlike(
        self, key: StreamKey, start: str, server: str, *, is_known: bool = False
    ) -> Evidence | None:
        """Return evidence of what a reader at `start` may have from another server, or None.

        `is_known` is True if the offset is one of the stream that `server` has: then only evidence
        that ends there counts.
        """
        stream = None if start in ANYWHERE else self.streams.get(key)
        found = None if stream is None else stream.reads.get(start)
        if found is not None:
            return None if found.server == server else found
        if stream is None or is_known:
            return None
        others = (it for it in stream.reads.values() if it.end > start and it.server != server)
        return max(others, key=attrgetter("end"), default=None)

    def confirm(self, key: StreamKey, end: str, before: str, server: str) -> None:
        """Note that `server` has the data that `before` has sent, up to an offset."""
        stream = self.streams.get(key)
        if stream is not None:
            for read in stream.reads.values():
                if read.end <= end and read.server == before:
                    read.server = server
            stream.look_again()

    def doubt(self, path: str) -> None:
        """Let the reads of the streams at a path be compared before any client reads on."""
        server = unknown_server()
        for key in self._of_path.get(path, ()):
            for read in self.streams[key].reads.values():
                read.server = server
            self.streams[key].look_again()

    # Losses

    def drop(self, key: StreamKey, read: Evidence) -> None:
        """Drop a read whose data are lost."""
        stream = self.streams.get(key)
        if stream is not None and stream.reads.get(read.end) is read:
            self._remove(stream, read.end)
            stream.look_again()

    def drop_beyond(self, key: StreamKey, common: str) -> frozenset[str]:
        """Drop the reads that ended beyond an offset, and return where they ended."""
        stream = self.streams.get(key)
        if stream is None:
            return frozenset()
        beyond = frozenset([end for end in stream.reads if end > common])
        for end in beyond:
            self._remove(stream, end)
        stream.look_again()
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
