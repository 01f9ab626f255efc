"""What one cache in front has still to be told to forget: bounded, each thing once."""

from __future__ import annotations

import math
from itertools import islice, takewhile
from typing import NamedTuple

from gateway.protocol import tags

# A path has at most 2 KiB, so these are 8 MiB. Whoever deletes more while a cache cannot be
# reached has it forget the whole route instead: more than need be, and never less.
MOST_WAITING = 4096


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
        """What the URLs of all of them begin with, without a host."""
        return f"{self.prefix}/" if self.path is None else f"{self.path}?"


class Waiting(NamedTuple):
    """Since when, by a clock of seconds, and whether it was tried in vain."""

    since: float
    failed: bool = False


class Pending:
    """What waits, in the order in which it came, and what was taken to be told of now.

    `widened` counts what became a whole route.
    """

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._waiting: dict[Copies, Waiting] = {}
        self._taken: dict[Copies, Waiting] = {}
        self.widened = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def undone(self) -> int:
        """How many wait, or are told of now."""
        return len(self._waiting) + len(self._taken)

    @property
    def failed(self) -> int:
        """How many of these were tried in vain."""
        undone = (*self._waiting.values(), *self._taken.values())
        return sum(waiting.failed for waiting in undone)

    def add(self, copies: Copies, waiting: Waiting) -> None:
        """Have it wait, unless it does, or all of its route does."""
        whole = Copies(copies.prefix)
        known = self._waiting.get(copies)
        if known is not None:
            since = min(known.since, waiting.since)
            self._waiting[copies] = Waiting(since, failed=known.failed or waiting.failed)
        elif whole in self._waiting:
            if waiting.failed:
                self._waiting[whole] = self._waiting[whole]._replace(failed=True)
        elif copies == whole or len(self._waiting) >= self._most:
            self._widen(whole, waiting, more=copies != whole)
        else:
            self._waiting[copies] = waiting

    def _widen(self, whole: Copies, waiting: Waiting, *, more: bool) -> None:
        covered = [copies for copies in self._waiting if copies.prefix == whole.prefix]
        gone = [self._waiting.pop(copies) for copies in covered]
        self.widened += len(gone) + more
        since = min([waiting.since, *(one.since for one in gone)])
        self._waiting[whole] = Waiting(since, waiting.failed or any(one.failed for one in gone))

    @property
    def next_since(self) -> float:
        """Since when the next one waits; there has to be one."""
        return next(iter(self._waiting.values())).since

    def take(self, most: int, until: float = math.inf) -> list[Copies]:
        """The next, at most so many that wait since then or longer.

        What comes meanwhile for the same waits by itself.
        """
        ripe = takewhile(lambda item: item[1].since <= until, self._waiting.items())
        taken = [copies for copies, _ in islice(ripe, most)]
        self._taken = {copies: self._waiting.pop(copies) for copies in taken}
        return taken

    def done(self) -> None:
        """What was taken is done."""
        self._taken = {}

    def give_back(self) -> None:
        """Have what was taken in vain wait behind all others, so that it holds up none of them."""
        taken, self._taken = self._taken, {}
        for copies, waiting in taken.items():
            self.add(copies, waiting._replace(failed=True))

    def drop(self, before: float) -> int:
        """Let go of what has waited since before then; how many."""
        old = [copies for copies, waiting in self._waiting.items() if waiting.since < before]
        for copies in old:
            del self._waiting[copies]
        return len(old)
