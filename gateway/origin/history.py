"""The history of a connection: its answers since it was last known to be in step (`in_step`)."""

from __future__ import annotations

from contextlib import ExitStack
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from gateway.origin.heads import AnswerKind

# A connection that is never idle for REST_S would never be known to be in step: it rests after so
# long, or so many cached responses, so that no more than these have to be dropped: 100 KB.
LONGEST_UNKNOWN_S = 2.0
MOST_COPIES = 512


class ConnectionHistory:
    """The answers on a connection since it was last known to be in step.

    `note` is given what was made of an answer, and the function that drops it.
    """

    __slots__ = ("_drops", "has_bodyless", "is_doubted", "is_spoiled", "last", "over_at")

    def __init__(self) -> None:
        # Monotonic time after which the connection has to rest before its next request.
        self.over_at = monotonic() + LONGEST_UNKNOWN_S
        self.last: AnswerKind | None = None
        self.has_bodyless = False  # an answer among those that came
        self.is_doubted = False  # the server has sent a surplus on another connection meanwhile
        self.is_spoiled = False
        self._drops: dict[Hashable, Callable[[], object]] = {}

    def note(self, key: Hashable, drop: Callable[[], object]) -> bool:
        """Have `drop` called if the answer turns out to be another's; False if it has already."""
        if not self.is_spoiled:
            self._drops[key] = drop
            if len(self._drops) >= MOST_COPIES:
                self.over_at = 0.0
        return not self.is_spoiled

    def spoil(self) -> int:
        """Drop everything made of the answers; return how many drops there were."""
        self.is_spoiled = True
        drops, self._drops = self._drops, {}
        with ExitStack() as each:  # whatever one of them raises
            for drop in reversed(drops.values()):
                each.callback(drop)
        return len(drops)
