"""One offset, one content: what is before each offset of a stream, whoever told of it."""

from __future__ import annotations

import copy
import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.faults.ledger import Ledger


class Trace:
    """A stream from its beginning as a digest, the same however its content was cut."""

    def __init__(self, ledger: Ledger) -> None:
        self.is_json = ledger.is_json
        self.hash = hashlib.sha256()

    def add(self, content: bytes) -> None:
        """The content of one answer, which follows what came before."""
        if self.is_json:
            content = content[1:-1] + b"," if len(content) > 2 else b""
        self.hash.update(content)

    def add_message(self, message: bytes) -> None:
        """One message of those that the ledger splits content into."""
        self.hash.update(message + (b"," if self.is_json else b"\n"))

    def copy(self) -> Trace:
        twin = copy.copy(self)
        twin.hash = self.hash.copy()
        return twin

    @property
    def digest(self) -> bytes:
        return self.hash.digest()


def traces(ledger: Ledger, messages: Sequence[bytes]) -> Iterator[Trace]:
    """The first 0, 1, 2 ... messages."""
    trace = Trace(ledger)
    yield trace.copy()
    for message in messages:
        trace.add_message(message)
        yield trace.copy()


class Prefixes:
    """Every offset of one stream that was ever given out; `conflicts` tells of ambiguous ones."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.conflicts: list[str] = []
        self.traces: dict[str, Trace] = {"-1": Trace(ledger)}
        """What is before each offset, as the first who was given it had read it."""
        self._tellers: dict[str, str] = {}
        self.appends: dict[str, tuple[int, int]] = {}
        """The append that each acknowledgement's offset is behind."""
        self.lost: set[str] = set()
        """Offsets of acknowledgements whose appends are known to be lost."""
        self.validated: dict[tuple[str, str], tuple[str, bytes]] = {}
        """For an offset and an ETag, the next offset and the digest of the body they stand for."""

    def saw(self, offset: str, trace: Trace, who: str) -> None:
        """Somebody who had read this much was told to go on at `offset`."""
        known = self.traces.get(offset)
        if known is None:
            self.traces[offset] = trace.copy()
            self._tellers[offset] = who
        elif known.digest != trace.digest:
            self.conflicts.append(
                f"{self.ledger.name}: {offset} has other content before it for {who} "
                f"than for {self._tellers.get(offset)}"
            )

    def acknowledged(self, offset: str, append: tuple[int, int]) -> None:
        """A writer was told that this append ends at `offset`."""
        known = self.appends.setdefault(offset, append)
        if known != append:
            self.conflicts.append(
                f"{self.ledger.name}: {offset} was given for {known} and for {append}"
            )

    def validates(self, offset: str, etag: str, next_offset: str, content: bytes) -> None:
        """A read of `offset` was answered with this, under this ETag."""
        answer = next_offset, hashlib.sha256(content).digest()
        if self.validated.setdefault((offset, etag), answer) != answer:
            self.conflicts.append(f"{self.ledger.name}: {etag} stands for two answers at {offset}")
