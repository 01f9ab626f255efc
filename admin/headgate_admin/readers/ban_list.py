"""The decisions of operators to ban clients: of this gateway, and of others that share its log."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from headgate_admin.errors import ConsoleError
from headgate_gateway.access.bans import Ban

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Gateways that share a log send each other all of them every five seconds, 200 bytes each.
MOST_BANS = 256
# After its end a decision is kept for so long, so that no gateway that hears of it late, or has a
# slow clock, takes an older one for the newest.
KEPT_S = 600.0
LONGEST_BAN_S = 366 * 86400.0
_decoder = msgspec.json.Decoder(Ban)


class BanList:
    """The newest decision about each client; `clock` returns epoch seconds.

    `unsaved` is True after a change, until a file has it.
    """

    def __init__(self, clock: Callable[[], float], most: int = MOST_BANS) -> None:
        self._clock = clock
        self._most = most
        self._newest: dict[tuple[str, str], Ban] = {}
        self.unsaved = False

    def decide(self, ban: Ban) -> None:
        """Add the decision of an operator. Raises ConsoleError if the most bans are in force.

        It is the newest, whatever the clock of the gateway that made the one before.
        """
        self._forget_old()
        known = self._newest.get(ban.subject)
        if known is not None and ban.at <= known.at:
            ban = replace(ban, at=math.nextafter(known.at, math.inf))
        if not self._has_room(ban) and not self._drop_oldest():
            raise ConsoleError(
                409, f"{self._most} bans are in force, the most there may be: lift some"
            )
        self._take(ban)

    def merge(self, bans: Iterable[Ban]) -> bool:
        """Take newer decisions of others; return whether there were any."""
        self._forget_old()
        now = self._clock()
        changed = False
        for ban in bans:
            known = self._newest.get(ban.subject)
            is_newer = known is None or ban.at > known.at
            if not is_newer or _is_over(ban, now):
                continue
            if self._has_room(ban) or (ban.is_in_force(now) and self._drop_oldest()):
                self._take(ban)
                changed = True
        return changed

    def _has_room(self, ban: Ban) -> bool:
        return ban.subject in self._newest or len(self._newest) < self._most

    def _drop_oldest(self) -> bool:
        """Drop the oldest decision that refuses nobody; return False if there is none."""
        now = self._clock()
        idle = [ban for ban in self._newest.values() if not ban.is_in_force(now)]
        if idle:
            del self._newest[min(idle, key=lambda ban: ban.at).subject]
        return bool(idle)

    def _take(self, ban: Ban) -> None:
        self._newest[ban.subject] = ban
        self.unsaved = True

    @property
    def decisions(self) -> tuple[Ban, ...]:
        """All decisions that processes and other gateways have to know, the newest first."""
        self._forget_old()
        return tuple(sorted(self._newest.values(), key=lambda ban: -ban.at))

    @property
    def in_force(self) -> tuple[Ban, ...]:
        """The bans in force, the newest first."""
        now = self._clock()
        return tuple(ban for ban in self.decisions if ban.is_in_force(now))

    def _forget_old(self) -> None:
        now = self._clock()
        old = [subject for subject, ban in self._newest.items() if _is_over(ban, now)]
        for subject in old:
            del self._newest[subject]
            self.unsaved = True


def _is_over(ban: Ban, now: float) -> bool:
    """Return whether nobody has to know of a decision any more."""
    return max(ban.at, ban.until) + KEPT_S <= now


def parse_bans(encoded: Iterable[bytes]) -> list[Ban]:
    """Return the bans among JSON values of another gateway or of a file; leave out others."""
    found = []
    for one in encoded:
        try:
            ban = _decoder.decode(one)
        except msgspec.DecodeError:  # another version's
            continue
        if math.isfinite(ban.at) and math.isfinite(ban.until):
            found.append(ban)
    return found
