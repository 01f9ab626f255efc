"""The latest reads of each stream of a route, as evidence of the data that readers have.

Readers catch up, and then wait for news. Whatever serves them next could not find out without the
evidence whether the origin still has what they were sent.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from operator import attrgetter
from typing import TYPE_CHECKING

from gateway.edge.comparison import UNKNOWN, Evidence
from gateway.edge.reads.order import BEFORE_ALL

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.edge.rules.lost_offsets import StreamKey

# Of what is forgotten, copies of another type may be given out until their lifetime is over.
MAX_STREAMS = 10_000  # some 500 B each without their reads; the one read longest ago goes first
MAX_ENDS = 16  # of each stream: readers that read it while it grew are at different offsets
MAX_READS = 1024 * MAX_ENDS  # of all streams, some 400 B each; the oldest goes first
WHOLE_BYTES = 16 << 20  # of reads whose data are kept; of older ones, size and checksum


class ReadStream:
    """A stream as reads have shown it: its content type, and the latest reads by their ends."""

    __slots__ = ("content_type", "key", "last", "number", "reads", "server")

    def __init__(self, key: StreamKey, content_type: str, number: int) -> None:
        self.key = key
        self.content_type = content_type
        self.number = number  # of the latest request that has found this content type
        self.reads: dict[str, Evidence] = {}
        self.server: str | None = None  # the one that has sent them all, or None
        self.last = ""  # the end of the one that reaches furthest

    def reaches_beyond(self, end: str, server: str) -> bool:
        """Return whether a server is known to have data beyond an offset."""
        return any(end < read.end and read.server == server for read in self.reads.values())

    def look_again(self) -> None:
        """Bring up to date what is known of all reads, after some were changed or dropped."""
        servers = {read.server for read in self.reads.values()}
        self.server = servers.pop() if len(servers) == 1 else None
        self.last = max(self.reads, default="")


class NotedReads:
    """The reads of a route's streams, each with the offset at which it ended."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._streams: OrderedDict[StreamKey, ReadStream] = OrderedDict()
        self._of_path: dict[str, set[StreamKey]] = {}
        # All reads in the order in which they were noted: the oldest without their data.
        self._condensed: dict[Evidence, ReadStream] = {}
        self._whole: dict[Evidence, ReadStream] = {}
        self._whole_bytes = 0
        self.forgotten: Counter[str] = Counter()  # drops, by the bound that was reached

    def __len__(self) -> int:
        """Return the number of reads."""
        return len(self._condensed) + len(self._whole)

    def stream(self, key: StreamKey, content_type: str) -> ReadStream:
        """Return what is known of a stream, as the one read last."""
        stream = self._streams.get(key)
        if stream is not None:
            self._streams.move_to_end(key)
            return stream
        stream = self._streams[key] = ReadStream(key, content_type, BEFORE_ALL)
        self._of_path.setdefault(key[1], set()).add(key)
        if len(self._streams) > MAX_STREAMS:
            oldest = next(iter(self._streams.values()))
            self.forgotten["reads"] += bool(self.drop_beyond(oldest.key, ""))
            del self._streams[oldest.key]
            keys = self._of_path[oldest.key[1]]
            keys.discard(oldest.key)
            if not keys:
                del self._of_path[oldest.key[1]]
        return stream

    def add(self, key: StreamKey, read: Evidence) -> None:
        """Note data that readers have been sent otherwise."""
        read.read_at = read.read_at or self._clock()
        self.note(self.stream(key, read.content_type), read)

    def note(self, stream: ReadStream, read: Evidence) -> None:
        """Note a read of a stream, in place of any with the same end."""
        reads, end, server = stream.reads, read.end, read.server
        if end in reads:
            self._remove(stream, end)
        is_alike = stream.server == server or not reads
        reads[end] = read
        if read.body is None:
            self._condensed[read] = stream
        else:
            self._whole[read] = stream
            self._whole_bytes += read.length
        stream.last = max(stream.last, end)
        stream.server = server if is_alike else None
        if len(reads) > MAX_ENDS:
            # Evidence from other servers is still to be compared.
            alike = (
                reads if is_alike else [one.end for one in reads.values() if one.server == server]
            )
            oldest = next(iter(alike))
            self._remove(stream, oldest if oldest != end else next(iter(reads)))
            self.forgotten["ends"] += 1
            if not is_alike:
                stream.look_again()
        count = len(self._condensed) + len(self._whole)
        if self._whole_bytes > WHOLE_BYTES or count > MAX_READS:
            self._keep_less()

    def _keep_less(self) -> None:
        """Keep but checksums of the oldest data, and nothing of what is beyond the bound."""
        while self._whole_bytes > WHOLE_BYTES:
            read, stream = next(iter(self._whole.items()))
            del self._whole[read]
            self._whole_bytes -= read.length
            read.condense()
            self._condensed[read] = stream
        while len(self) > MAX_READS:
            read, stream = next(iter((self._condensed or self._whole).items()))
            self._remove(stream, read.end)
            stream.look_again()
            self.forgotten["reads"] += 1

    def _remove(self, stream: ReadStream, end: str) -> None:
        read = stream.reads.pop(end)
        if self._whole.pop(read, None) is None:
            del self._condensed[read]
        else:
            self._whole_bytes -= read.length

    def drop_beyond(self, key: StreamKey, common: str) -> frozenset[str]:
        """Drop the reads that ended beyond an offset, and return where they ended."""
        stream = self._streams.get(key)
        if stream is None:
            return frozenset()
        beyond = frozenset([end for end in stream.reads if end > common])
        for end in beyond:
            self._remove(stream, end)
        stream.look_again()
        return beyond

    def drop(self, key: StreamKey, read: Evidence) -> None:
        """Drop a read whose data are lost."""
        stream = self._streams.get(key)
        if stream is not None and stream.reads.get(read.end) is read:
            self._remove(stream, read.end)
            stream.look_again()

    def keys_of(self, path: str) -> tuple[StreamKey, ...]:
        """Return the keys of the streams at a path: readers of several kinds have one each."""
        return tuple(self._of_path.get(path, ()))

    def are_of(self, key: StreamKey, server: str) -> bool:
        """Return whether no other server than this is known to have sent data of a stream."""
        stream = self._streams.get(key)
        return stream is None or stream.server == server or not stream.reads

    def unlike(
        self, key: StreamKey, start: str, server: str, *, is_known: bool = False
    ) -> Evidence | None:
        """Return evidence of what a reader at `start` may have from another server, or None.

        `is_known` is True if the offset is one of the stream that `server` has: then only evidence
        that ends there counts.
        """
        stream = self._streams.get(key)
        if stream is None:
            return None
        found = stream.reads.get(start)
        if found is not None:
            return None if found.server == server else found
        if is_known:
            return None
        others = (it for it in stream.reads.values() if it.end > start and it.server != server)
        return max(others, key=attrgetter("end"), default=None)

    def of(self, key: StreamKey) -> list[Evidence]:
        """Return the evidence of a stream's latest reads, the latest last."""
        stream = self._streams.get(key)
        return [] if stream is None else list(stream.reads.values())

    def up_to(self, key: StreamKey, tail: str) -> Evidence | None:
        """Return the evidence of the data just before a stream's tail, if a read ended there."""
        stream = self._streams.get(key)
        return None if stream is None else stream.reads.get(tail)

    def confirm(self, key: StreamKey, end: str, before: str, server: str) -> None:
        """Note that `server` has the data that `before` has sent, up to an offset."""
        stream = self._streams.get(key)
        if stream is not None:
            for read in stream.reads.values():
                if read.end <= end and read.server == before:
                    read.server = server
            stream.look_again()

    def doubt(self, path: str) -> None:
        """Let the reads of the streams at a path be compared before any client reads on."""
        for key in self._of_path.get(path, ()):
            stream = self._streams[key]
            for read in stream.reads.values():
                read.server = UNKNOWN
            stream.look_again()
