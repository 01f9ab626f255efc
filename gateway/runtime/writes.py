"""A write, as the workers of a gateway announce it to each other."""

from __future__ import annotations

import msgspec

from gateway.protocol.streams.state import Lifetime


class Write(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A write to a stream; with the defaults, anything in the stream may have changed."""

    prefix: str  # of the route
    path: str
    only_grown: bool = False  # the data before the old tail is unchanged
    deleted: bool = False
    hidden: bool = False  # a request without identity headers does not find it; others may
    created: Lifetime | None = None
    is_new: bool = False  # a stream was created, and replaced any earlier one at the path
    tail: str | None = None  # the stream's new end, if the origin has said it
    closed: bool = False
    removed_id: int | None = None  # of the removed stream, if it was hosted
