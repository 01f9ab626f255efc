"""What writers were told about one stream, held against what can be read back from it."""

from __future__ import annotations

import hashlib
import itertools
import random
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import ClientResponse

_HEAD = re.compile(rb'\{"writer":(\d+),"number":(\d+),')
_TEXT = random.Random(1).randbytes(1 << 18).hex()
_SIZES = (100,) * 160 + (1000,) * 90 + (20_000,) * 5 + (200_000,)
_array = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(slots=True)
class Faults:
    """Broken promises, counted by kind; `notes` tells the first few."""

    lost: int = 0
    duplicated: int = 0
    torn: int = 0
    misplaced: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.lost + self.duplicated + self.torn + self.misplaced

    def note(self, text: str) -> None:
        if len(self.notes) < 20:
            self.notes.append(text)

    def add(self, other: Faults) -> None:
        self.lost += other.lost
        self.duplicated += other.duplicated
        self.torn += other.torn
        self.misplaced += other.misplaced
        self.notes += other.notes


@dataclass(slots=True)
class Ledger:
    """One stream. An append is (writer, number); a writer's numbers count from 0 without a gap."""

    name: str
    is_json: bool
    closes_after: int
    """How many acknowledged appends it takes before a writer closes the stream."""
    acked: dict[int, int] = field(default_factory=dict)
    """Appends acknowledged to each writer."""
    open: set[int] = field(default_factory=set)
    """Writers with one append more on the way, or cut off before its answer."""
    offsets: dict[tuple[int, int], str] = field(default_factory=dict)
    """The next offset that came with an acknowledgement."""
    closer: tuple[int, int] | None = None
    """The append that was to close the stream."""
    is_closed: bool = False
    """Some answer said that the stream is closed."""
    larger: int = 1
    """How many times as large as usual the messages are, up to the largest."""
    even: int = 0
    """The length of each message, when all are alike and come one by one."""

    @property
    def content_type(self) -> str:
        return "application/json" if self.is_json else "text/plain"

    def messages(self, writer: int, number: int) -> list[bytes]:
        """What one append holds: always the same for the same append, different for others."""
        digest = hashlib.blake2b(f"{self.name} {writer} {number}".encode()).digest()
        size = min(_SIZES[digest[0]] * self.larger, _SIZES[-1]) * (digest[1] + 1) >> 8
        count = (1, 1, 2, 3)[digest[2] % 4]
        start = int.from_bytes(digest[3:7]) % (len(_TEXT) - _SIZES[-1])
        heads = [
            f'{{"writer":{writer},"number":{number},"part":{part},"of":{count},'
            f'"stream":"{self.name}","text":"'
            for part in range(count)
        ]
        if self.even:
            heads, size = heads[:1], self.even - len(heads[0]) - len('"}')
        return [f'{head}{_TEXT[start : start + size]}"}}'.encode() for head in heads]

    def body(self, writer: int, number: int) -> bytes:
        """One append as it is sent."""
        messages = self.messages(writer, number)
        if not self.is_json:
            return b"".join(message + b"\n" for message in messages)
        return messages[0] if len(messages) == 1 else b"[" + b",".join(messages) + b"]"

    def note_sent(self, append: tuple[int, int]) -> dict[str, str]:
        """Note that an append is on its way, and return its header fields."""
        writer, number = append
        self.open.add(writer)
        return {
            "Content-Type": self.content_type,
            "Producer-Id": f"writer-{writer}",
            "Producer-Epoch": "0",
            "Producer-Seq": str(number),
            **({"Stream-Closed": "true"} if self.closer == append else {}),
        }

    def note_acknowledged(self, append: tuple[int, int], answer: ClientResponse) -> None:
        """Note that an append was acknowledged, and with which offset."""
        writer, number = append
        if answer.status == 200:
            self.offsets[append] = answer.headers["Stream-Next-Offset"]
        self.open.discard(writer)
        self.acked[writer] = number + 1

    def split(self, content: bytes) -> list[bytes]:
        """What one answer holds; a text that ends in the middle of a line gives that half line."""
        if self.is_json:
            return [bytes(message) for message in _array.decode(content)] if content else []
        lines = content.split(b"\n")
        return lines if lines[-1] else lines[:-1]

    def check(self, found: Sequence[bytes]) -> tuple[dict[tuple[int, int], int], Faults]:
        """Where in `found` each append ends, and everything about it that breaks a promise."""
        faults = Faults()
        ends: dict[tuple[int, int], int] = {}
        following: dict[int, int] = {}
        index = 0
        while index < len(found):
            head = _HEAD.match(found[index])
            writer, number = (int(head[1]), int(head[2])) if head else (-1, -1)
            whole = self.messages(writer, number)
            if not head or list(found[index : index + len(whole)]) != whole:
                faults.torn += 1
                faults.note(f"{self.name}: message {index} is no whole append")
                index += 1
                continue
            index += len(whole)
            if (writer, number) in ends:
                faults.duplicated += 1
                faults.note(f"{self.name}: append {number} of writer {writer} is there twice")
                continue
            if number != following.get(writer, 0):
                faults.misplaced += 1
                faults.note(f"{self.name}: append {number} of writer {writer} is out of order")
            ends[writer, number] = index
            following[writer] = number + 1
        self._check_presence(ends, faults)
        self._check_offsets(ends, faults)
        return ends, faults

    def _check_presence(self, ends: dict[tuple[int, int], int], faults: Faults) -> None:
        for writer, acked in self.acked.items():
            lost = [number for number in range(acked) if (writer, number) not in ends]
            faults.lost += len(lost)
            if lost:
                faults.note(f"{self.name}: appends {lost[:5]} of writer {writer} are lost")
        for writer, number in ends:
            allowed = self.acked.get(writer, 0) + (writer in self.open)
            if number >= allowed:
                faults.misplaced += 1
                faults.note(f"{self.name}: append {number} of writer {writer} was never sent")

    def _check_offsets(self, ends: dict[tuple[int, int], int], faults: Faults) -> None:
        known = [self.offsets[append] for append in ends if append in self.offsets]
        if any(earlier >= later for earlier, later in itertools.pairwise(known)):
            faults.misplaced += 1
            faults.note(f"{self.name}: acknowledged offsets do not grow with the content")
        last = next(reversed(ends), None)
        if self.is_closed and self.closer and last != self.closer:
            faults.misplaced += 1
            faults.note(f"{self.name}: {last} follows {self.closer}, which closed the stream")
