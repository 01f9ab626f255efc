"""Offsets of lost streams, from which the present stream at the path must not be read.

Clients come back with such offsets: SSE readers whose response has ended, readers whose next poll
was on its way, and readers that were disconnected. The present stream does not continue their data.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import NamedTuple, TypeAlias

from gateway.protocol.streams.offsets import BEGINNING, NOW

# Host, path, what the protocol does not know of the query, and whose it is.
StreamKey: TypeAlias = tuple[str, str, tuple[str, ...], str]

ANOTHER_STREAM = "the stream was made anew, or has lost its end: read from the beginning"
PERSISTS_S = 5.0  # no replica that is to be read from lags for so long
MAX_SETBACKS = 1000  # reads remembered, some 100 B each; the longest ago go first
REFUSED_S = 60.0  # the longest that clients wait before they come back
# An offset of both streams is of the old one for so long: its readers come back at once.
AMBIGUOUS_S = 5.0
MAX_STREAMS = 1000  # some 100 kB each at most; the longest ago go first
MAX_TOLD = 1024  # offsets of the new stream, of each, some 100 B each; then all are allowed
MAX_HELD = 4096  # offsets of each, before another loss; then only those of the next one


class _Lost(NamedTuple):
    """The lost offsets beyond `common` and up to `last`; readers were sent those in `held`.

    Those in `echoed` may be inventions of a client. `present_offsets` are offsets that the
    present stream has, too.
    """

    common: str
    last: str
    held: frozenset[str]
    echoed: frozenset[str]
    at: float
    present_offsets: set[str]


class LostOffsets:
    """The lost offsets of each stream, kept for as long as clients may come back with them."""

    def __init__(self) -> None:
        self.by_stream: OrderedDict[StreamKey, _Lost] = OrderedDict()
        self.forgotten: Counter[str] = Counter()  # by which bound

    def __len__(self) -> int:
        return len(self.by_stream)

    def __contains__(self, key: object) -> bool:
        """Return whether some offsets of a stream may be refused."""
        return key in self.by_stream

    def lose(
        self, key: StreamKey, common: str, last: str, held: frozenset[str], now: float
    ) -> None:
        """Refuse offsets beyond `common` ("" is the beginning) up to `last`, and those in `held`.

        If `last` is "", only those in `held`.
        """
        self._lose(key, _Lost(common, last, held, frozenset(), now, set()))

    def lose_echoed(self, key: StreamKey, offset: str, now: float) -> None:
        """Refuse an offset that a client may have invented, and no other offsets."""
        self._lose(key, _Lost("", "", frozenset(), frozenset({offset}), now, set()))

    def _lose(self, key: StreamKey, lost: _Lost) -> None:
        self._drop_old(lost.at)
        before = self.by_stream.pop(key, None)
        if before is not None:
            if len(before.held) + len(before.echoed) > MAX_HELD:
                before = before._replace(held=frozenset(), echoed=frozenset())
                self.forgotten["held"] += 1
            common, last = lost.common, lost.last
            if before.last:
                common = min(common, before.common) if last else before.common
                last = max(last, before.last)
            held, echoed = lost.held | before.held, lost.echoed | before.echoed
            lost = _Lost(common, last, held, echoed, lost.at, set())
        self.by_stream[key] = lost
        if len(self.by_stream) > MAX_STREAMS:
            self.by_stream.popitem(last=False)
            self.forgotten["losses"] += 1

    def note(self, key: StreamKey, offset: str) -> None:
        """Note an offset of the present stream."""
        lost = self.by_stream.get(key)
        if lost is None:
            return
        lost.present_offsets.add(offset)
        if len(lost.present_offsets) > MAX_TOLD:
            del self.by_stream[key]
            self.forgotten["told"] += 1

    def note_for_all(self, path: str, offset: str, now: float) -> None:
        """Note an offset of the present stream, for all readers of the path."""
        self._drop_old(now)
        for key in [key for key in self.by_stream if key[1] == path]:
            self.note(key, offset)

    def refuses(self, key: StreamKey, offset: str, now: float) -> bool:
        """Return whether reading on from an offset would mix two streams."""
        self._drop_old(now)
        lost = self.by_stream.get(key)
        if lost is None:
            return False
        is_held = offset in lost.held
        is_lost = is_held or offset in lost.echoed or lost.common < offset <= lost.last
        if offset in {BEGINNING, NOW} or not is_lost:
            return False
        return (is_held and now - lost.at < AMBIGUOUS_S) or offset not in lost.present_offsets

    def _drop_old(self, now: float) -> None:
        """Forget the streams whose readers must have come back by now; the oldest is the first."""
        while self.by_stream and now - next(iter(self.by_stream.values())).at >= REFUSED_S:
            self.by_stream.popitem(last=False)


class ReplicaLag:
    """The time (epoch) since when replicas lag, by path and offset."""

    def __init__(self) -> None:
        self.since: OrderedDict[tuple[str, str], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self.since)

    def saw(self, path: str, offset: str, now: float) -> bool:
        """Note one more such answer; whether it has been so for too long to be a lag."""
        since = self.since.pop((path, offset), now)
        self.since[path, offset] = since
        if len(self.since) > MAX_SETBACKS:
            self.since.popitem(last=False)
        return now - since >= PERSISTS_S

    def reached(self, path: str, offset: str) -> None:
        """Note a response that reaches an offset."""
        self.since.pop((path, offset), None)
