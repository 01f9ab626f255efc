"""A write that passed through, as the other workers of this gateway hear of it."""

from __future__ import annotations

import msgspec

from gateway.protocol.streams.state import Lifetime


class Write(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A write to a stream. By itself it says that anything may be different there now."""

    prefix: str  # of the route
    path: str
    only_grown: bool = False  # what lies before the old tail is as it was
    deleted: bool = False
    hidden: bool = False  # it is not there for those without identity; for others it may be
    created: Lifetime | None = None
    is_new: bool = False  # a stream was created; an earlier one at the path is gone
    tail: str | None = None  # where the stream ends now, if the origin has told
    closed: bool = False
    removed_id: int | None = None  # id of the removed stream, if it was in a log of our own
