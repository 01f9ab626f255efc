"""What an answer must not have in it, and whom it must not be given to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headgate_gateway.features.origin_auth.requests import PERMISSION_S
from tests.edge.identities.origin import BY_ORIGIN, OPEN
from tests.edge.identities.people import mark_of_scope
from tests.edge.identities.world import expires_at

if TYPE_CHECKING:
    from tests.edge.identities.asking import Read
    from tests.edge.simulation.judge import Got
    from tests.edge.simulation.network import SimulatedLoop

# What must have happened, and not just once, or the reads prove nothing.
EXPECTED = (
    *("HIT", "STALE", "REVALIDATED", "MISS", "COLLAPSED", "BYPASS", "a joined request", "a feed"),
    *("a stand-in", "a remembered head", "status 200", "status 204", "status 206", "status 304"),
    *("status 401", "status 403", "an event", "header", "query", "cookie", "none"),
    *("refused for revocation", "refused for expiry", "log lines", "begun as events"),
    *("catch-up", "later", "condition", "stray", "range", "now", "head", "long-poll", "sse"),
)
# At least one of so many reads; one of 150 and more is usual, and varies with the order of sets.
SHARE = 400
# These come in bursts, as the origin fails or a copy ends: of 25,000 reads a stand-in answered
# about 300, and about 250 validated a copy.
SHARES = {"a stand-in": 2500, "REVALIDATED": 800}
# How late the last of what was permitted may come: readers are ended within a second, and the
# network takes a moment.
LATE_S = 1.5
GIVEN = frozenset({200, 206, 304})
_OF_CACHES = ("cache-control", "cdn-cache-control", "surrogate-control", "surrogate-key")
_FOR_ALL = ("public", "s-maxage", "must-revalidate", "max-age=1;")
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
        return [
            f"{way} {self.ways[way]}"
            for way in EXPECTED
            if self.ways[way] < self.reads // SHARES.get(way, SHARE)
        ]

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
        ways = self._count.ways
        told = got.fields.get("cache-status", "").rpartition(", ")[2]  # by the nearest
        ways[read.way] += 1
        ways[got.fields.get("x-cache", "no cache")] += 1
        ways[f"status {got.status}"] += 1
        ways[read.place] += 1
        if "; collapsed" in told:
            ways["a joined request" if "fwd-status" in told else "a feed"] += 1
        ways["a stand-in"] += "stale-if-error" in told
        if got.status == 401:
            self._note_refusal(read)
        self._search(read, f"{got.fields}{got.body.decode('latin-1')}")
        if got.status in GIVEN:
            self._must_be_permitted(read, got.answered)
            self._must_be_private(read, got)

    def began(self, read: Read, head: Got) -> None:
        self._count.ways[read.way] += 1
        self._count.ways["begun as events"] += 1
        self._search(read, str(head.fields))

    def told(self, read: Read, events: str) -> None:
        self._search(read, events)
        if "event: data" in events:
            self._count.ways["an event"] += 1
            self._must_be_permitted(read, self._loop.time())

    def _must_be_private(self, read: Read, got: Got) -> None:
        """Caches in front are told nothing that lets them share it."""
        if read.prefix == OPEN:
            return
        said = "".join(f"{got.fields.get(name, '')};" for name in _OF_CACHES)
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
        bound = LATE_S + (PERMISSION_S if read.prefix == BY_ORIGIN else 0)
        since = self.revoked.get(person.number, at)
        self._count.complain("revoked", what if at > since + bound else "")
        if read.prefix != BY_ORIGIN:
            until = expires_at(person, at)
            self._count.complain("expired", what if at > until + bound else "")

    def _note_refusal(self, read: Read) -> None:
        """Why a token is taken no more that was before."""
        if read.place == "none":
            return
        now = self._loop.time()
        if read.person.number in self.revoked:
            self._count.ways["refused for revocation"] += 1
        elif now > expires_at(read.person, now):
            self._count.ways["refused for expiry"] += 1

    def _search(self, read: Read, text: str) -> None:
        person = read.person
        self._count.own += person.mark in text or mark_of_scope(f"u{person.number}") in text
        leaks = person.leaks(text)
        shown = f"{sorted(leaks)} in {text}" if leaks else ""
        self._count.complain(f"{read.way} {read.path} to {person}", shown)
