"""Producers who are told that acknowledged appends of theirs are lost, and go on from there."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.faults.prefixes import Prefixes

IDENTITIES = 10_000
"""A pen's identities in the ledger; it takes another after each loss."""


class Pen:
    """One producer's place in one stream.

    Its Producer-Seq goes on where the server expects it. To the ledger it is another writer from
    there on, whose appends have other contents than those that are lost.
    """

    def __init__(self, prefixes: Prefixes, producer: int) -> None:
        self.prefixes = prefixes
        self.ledger = prefixes.ledger
        self.producer = producer
        self.least = 0
        """The lowest Producer-Seq that it had to go on from since it was marked."""
        self._taken = 1
        self._identities = [(producer * IDENTITIES, 0)]

    @property
    def append(self) -> tuple[int, int]:
        """The append it is at, as the ledger names it."""
        identity, _ = self._identities[-1]
        return identity, self.ledger.acked.get(identity, 0)

    @property
    def seq(self) -> int:
        """The Producer-Seq of that append: so many are acknowledged and not known to be lost."""
        identity, base = self._identities[-1]
        return base + self.ledger.acked.get(identity, 0)

    @property
    def headers(self) -> dict[str, str]:
        return {
            "Content-Type": self.ledger.content_type,
            "Producer-Id": f"writer-{self.producer}",
            "Producer-Epoch": "0",
            "Producer-Seq": str(self.seq),
        }

    def mark(self) -> int:
        """From here on `least` is counted; returns how many are acknowledged."""
        self.least = self.seq
        return self.seq

    def begin(self) -> bytes:
        """The body of the next append, which from now on may be there or not."""
        self.ledger.open.add(self.append[0])
        return self.ledger.body(*self.append)

    def acknowledged(self, offset: str | None) -> None:
        """The append is there; `offset` is behind it, when the answer was the first one."""
        identity, number = self.append
        if offset is not None:
            self.ledger.offsets[identity, number] = offset
            self.prefixes.acknowledged(offset, (identity, number))
        self.ledger.open.discard(identity)
        self.ledger.acked[identity] = number + 1

    def goes_on_from(self, expected: int) -> int:
        """The server expects this Producer-Seq; returns how many acknowledged ones are lost."""
        lost = self.seq - expected
        self.least = min(self.least, expected)
        assert lost > 0, (self.ledger.name, self.headers, expected)
        while True:
            identity, base = self._identities.pop()
            self._forget(identity, max(0, expected - base))
            if base <= expected:
                break
        # What is left of it counts towards those that must be there, and never grows.
        self._identities.append((identity, base))
        self._identities.append((self.producer * IDENTITIES + self._taken, expected))
        self._taken += 1
        return lost

    def _forget(self, identity: int, left: int) -> None:
        acked = self.ledger.acked.get(identity, 0)
        for number in range(left, acked):
            offset = self.ledger.offsets.pop((identity, number), None)
            if offset is not None:
                self.prefixes.lost.add(offset)
        self.ledger.acked[identity] = min(left, acked)
        self.ledger.open.discard(identity)
