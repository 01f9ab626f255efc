"""Descriptions and refusals of copied streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate_gateway.errors import BadRequest
from headgate_gateway.protocol.bodies.content import is_json, json_messages, media_type
from headgate_gateway.tools.shell.failure import Failed

if TYPE_CHECKING:
    from typing import Self

    from headgate_gateway.protocol.streams.state import Lifetime, StreamState

LONGER = "the stream that is there already has more than the source"
OTHER = "the stream that is there already has other content than the source"


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


def parts_of(content_type: str, body: bytes) -> list[bytes]:
    """Return the messages in a body of a JSON stream; the body itself of any other."""
    if not is_json(content_type):
        return [body] if body else []
    try:
        return json_messages(body) if body else []
    except BadRequest as cause:
        raise StreamRefused(f"what was read is not JSON: {cause.detail}") from cause


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
