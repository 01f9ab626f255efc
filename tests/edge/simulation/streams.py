"""What an origin's streams truly held, at every moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random

# Every unit of a stream tells by its alphabet of which making it is.
_ALPHABETS = ("abcdefghé", "ABCDEFGHΩ", "0123456789☃", "nopqrstü", "NOPQRSTΣ", "-+*/%ß€")
_JSON = "application/json"


@dataclass(slots=True)
class Making:
    """One stream at a path, from its creation to its end."""

    number: int
    is_json: bool
    units: list[bytes] = field(default_factory=list)  # messages, or bytes
    closed: bool = False

    def piece(self, chance: random.Random, longest: int) -> bytes:
        """The body of an append that nobody could take for that of another stream."""
        letters = _ALPHABETS[self.number % len(_ALPHABETS)]
        text = "".join(chance.choice(letters) for _ in range(chance.randint(1, longest)))
        return f'"{self.number}:{text}"'.encode() if self.is_json else text.encode()

    def append(self, piece: bytes) -> None:
        """One more append."""
        self.units.extend([piece] if self.is_json else [bytes([one]) for one in piece])

    def body(self, start: int, end: int) -> bytes:
        """What a read of a range gives."""
        units = self.units[start:end]
        return b"[" + b",".join(units) + b"]" if self.is_json else b"".join(units)


class Version(NamedTuple):
    """A stream from a moment on: the number of its making, none when there is none."""

    since: float
    making: int | None
    tail: int
    closed: bool


class Stream:
    """The makings of one path, and what could be seen of them when."""

    def __init__(self, name: str, content_type: str, *, numbered: bool) -> None:
        self.name = name
        self.content_type = content_type
        self.is_json = content_type == _JSON
        self.numbered = numbered  # its offsets say of which making they are
        self.makings: list[Making] = []
        self.versions: list[Version] = []
        self.current: Making | None = None
        self.was_lost = False  # once at least, and made anew without a word

    def begin(self, now: float) -> Making:
        """A stream is made; what was there is no more."""
        self.current = Making(len(self.makings), self.is_json)
        self.makings.append(self.current)
        self.note(now)
        return self.current

    def end(self, now: float) -> None:
        """The stream is deleted."""
        self.current = None
        self.note(now)

    def note(self, now: float) -> None:
        """Something has changed."""
        making = self.current
        if making is None:
            self.versions.append(Version(now, None, 0, closed=False))
        else:
            tail = len(making.units)
            self.versions.append(Version(now, making.number, tail, making.closed))

    def within(self, since: float, until: float) -> list[Version]:
        """Every version that stood at some time between two."""
        found = [one for one in self.versions if since <= one.since <= until]
        before = [one for one in self.versions if one.since < since]
        return [*before[-1:], *found]

    def offset(self, making: int, position: int) -> str:
        """The text of an offset."""
        return f"{making:04}_{position:08}" if self.numbered else f"{position:08}"

    def parsed(self, offset: str) -> tuple[int | None, int]:
        """The making, if the text tells it, and the position."""
        number, sign, position = offset.rpartition("_")
        return (int(number) if sign else None), int(position)
