"""Changes that operators make to one stream: their bodies and responses."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from headgate_admin.model.streams import OfStream
from headgate_gateway.settings.log_settings import (
    LONGEST_LIFETIME_S,
    MOST_KEPT_BYTES,
    MOST_KEPT_MESSAGES,
)

Seconds = Annotated[int, msgspec.Meta(ge=0, le=LONGEST_LIFETIME_S)]
KeptBytes = Annotated[int, msgspec.Meta(ge=0, le=MOST_KEPT_BYTES)]
KeptMessages = Annotated[int, msgspec.Meta(ge=0, le=MOST_KEPT_MESSAGES)]
Entered = Annotated[str, msgspec.Meta(max_length=256)]


class OfLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of one stream, by the names of the route's settings; those left out stay as they are.

    0 means no limit, and null takes a limit back: to the route's, or to the lifetime that the
    stream was created with.
    """

    retention_age: Seconds | UnsetType | None = UNSET
    retention_size: KeptBytes | UnsetType | None = UNSET
    retention_messages: KeptMessages | UnsetType | None = UNSET
    ttl: Seconds | UnsetType | None = UNSET


class NewStream(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stream to create: its content type, and its end.

    It ends `ttl` seconds after its last use, or at `expires_at` (RFC 3339), or without both by the
    rules of its route.
    """

    content_type: Entered = ""
    ttl: Seconds | None = None
    expires_at: Entered = ""


class AppendBody(OfStream, frozen=True):
    """Text to be appended to a stream; without a content type that of the stream is taken."""

    data: str
    content_type: str = ""


class ChangeMade(msgspec.Struct, frozen=True):
    """A change was made; the stream's next offset."""

    next_offset: str


class Stopping(msgspec.Struct, frozen=True):
    """The result of a request to stop a run; `is_asked` is True if it has a producer."""

    is_asked: bool
