"""Cached responses of an own log."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gateway.store import CacheEntry

if TYPE_CHECKING:
    from collections.abc import Hashable

    from gateway.protocol.responses import Response
    from gateway.protocol.streams.state import StreamState
    from gateway.telemetry.traffic import CacheShare, Hits


class RenderedChunk(CacheEntry):
    """A response with status 200, without the status line and the lines of the moment.

    After `confirm_after` (epoch seconds) another program may have changed the stream without a
    notification; once confirmed, the response is served for `sure_s` more. `lines` are its own
    header lines. The body is apart from them, since it may be megabytes, which the log has just
    read: nothing copies it. `hit_counter` counts the hits.
    """

    __slots__ = (
        "body",
        "confirm_after",
        "etag",
        "facts",
        "hit_counter",
        "lines",
        "sure_s",
    )

    def __init__(
        self,
        key: Hashable,
        groups: tuple[Hashable, ...],
        response: Response,
        *,
        owner: CacheShare,
        hit_counter: Hits,
        expires_at: float | None = None,
    ) -> None:
        lines, body = response.fields.encode("utf-8", "surrogateescape"), response.body
        size = len(lines) + len(body)
        super().__init__(key, size, groups, owner=owner, expires_at=expires_at)
        self.lines = lines
        self.body = body
        self.facts = response.facts
        self.hit_counter = hit_counter
        self.etag = response.tag
        self.sure_s = self.confirm_after = math.inf

    def is_of(self, state: StreamState) -> bool:
        """Return whether the response is of this stream, and not of another at the same path."""
        return state.stream_id in self.groups


def groups(state: StreamState, *, until_change: bool) -> tuple[Hashable, ...]:
    """Return the groups that a response is dropped with: its stream, perhaps its next change."""
    stream = state.stream_id
    return (stream, ("tail", stream)) if until_change else (stream,)
