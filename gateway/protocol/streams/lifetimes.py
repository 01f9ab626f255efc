"""The lifetimes that new streams may have, and the one that they get by default."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.errors import BadRequest
from gateway.protocol.streams.state import Lifetime

if TYPE_CHECKING:
    from gateway.protocol.streams.moments import ClockReading

FOR_EVER = Lifetime()


class LifetimeLimits(msgspec.Struct):
    """The lifetimes of new streams in seconds; 0 means that there is no default, or no limit.

    A longer lifetime is refused, not shortened: the client would not know that its stream ends
    before the time that it named.
    """

    default_s: int = 0
    max_s: int = 0

    @property
    def default(self) -> Lifetime:
        """The lifetime of a stream whose creation names none; with a limit it is no longer."""
        ttl_s = self.default_s or self.max_s
        return Lifetime(ttl_s=ttl_s) if ttl_s else FOR_EVER

    def of_new(self, requested: Lifetime, now: ClockReading) -> Lifetime:
        """Return the lifetime of a new stream. Raises BadRequest if it may not be so long."""
        if requested == FOR_EVER:
            return self.default
        if self._is_too_long(requested, now):
            named = "Stream-TTL" if requested.ttl_s is not None else "Stream-Expires-At"
            raise BadRequest(
                f"{named} is too far away: streams live for {self.max_s} seconds at most here"
            )
        return requested

    def of_existing(self, ttl_s: int) -> Lifetime:
        """Return the lifetime of a stream that gets another TTL; 0 is for ever.

        Raises BadRequest if it may not be so long.
        """
        if self.max_s and not 0 < ttl_s <= self.max_s:
            raise BadRequest(
                f"a ttl of {ttl_s} is too long: max_ttl of the route is {self.max_s} seconds"
            )
        return Lifetime(ttl_s=ttl_s) if ttl_s else FOR_EVER

    def of_fork(self, source: Lifetime, requested: Lifetime, now: ClockReading) -> Lifetime:
        """Return the lifetime of a fork: without one of its own the source's (section 4.2)."""
        if requested == FOR_EVER and source != FOR_EVER and not self._is_too_long(source, now):
            return source
        return self.of_new(requested, now)

    def is_same(self, existing: Lifetime, requested: Lifetime) -> bool:
        """Return whether a stream that exists has the lifetime that its creation names.

        One that names none fits a stream for ever, too: there may have been no default then.
        """
        if requested == FOR_EVER:
            return existing in (FOR_EVER, self.default)
        return existing.same_as(requested)

    def _is_too_long(self, lifetime: Lifetime, now: ClockReading) -> bool:
        remaining = lifetime.remaining(now.wall)
        return bool(self.max_s) and remaining is not None and remaining > self.max_s


UNLIMITED = LifetimeLimits()
