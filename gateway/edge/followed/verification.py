"""The verified data of a stream at its origin, and the doubts that need another comparison."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.edge.followed.follower import CannotFollow
from gateway.edge.rules.lost_offsets import ANOTHER_STREAM, PERSISTS_S
from gateway.errors import OriginBehind, StreamGone
from gateway.later import Later, is_set_within

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.edge.followed.recent_window import RecentWindow
UNSURE = "it is not sure that the stream is the same"


class Verification:
    """The verification of one stream's known data: by which server, and what doubts remain.

    `on_settled` is called when comparisons have shown that the origin has the known data.
    """

    def __init__(self, window: RecentWindow, on_settled: Callable[[], None] = lambda: None) -> None:
        self.window = window
        self._on_settled = on_settled
        self._comparison: Later[None] = Later()  # set at the end of the next one
        self._common: tuple[str, frozenset[str]] | None = None  # value of `lost`, once compared
        self.doubts = 0  # number of doubts so far
        self._settled = 0  # number of doubts that comparisons have ended
        self._is_shorter = False  # according to the response to another request
        self._behind_since: float | None = None  # loop time
        self.server = "" if window.evidence is None else window.evidence.server  # compared last
        self.answered_by = ""  # the server of the latest answer

    @property
    def is_in_doubt(self) -> bool:
        """True while the origin may have another stream than the one that is followed."""
        return self.doubts != self._settled

    @property
    def lost(self) -> tuple[str, frozenset[str]]:
        """The last offset that the old and a new stream have in common, or "", and those beyond it.

        Those beyond it are the offsets that readers of the old stream may hold.
        """
        return self._common or self.window.places_beyond("", 0)

    @lost.setter
    def lost(self, found: tuple[str, frozenset[str]]) -> None:
        self._common = found

    def on_settled(self) -> None:
        """Wake the readers that wait, because the data were compared."""
        self.wake()
        self._on_settled()

    def wake(self) -> None:
        """Wake the readers that wait: the comparison is over, or will not take place."""
        comparison, self._comparison = self._comparison, Later[None]()
        comparison.set_result(None)

    async def until_compared(self, timeout_s: float) -> None:
        """Wait at most `timeout_s` seconds until a comparison, or the stream's feed, has ended."""
        await is_set_within(self._comparison, timeout_s)

    def is_trusted(self, server: str) -> bool:
        """Return whether a server was the last one compared; also True while none was compared."""
        return self.server in {"", server}

    def is_sure_of(self, server: str, offset: str) -> bool:
        """Return whether a server is known to have the stream's data up to an offset."""
        return self.spares(offset) or (self.is_trusted(server) and not self.is_in_doubt)

    def spares(self, offset: str) -> bool:
        """Return whether all data up to an offset are in the new stream as well."""
        return self._common is not None and "" < offset <= self._common[0]

    @property
    def is_behind(self) -> bool:
        """True if the origin has shown a shorter stream, so that known data may be lost."""
        return self._is_shorter or self._behind_since is not None

    def doubt(self, *, is_shorter: bool = False) -> None:
        """Have known data compared with the origin's before anything is joined to them.

        The origin may have lost its end in any failure, or another server may answer. `is_shorter`
        is True if an answer has shown a stream that ends before the known end.
        """
        self.doubts += 1
        self._is_shorter |= is_shorter

    def note_shorter(self, end: str) -> Exception:
        """Doubt the data, and return the error for a shorter stream: at first it may only lag."""
        self.doubt()
        now = asyncio.get_running_loop().time()
        if self._behind_since is None:
            self._behind_since = now
        if now - self._behind_since >= PERSISTS_S:
            return CannotFollow(StreamGone(ANOTHER_STREAM))
        return OriginBehind("the origin tells of a stream that ends before what it told of", end)

    def note_answer(self, server: str) -> None:
        """Note which server has answered; without a doubt it has the known data."""
        self.answered_by = server
        if not self.is_in_doubt:
            self.server = server

    def mark_caught_up(self) -> None:
        """Note an answer without a doubt: the origin does not lag behind the known data."""
        self._behind_since = None

    def settle(self, doubts: int) -> str:
        """End the first `doubts` doubts, and return the server that was compared before.

        Doubts that arose during the comparison remain.
        """
        self._settled, self._behind_since, self._common = doubts, None, None
        before, self.server = self.server, self.answered_by
        self._is_shorter &= self.is_in_doubt
        return before
