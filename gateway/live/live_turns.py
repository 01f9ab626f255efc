"""The order in which live readers are sent the rounds: in turn, a part of them at a time.

Between two parts the loop makes some passes, so that input is read and appends are taken, and who
comes later in the turn is told what has come since, too. With a round that was written to all at
once, appends waited for thousands of writes, and what they had to tell for the next round: of 1,000
readers p50 was two and a half times as long.
"""

from __future__ import annotations

from operator import attrgetter
from time import perf_counter
from typing import TYPE_CHECKING, Generic, Protocol

from gateway.live.contract import N, V
from gateway.live.event_rounds import EventRounds

if TYPE_CHECKING:
    from gateway.live.contract import FeedSource, FeedState
    from gateway.live.event_rounds import Round, Telling, TellsPosition

# Half a millisecond of writes. With 128 at once appends waited so long that each was told alone.
AT_ONCE = 32
# What an append takes from its bytes to its round: read, committed, answered, told. With one pass
# between two parts a writer who waits for its answers was four times as slow.
PASSES = 4


class LiveReader(Protocol):
    """`told` is how many of the rounds it has been told of, `position` up to where.

    `cursor` is the floor of its cursors; `told_tail` says whether it was told to be up to date.
    """

    cursor: int
    position: str
    told: int
    told_tail: bool

    def write(self, framed: bytes) -> None:
        """Write what is one or more chunks of a chunked body."""

    def advance(self) -> None:
        """Go on from its position by what is read for it."""

    def told_all(self) -> None:
        """Nothing can follow any more."""


class LiveTurns(Generic[V, N]):
    """`live` are the readers that the rounds are for, in the order in which they are told."""

    __slots__ = ("_began", "_feed", "_passes", "_rounds", "_traffic", "_turn", "live")

    def __init__(self, feed: FeedState[V], source: FeedSource[V, N], tells: TellsPosition) -> None:
        self.live: dict[LiveReader, None] = {}
        self._feed = feed
        self._traffic = source.traffic.live
        self._rounds = EventRounds(feed, source, tells)
        self._turn: list[LiveReader] = []  # those who are still to be looked at in it, backwards
        self._passes = 0  # still to be made before the next part
        self._began = 0  # by the rounds there had been

    def join(self, reader: LiveReader) -> None:
        """Add a reader at the feed's position, which is sent the rounds from now on."""
        reader.told = self._rounds.number
        self.live[reader] = None

    def leave(self, reader: LiveReader) -> None:
        """Remove a reader that fell behind or disconnected."""
        self.live.pop(reader, None)

    def tell(self, one: Round[N]) -> int:
        """Begin to tell of a round; how many readers it has news for."""
        if not self.live:
            return 0
        self._rounds.add(one)
        if not self._turn:
            self._begin()
            self._go_on()
        return len(self.live) if one.news else 0

    def tell_rest(self) -> None:
        """Tell everybody at once what there is: nothing follows."""
        while self._turn:
            self._tell_some()

    def stop(self) -> None:
        """Something has failed in it, and all are cut off."""
        self._turn.clear()
        self._passes = 0

    def _begin(self) -> None:
        self._turn = list(reversed(self.live))
        self._began = self._rounds.number
        self._rounds.forget(min(map(attrgetter("told"), self._turn), default=self._began))

    def _go_on(self) -> None:
        """Tell some, and let the others wait for some passes of the loop."""
        if not self._passes:
            self._tell_some()
            self._passes = PASSES if self._turn else 0
        if self._passes:
            self._passes -= 1
            self._feed.soon(self._go_on)

    def _tell_some(self) -> None:
        turn, live, rounds = self._turn, self.live, self._rounds
        number, left = rounds.number, AT_ONCE
        lacks: tuple[int, int] | None = None
        telling: Telling[N] | None = None
        while turn and left:
            reader = turn.pop()
            if reader.told == number or reader not in live:
                continue
            if lacks != (reader.told, reader.cursor):  # nearly always as the one before
                lacks = reader.told, reader.cursor
                telling = rounds.telling(*lacks)
            # It is brought on as if it had been away. All like it are, at once: so the rounds that
            # are kept are never more than may be told at once, and what came since the last part.
            if telling is None:
                del live[reader]
                reader.advance()
            else:
                left -= 1
                reader.told = number
                self._tell(reader, telling)
        rounds.count(self._traffic, perf_counter())
        if not turn and self._began != number:
            self._begin()
        if not self._turn:
            rounds.retire()
            rounds.forget(rounds.number)

    def _tell(self, reader: LiveReader, telling: Telling[N]) -> None:
        telling.readers += 1
        for piece, end, is_tail in telling.pieces:
            if reader not in self.live:  # its connection is full
                telling.take_back(end, self._traffic)
                return
            reader.write(piece)
            reader.position = end
            reader.told_tail = is_tail
        if self._feed.closed and reader.position == self._feed.tail:
            reader.told_all()
