"""What an answer must not have in it, and whom it must not be given to."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.edge.identities.origin import BY_ORIGIN, OPEN
from tests.edge.identities.people import mark_of_scope
from tests.edge.identities.world import AUTH_TTL_S, expires_at

if TYPE_CHECKING:
    from tests.edge.identities.asking import Read
    from tests.edge.simulation.client import Told
    from tests.edge.simulation.judge import Got
    from tests.edge.simulation.network import SimulatedLoop

# What must have happened, or the reads prove nothing.
EXPECTED = (
    *("HIT", "STALE", "REVALIDATED", "MISS", "COLLAPSED", "BYPASS", "a joined request", "a feed"),
    *("a stand-in", "status 200", "status 204", "status 206", "status 304", "status 401"),
    *("status 403", "an event", "header", "query", "cookie", "revoked", "expired", "log lines"),
)
# How late the last of what was permitted may come: readers are ended within a second, and the
# network takes a moment.
LATE_S = 1.5
GIVEN = frozenset({200, 206, 304})
_OF_CACHES = ("cache-control", "cdn-cache-control", "surrogate-control", "surrogate-key")
_FOR_ALL = ("public", "s-maxage", "must-revalidate", 'max-age=1"')
_SHOWN = 900


@dataclass
class Count:
    """What was read, in which ways, and what was wrong."""

    reads: int = 0
    own: int = 0  # answers that hold something that is for their reader alone
    ways: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def missing(self) -> list[str]:
        return [way for way in EXPECTED if not self.ways[way]]

    def complain(self, what: str, shown: object) -> None:
        """Note what is wrong, if anything is to be shown of it."""
        if shown:
            self.wrong.append(f"{what}: {str(shown)[:_SHOWN]}")

    def __str__(self) -> str:
        ways = ", ".join(f"{way} {count}" for way, count in sorted(self.ways.items()))
        return (
            f"{self.reads} reads, {self.own} with something for their reader alone, "
            f"{len(self.wrong)} violations\n{ways}"
        )


class Judge:
    """`revoked` says since when a person's token counts no more, by the loop's time."""

    def __init__(self, loop: SimulatedLoop, count: Count) -> None:
        self._loop = loop
        self._count = count
        self.revoked: dict[int, float] = {}

    def answered(self, read: Read, got: Got) -> None:
        """A whole answer."""
        ways = self._count.ways
        told = got.fields.get("cache-status", "").rpartition(", ")[2]  # by the nearest
        ways[got.fields.get("x-cache", "none")] += 1
        ways[f"status {got.status}"] += 1
        ways[read.place] += 1
        ways["a joined request"] += "; collapsed" in told and "fwd-status" in told
        ways["a feed"] += "; collapsed" in told and "fwd-status" not in told
        ways["a stand-in"] += "stale-if-error" in told
        self._search(read, f"{got.fields}{got.body.decode('latin-1')}")
        if got.status in GIVEN:
            self._must_be_permitted(read, got.answered)
            self._must_be_private(read, got)

    def began(self, read: Read, head: Got) -> None:
        """The head of events."""
        self._search(read, str(head.fields))

    def told(self, read: Read, told: Told) -> None:
        """Some events."""
        self._search(read, f"{b''.join(told.data)!r} {told.cursor}")
        if told.data:
            self._count.ways["an event"] += 1
            self._must_be_permitted(read, self._loop.time())

    def _must_be_private(self, read: Read, got: Got) -> None:
        """Caches in front are told nothing that lets them share it."""
        if read.prefix == OPEN:
            return
        said = json.dumps([got.fields.get(name, "") for name in _OF_CACHES])
        is_shared = any(word in said for word in _FOR_ALL) or "private" not in said
        if is_shared and "no-store" not in said:
            self._count.complain(f"{read.way} {read.path}: for shared caches", got.fields)

    def _must_be_permitted(self, read: Read, at: float) -> None:
        """What somebody is given at a moment, he was permitted to have shortly before."""
        if read.prefix == OPEN:
            return
        person, what = read.person, f"{read.way} of {read.path} to {read.person}"
        if read.scope not in person.scopes or read.place == "none":
            self._count.complain("not permitted", what)
        bound = LATE_S + (AUTH_TTL_S if read.prefix == BY_ORIGIN else 0)
        since = self.revoked.get(person.number)
        if since is not None:
            self._count.ways["revoked"] += 1
            self._count.complain("revoked", what if at > since + bound else "")
        if read.prefix != BY_ORIGIN:
            self._count.complain("expired", what if at > expires_at(person) + bound else "")
            self._count.ways["expired"] += at <= expires_at(person) < float("inf")

    def _search(self, read: Read, text: str) -> None:
        person = read.person
        self._count.own += person.mark in text or mark_of_scope(f"u{person.number}") in text
        leaks = person.leaks(text)
        shown = f"{sorted(leaks)} in {text}" if leaks else ""
        self._count.complain(f"{read.way} {read.path} to {person}", shown)
