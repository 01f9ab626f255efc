"""The notes of a producer for whoever looks for it, and how long it is waited for.

A producer writes a note when it begins (how often it renews its lease) and when it gives the run up
without an end. The last note counts.
"""

from __future__ import annotations

from typing import Final

import msgspec

ORPHAN_AFTER_S: Final = 10  # by default: seconds without a heartbeat after which a lease is over
BEATS: Final = 3  # in that time: two of them may be lost
SPARE_S: Final = 1.0  # for a heartbeat that is due


def beat_s(orphan_after_s: float) -> float:
    """Return the seconds from one heartbeat to the next."""
    return orphan_after_s / BEATS


class Note(msgspec.Struct, frozen=True):
    """A note of a run's producer for whoever looks for it."""

    orphan_after: int = ORPHAN_AFTER_S  # of its lease
    is_left: bool = False  # nobody produces the run any more

    def patience_s(self, *, is_to_stop: bool) -> float:
        """Return for how long it is waited for, so that it takes its lease or hears of a stop."""
        if self.is_left:
            return 0.0
        return beat_s(self.orphan_after) + (0.0 if is_to_stop else SPARE_S)


encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(list[Note])


def last_of(body: bytes) -> Note | None:
    """Return the last note in a JSON array of them; None if there is none that can be read."""
    try:
        notes = _decoder.decode(body)
    except (ValueError, RecursionError):
        return None
    return notes[-1] if notes else None
