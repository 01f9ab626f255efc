"""The messages between producers and readers of different processes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Ask:
    """A reader's message to the producer: what it has, and how much more it takes.

    `at` is the character it waits for; text may be sent while it begins before `limit`. With
    `again`, whatever was sent from `at` on is sent once more. With `leaves`, nothing more.
    """

    reader: str
    at: int = 0
    limit: int = 0
    again: bool = False
    leaves: bool = False
    production: str | None = None  # whom it is for, once that is known

    def encode(self) -> str:
        """Return the request as a message."""
        return json.dumps([getattr(self, name) for name in self.__slots__])

    @classmethod
    def decode(cls, message: str) -> Ask:
        """Decode a message."""
        return cls(*json.loads(message))


class Kind(StrEnum):
    """The kinds of parts that a producer sends."""

    TEXT = "text"  # or, without any, that the producer is there
    END = "end"
    FAILED = "failed"  # the source did, after the text; its error follows
    STOPPED = "stopped"  # the producer was, and answers nothing any more; an explanation follows
    TRIMMED = "trimmed"  # what was asked for is no longer kept; an explanation follows


@dataclass(frozen=True, slots=True)
class Part:
    """A producer's message to one reader: text, or the end, at a position in the stream."""

    production: str
    kind: Kind
    position: int
    text: str = ""

    def encode(self) -> str:
        """Return the part as a message: a header line, then the text unchanged."""
        return f"{self.production} {self.kind} {self.position}\n{self.text}"

    @classmethod
    def decode(cls, message: str) -> Part:
        """Decode a message."""
        head, _, text = message.partition("\n")
        production, kind, position = head.split(" ")
        return cls(production, Kind(kind), int(position), text)
