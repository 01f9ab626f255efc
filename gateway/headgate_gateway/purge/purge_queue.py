"""Purges that wait for one cache in front: bounded in number, and one for each stream."""

from __future__ import annotations

import math
from functools import reduce
from itertools import islice, takewhile
from typing import NamedTuple

from headgate_gateway.protocol.cache_headers import route_tag, stream_tag

# A path has at most 2 KiB, so these are 8 MiB. If more streams are deleted while a cache cannot be
# reached, its whole route is purged instead: more than needed, but never less.
MOST_WAITING = 4096
# Seconds before a purge, in which other workers and gateways learn of the deletion, and responses
# under way reach the cache: otherwise the cache would store the old data again.
SETTLE_S = 0.5
# Seconds at least: by default a cache keeps a copy for a day, after which a purge is of no use.
GIVE_UP_S = 86_400.0


class Copies(NamedTuple):
    """The copies of one stream, or without a `path` of all that a route has."""

    prefix: str
    path: str | None = None

    @property
    def tag(self) -> str:
        """The tag of all these copies."""
        return route_tag(self.prefix) if self.path is None else stream_tag(self.path)

    @property
    def urls(self) -> str:
        """The prefix of the copies' URLs, without a host."""
        return f"{self.prefix}/" if self.path is None else f"{self.path}?"


class PendingPurge(NamedTuple):
    """A purge to be made: when its first and last cause came, and whether it was tried in vain."""

    since: float
    last: float
    failed: bool = False

    @classmethod
    def at(cls, moment: float) -> PendingPurge:
        """Return a purge with one cause, at `moment`."""
        return cls(moment, moment)

    def joined(self, other: PendingPurge) -> PendingPurge:
        """Return the purge that covers both: the first and last causes, failed if either was."""
        since, last = min(self.since, other.since), max(self.last, other.last)
        return PendingPurge(since, last, self.failed or other.failed)


class PurgeQueue:
    """The purges of one cache that wait, in order of arrival, and those of the present call.

    `widened` counts purges of streams that became the purge of a whole route.
    """

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._waiting: dict[Copies, PendingPurge] = {}
        self._under_way: dict[Copies, PendingPurge] = {}
        self.widened = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def undone(self) -> int:
        """Number of purges that wait or are under way."""
        return len(self._waiting) + len(self._under_way)

    @property
    def failed(self) -> int:
        """Number of purges that wait or are under way, and were tried in vain before."""
        undone = (*self._waiting.values(), *self._under_way.values())
        return sum(waiting.failed for waiting in undone)

    def add(self, copies: Copies, waiting: PendingPurge) -> None:
        """Queue a purge of `copies`, or of their whole route where too many purges wait."""
        if copies not in self._waiting and len(self._waiting) >= self._most:
            whole = Copies(copies.prefix)
            if whole not in self._waiting:
                replaced = self._pop_streams(copies.prefix)
                self.widened += len(replaced) + (copies != whole)
                waiting = reduce(PendingPurge.joined, replaced, waiting)
            copies = whole
        known = self._waiting.get(copies)
        self._waiting[copies] = waiting if known is None else known.joined(waiting)

    def _pop_streams(self, prefix: str, until: float = math.inf) -> list[PendingPurge]:
        """Remove the purges of a route's streams whose last cause was at `until` or earlier."""
        due = [
            copies
            for copies, waiting in self._waiting.items()
            if copies.prefix == prefix and copies.path is not None and waiting.last <= until
        ]
        return [self._waiting.pop(copies) for copies in due]

    @property
    def next_since(self) -> float:
        """Time of the next purge's first cause; at least one purge must wait."""
        return next(iter(self._waiting.values())).since

    def start(self, most: int, until: float = math.inf) -> list[Copies]:
        """Start the next `most` purges at most whose first cause was at `until` or earlier.

        A purge that has a later cause as well is queued again for that one: so the cache is called
        neither too early, nor later and later while causes follow. A purge that is added during the
        call is queued separately.
        """
        ripe = takewhile(lambda item: item[1].since <= until, self._waiting.items())
        started = dict(islice(ripe, most))
        for whole in [copies for copies in started if copies.path is None]:
            covered = self._pop_streams(whole.prefix, until)
            started[whole] = reduce(PendingPurge.joined, covered, started[whole])
        self._under_way = {}
        for copies, waiting in started.items():
            if self._waiting.pop(copies, None) is None:
                continue  # its route is purged
            self._under_way[copies] = waiting
            if waiting.last > until:
                self._waiting[copies] = PendingPurge.at(waiting.last)
        return list(self._under_way)

    def finish(self) -> None:
        """Drop the purges under way: the cache has made them."""
        self._under_way = {}

    def requeue(self) -> None:
        """Queue the failed purges under way behind all others, which they must not delay."""
        failed, self._under_way = self._under_way, {}
        for copies, waiting in failed.items():
            self.add(copies, waiting._replace(failed=True))

    def drop(self, before: float) -> int:
        """Drop the purges without a cause since `before`; return their number."""
        old = [copies for copies, waiting in self._waiting.items() if waiting.last < before]
        for copies in old:
            del self._waiting[copies]
        return len(old)
