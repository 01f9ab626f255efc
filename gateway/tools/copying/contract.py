"""The contract of the places that streams are copied from and to, and the outcome of a copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import unquote

from gateway.errors import BadRequest
from gateway.protocol.bodies.content import is_json, json_messages, media_type
from gateway.tools.shell.failure import Failed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence
    from typing import Self

    from gateway.protocol.streams.state import Lifetime, StreamState


class StreamRefused(Failed):
    """A stream cannot be copied, and the others go on; the message says why, without its name."""


@dataclass(frozen=True, slots=True)
class Description:
    """The properties of a stream that every server sends."""

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

    `offset` is the offset after it, or None if no server has named that offset.
    """

    data: bytes
    offset: str | None


def parts_of(content_type: str, body: bytes, offset: str | None) -> list[ContentPart]:
    """Return the parts of a body that was read; `offset` is the one after the last of them."""
    bodies = [body] if body else []
    if is_json(content_type):
        try:
            bodies = json_messages(body) if body else []
        except BadRequest as cause:
            raise StreamRefused(f"what was read is no JSON: {cause.detail}") from cause
    ends = [None] * (len(bodies) - 1) + [offset]
    return [ContentPart(one, end) for one, end in zip(bodies, ends, strict=False)]


class CopiedStream(Protocol):
    """A stream that is read, or that only copies of one source write."""

    async def describe(self) -> Description | None:
        """Return the present properties of the stream; None if there is none."""

    def pieces(self, offset: str | None) -> AsyncGenerator[Sequence[ContentPart]]:
        """Yield the content from `offset` to the tail, a page at a time; all of it for None."""

    async def create(self, wanted: Description) -> Description:
        """Create the stream, empty and open, with the type and the lifetime of another."""

    async def append(self, pieces: Sequence[ContentPart]) -> str | None:
        """Append after the content that was read last; return the next offset.

        Returns None and appends nothing if another append came first, perhaps one of an interrupted
        copy: then the caller has to read what that added, and compare it.
        """

    async def close(self) -> None:
        """Close the stream, whose content is complete."""


class StreamEntry(NamedTuple):
    """A stream of a list: its path below the place, percent-encoded.

    While its `mark` stays equal, the stream has not changed; None if the place has no such marks.
    """

    path: str
    mark: object | None = None


class CopyPlace(Protocol):
    """A log or a server, opened."""

    shown: str  # its URL or folder without secrets, the same in every run

    def listed(self, prefix: str) -> AsyncIterator[StreamEntry]:
        """Yield the streams whose paths begin with `prefix`; one page of them is in memory."""

    async def subscriptions(self) -> int | None:
        """Return how many subscriptions there are; None for a server, which does not tell."""

    def stream(self, path: str, producer_id: str) -> CopiedStream:
        """Return the stream at a path; appends to a server have this producer id."""


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


class CopyProgress(NamedTuple):
    """Two offsets that mean the same place, up to which both streams were compared."""

    source_offset: str
    target_offset: str


class CopyOutcome(NamedTuple):
    """The outcome of copying one stream; `is_gone` if the source has none any more."""

    is_changed: bool
    bytes: int
    progress: CopyProgress | None
    is_gone: bool = False


GONE = CopyOutcome(False, 0, None, is_gone=True)
