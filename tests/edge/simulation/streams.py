"""What an origin's streams truly held, at every moment."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

# Every unit of a stream tells by its alphabet of which making it is.
_ALPHABETS = ("abcdefghé", "ABCDEFGHΩ", "0123456789☃", "nopqrstü", "NOPQRSTΣ", "-+*/%ß€")
_JSON = "application/json"
_NAMED, _PLAIN, _WIDE, _LETTERED = "{making:04}_{at:08}", "{at:08}", "{at:012}", "z{at:08}"
STYLES = (_NAMED, _PLAIN, _WIDE, _LETTERED)  # of offsets; only the first tells of which making
_AS_IN = tuple(
    (style, re.compile(shape))
    for style, shape in (
        (_NAMED, r"(\d{4})_(\d{8})"),
        (_PLAIN, r"()(\d{8})"),
        (_WIDE, r"()(\d{12})"),
        (_LETTERED, r"()z(\d{8})"),
    )
)


class Nature(NamedTuple):
    """What may differ from one making at a path to the next.

    Its type, how its offsets look, and what caches are told of reads.
    """

    content_type: str
    style: str
    lifetime: str | None

    @property
    def is_json(self) -> bool:
        return self.content_type == _JSON

    @property
    def is_coded(self) -> bool:
        return not (self.is_json or self.content_type.startswith("text/"))


class Place(NamedTuple):
    """What the text of an offset tells: a position, in offsets of a style, perhaps of a making."""

    style: str
    making: int | None
    at: int

    def is_of(self, making: Making) -> bool:
        return making.nature.style == self.style and self.making in {None, making.number}


@dataclass(slots=True)
class Making:
    """One stream at a path, from its creation to its end."""

    number: int
    nature: Nature
    units: list[bytes] = field(default_factory=list)  # messages, or bytes
    closed: bool = False

    def piece(self, chance: random.Random, longest: int) -> bytes:
        """The body of an append that nobody could take for that of another stream."""
        letters = _ALPHABETS[self.number % len(_ALPHABETS)]
        text = "".join(chance.choice(letters) for _ in range(chance.randint(1, longest)))
        return f'"{self.number}:{text}"'.encode() if self.nature.is_json else text.encode()

    def append(self, piece: bytes) -> None:
        self.units.extend([piece] if self.nature.is_json else [bytes([one]) for one in piece])

    def body(self, start: int, end: int) -> bytes:
        units = self.units[start:end]
        return b"[" + b",".join(units) + b"]" if self.nature.is_json else b"".join(units)

    def offset(self, at: int) -> str:
        return self.nature.style.format(making=self.number, at=at)


class Version(NamedTuple):
    """A stream from a moment on: the number of its making, none when there is none."""

    since: float
    making: int | None
    tail: int
    closed: bool


class Stream:
    """The makings of one path, and what could be seen of them when."""

    def __init__(self, name: str, natures: Sequence[Nature]) -> None:
        self.name = name
        self._natures = natures  # each making has one of them
        self.makings: list[Making] = []
        self.versions: list[Version] = []
        self.current: Making | None = None
        self.was_lost = False  # once at least, and made anew without a word

    def begin(self, now: float, chance: random.Random) -> Making:
        self.current = Making(len(self.makings), chance.choice(self._natures))
        self.makings.append(self.current)
        self.note(now)
        return self.current

    def end(self, now: float) -> None:
        self.current = None
        self.note(now)

    def note(self, now: float) -> None:
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

    @staticmethod
    def parsed(offset: str) -> Place:
        for style, shape in _AS_IN:
            if (found := shape.fullmatch(offset)) is not None:
                making, at = found.groups()
                return Place(style, int(making) if making else None, int(at))
        raise AssertionError(f"no making has such offsets: {offset}")

    def of(self, offset: Place, versions: Sequence[Version]) -> list[Making]:
        """The makings among these that have such an offset."""
        numbers = {one.making for one in versions if one.making is not None}
        return [self.makings[one] for one in sorted(numbers) if offset.is_of(self.makings[one])]
