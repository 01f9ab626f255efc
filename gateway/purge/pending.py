"""Purges that wait for one cache in front: bounded in number, each stream once."""

from __future__ import annotations

import math
from functools import reduce
from itertools import islice, takewhile
from typing import NamedTuple

from gateway.protocol import tags

# A path has at most 2 KiB, so these are 8 MiB. Whoever deletes more while a cache cannot be
# reached has it forget the whole route instead: more than need be, and never less.
MOST_WAITING = 4096
# Before it is purged, other workers and gateways have heard that a stream is over, and answers that
# were on their way have come to the cache. Else it would keep the same again.
SETTLE_S = 0.5
# The least: a copy is kept for a day where nobody says otherwise, and then gone by itself.
GIVE_UP_S = 86_400.0


class Copies(NamedTuple):
    """The copies of one stream, or without a `path` of all that a route has."""

    prefix: str
    path: str | None = None

    @property
    def tag(self) -> str:
        """The tag that all of them have."""
        return tags.of_route(self.prefix) if self.path is None else tags.of_stream(self.path)

    @property
    def urls(self) -> str:
        """The beginning of all their URLs, without a host."""
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


class Pending:
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
                gone = self._pop_streams(copies.prefix)
                self.widened += len(gone) + (copies != whole)
                waiting = reduce(PendingPurge.joined, gone, waiting)
            copies = whole
        known = self._waiting.get(copies)
        self._waiting[copies] = waiting if known is None else known.joined(waiting)

    def _pop_streams(self, prefix: str, until: float = math.inf) -> list[PendingPurge]:
        """Remove the purges of a route's streams whose last cause was at `until` or earlier."""
        gone = [
            copies
            for copies, waiting in self._waiting.items()
            if copies.prefix == prefix and copies.path is not None and waiting.last <= until
        ]
        return [self._waiting.pop(copies) for copies in gone]

    @property
    def next_since(self) -> float:
        """Time of the next purge's first cause; at least one purge must wait."""
        return next(iter(self._waiting.values())).since

    def start(self, most: int, until: float = math.inf) -> list[Copies]:
        """Start the next `most` purges at most whose first cause was at `until` or earlier.

        A purge with a later cause, too, also goes on waiting: the cache is neither asked too early,
        nor later and later for as long as causes follow. A purge that is added meanwhile waits by
        itself.
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
