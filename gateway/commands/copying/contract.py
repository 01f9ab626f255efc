"""The contract of what is copied from and to: the streams of a log, or of a server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import unquote

from gateway.commands.shell.failure import Failed
from gateway.errors import BadRequest
from gateway.protocol.bodies.content import is_json, json_messages, media_type

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence
    from typing import Self

    from gateway.protocol.streams.state import Lifetime, StreamState


class StreamRefused(Failed):
    """A stream cannot be copied, and the others go on; the message says why, without its name."""


@dataclass(frozen=True, slots=True)
class Description:
    """The properties of a stream that any server tells."""

    content_type: str
    lifetime: Lifetime
    is_closed: bool
    next_offset: str

    @classmethod
    def of(cls, state: StreamState) -> Self:
        """Return the properties of a stream of a log."""
        return cls(state.content_type, state.lifetime, state.closed, state.offset(state.tail))


class ContentPart(NamedTuple):
    """A message of a JSON stream, or bytes of another.

    `offset` leads behind it, and is None where the place was given out by nobody.
    """

    data: bytes
    offset: str | None


def parts_of(content_type: str, body: bytes, offset: str | None) -> list[ContentPart]:
    """Return the parts of a body that was read; only the last leads to the offset behind it."""
    bodies = [body] if body else []
    if is_json(content_type):
        try:
            bodies = json_messages(body) if body else []
        except BadRequest as cause:
            raise StreamRefused(f"what was read is no JSON: {cause.detail}") from cause
    ends = [None] * (len(bodies) - 1) + [offset]
    return [ContentPart(one, end) for one, end in zip(bodies, ends, strict=False)]


class CopiedStream(Protocol):
    """A stream that is read, or written by nobody but copies of one source."""

    async def describe(self) -> Description | None:
        """Return what the stream is now; None if there is none."""

    def pieces(self, offset: str | None) -> AsyncGenerator[Sequence[ContentPart]]:
        """Yield the content behind `offset`, by default all, up to the tail, a page at a time."""

    async def create(self, wanted: Description) -> Description:
        """Create the stream, empty and open, with the type and the lifetime of another."""

    async def append(self, pieces: Sequence[ContentPart]) -> str | None:
        """Append what follows the content that was read last; return the offset behind it.

        Returns None, and nothing was appended now, when another append came before, perhaps one of
        an interrupted copy: then what has been added is to be read and compared.
        """

    async def close(self) -> None:
        """Close the stream, whose content is complete."""


class StreamEntry(NamedTuple):
    """A stream of a list: its path below the place, percent-encoded.

    An equal `mark` says that the stream has not changed since; None says nothing.
    """

    path: str
    mark: object | None = None


class CopyPlace(Protocol):
    """A log or a server, opened."""

    shown: str  # as it may be printed, the same for every copy from here

    def listed(self, prefix: str) -> AsyncIterator[StreamEntry]:
        """Yield the streams whose paths begin with `prefix`, with a page of them in memory."""

    def stream(self, path: str, producer_id: str) -> CopiedStream:
        """Return the stream at a path; appends to a server bear the id of a producer."""

    def ensure_listed(self, path: str) -> None:
        """List a copy that exists: an earlier run may have been killed before it did so."""


def name_of(path: str) -> str:
    """Return the name of a stream for sentences and maps."""
    return unquote(path)


def check_alike(found: Description, wanted: Description) -> None:
    """Raise StreamRefused if a stream that is there cannot be the copy of another."""
    if media_type(found.content_type) != media_type(wanted.content_type):
        raise StreamRefused(
            f"there is a stream of type {found.content_type} already, and the source is "
            f"{wanted.content_type}"
        )
    if not found.lifetime.same_as(wanted.lifetime):
        raise StreamRefused("the stream that is there already has another lifetime")
    if found.is_closed and not wanted.is_closed:
        raise StreamRefused("the stream that is there already is closed, and the source is open")
