"""The types of resumable streams, and the messages between a producer and its readers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable
from typing import Literal, TypeAlias

import msgspec

Text: TypeAlias = AsyncGenerator[str, None]
State: TypeAlias = Literal["active", "done"]
Unit: TypeAlias = Literal["characters", "utf-16"]  # of places in the text
MakeSource: TypeAlias = Callable[[], AsyncIterable[str]]
ErrorText: TypeAlias = Callable[[Exception], str]

PREFIX = "headgate:resumable"
DONE = "done"  # the sentinel is a count of the requests for the stream, until it is done
NOT_REACHED = -1  # the text is not that long yet
LOST_S = 30.0  # without a message: a broker that restarts, or a process held up, is back by then


def sentinel(stream_id: str) -> str:
    """Return the key by which all processes know of the stream."""
    return f"{PREFIX}:sentinel:{stream_id}"


def requests(stream_id: str) -> str:
    """Return the channel on which readers ask the producer."""
    return f"{PREFIX}:request:{stream_id}"


def replies(reader: str) -> str:
    """Return the channel on which one reader is answered."""
    return f"{PREFIX}:text:{reader}"


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """A reader's message to the producer: what it has, and how much more it takes. It is answered.

    `at` is the character it waits for; text may be sent while it begins before `limit`. With
    `again`, whatever was sent from `at` on is sent once more. With `leaves`, nothing more. With
    `in_utf16`, both places count UTF-16 code units: in each message before the first `start`.
    """

    reader: str
    at: int = 0
    limit: int = 0
    again: bool = False
    leaves: bool = False
    production: str | None = None  # the id of the receiver, once that is known
    in_utf16: bool = False  # which older producers ignore: they answer without `start`


# - text: characters, or without any that the producer is there
# - end: the source has ended
# - failed: the source has ended with an error, which follows
# - stopped: the producer answers nothing any more; an explanation follows
# - trimmed: the text at the position was dropped; an explanation follows
Kind: TypeAlias = Literal["text", "end", "failed", "stopped", "trimmed"]


class Part(msgspec.Struct, frozen=True, array_like=True):
    """A producer's message to one reader: text, or the end, at a position in the stream."""

    production: str
    kind: Kind
    position: int
    text: str = ""
    # For a reader that asks in UTF-16: its first place in characters, or NOT_REACHED.
    start: int | None = None


def encode(message: Ask | Part) -> str:
    """Return the message as a broker takes it."""
    return msgspec.json.encode(message).decode()


# Both raise ValueError for other messages.
decode_ask = msgspec.json.Decoder(Ask).decode
decode_part = msgspec.json.Decoder(Part).decode
