"""The questions of a route's cache about the streams that it reads, and what it reports of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from gateway.edge.reads.shared_response import SharedResponse
    from gateway.edge.rules.cached_response import CachedResponse, CacheRequest
    from gateway.edge.rules.lost_offsets import StreamKey
    from gateway.protocol.origins.edge_target import EdgeCatchUp

    Doubt: TypeAlias = Callable[[], Awaitable[None]]


class StreamKnowledge(NamedTuple):
    """The functions of whoever follows a route's streams; the defaults know of none."""

    # Drop what is cached of a path: another stream is there.
    forget: Callable[[str], None]
    # Drop what was rendered of a path: an answer may have been another request's.
    distrust: Callable[[str], None] = lambda _: None
    # Return whether the stream that everybody reads at a host is known to end at an offset.
    is_tail: Callable[[str, EdgeCatchUp, str], bool] = lambda *_: False
    # Return whether nobody has newer data of a stream than a fetch, by its end and its number.
    is_newest: Callable[[StreamKey, str, int], bool] = lambda *_: True
    # Note a fetch; return whether what it has brought is of the stream that is there now.
    note: Callable[[SharedResponse], bool] = lambda *_: True
    # Note that a stream ends before the offset that a fetch began at.
    note_end: Callable[[SharedResponse, str], None] = lambda *_: None
    # A server has begun to answer with data: return what is to be waited for before anybody may
    # have them, or None. Awaited, that raises where nobody may.
    comparison_before: Callable[[SharedResponse], Doubt | None] = lambda _: None
    # Return what may stand in for an answer besides a cached response, or None.
    stand_in: Callable[[CacheRequest], CachedResponse | None] = lambda _: None
    # Return whether the origin is known not to respond.
    is_down: Callable[[], bool] = lambda: False
