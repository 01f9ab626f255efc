"""The times at which the live readers of a feed are ended before a stop: not all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LOT_S = 0.05  # readers of one lot are ended together, in one turn of the loop
# A server that has just started accepts so many connections without delaying anybody.
READERS_PER_S = 1000


def drain_times(now: float, count: int, longest_s: float) -> Iterator[float]:
    """Yield a time for each of `count` readers, from `now` on in ascending order.

    The readers of a stream are ended at READERS_PER_S, and sooner where that takes over `longest_s`
    seconds.
    """
    span = min(longest_s, count / READERS_PER_S)
    for number in range(count):
        yield now + number * span / count // LOT_S * LOT_S
