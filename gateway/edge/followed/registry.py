"""The interface through which a followed stream uses the registry that made it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from gateway.live.feed import FeedOwner
from gateway.protocol.origins.followed import Span

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.edge.comparison import OtherReadsLike
    from gateway.edge.followed.stand_ins import StandIns
    from gateway.edge.polls.poll_loop import PollTimer
    from gateway.edge.polls.poller import PolledOrigin
    from gateway.edge.polls.recent_window import WindowBudget
    from gateway.edge.rules.cached_response import CacheRequest
    from gateway.edge.rules.lost_offsets import StreamKey
    from gateway.errors import HeadgateError
    from gateway.live.contract import FeedSource

S = TypeVar("S")  # a followed stream
Recorded = TypeVar("Recorded", contravariant=True)  # a followed stream


class OffsetRecords(Protocol[Recorded]):
    """The records of the offsets that clients have, of present streams and of lost ones."""

    def lose(self, stream: Recorded, common: str, held: frozenset[str]) -> None:
        """Send away clients that come back with an offset of the stream beyond `common`."""

    def others(self, request: CacheRequest) -> OtherReadsLike:
        """Return the reads of a stream by clients that its feed did not serve."""

    def note_offset(self, stream: Recorded, offset: str) -> None:
        """Note an offset of the present stream."""

    def is_newest(self, key: StreamKey, end: str, number: int) -> bool:
        """Return whether an answer may show that its reader is up to date."""


class Registry(FeedOwner[S, Span], Protocol[S]):
    """The followed streams of one route, and what they share."""

    origin: PolledOrigin
    budget: WindowBudget
    poll_timer: PollTimer
    stand_ins: StandIns
    clock: Callable[[], float]

    @property
    def evidence(self) -> OffsetRecords[S]:
        """The records of the offsets that clients have."""

    @property
    def source(self) -> FeedSource[S, Span]:
        """The source that renders answers for the streams' feeds."""

    def on_growth(self, stream: S) -> None:
        """Drop what is cached of the old tail: the stream has grown, or was closed."""

    def on_compared(self, stream: S) -> None:
        """Release a stream that was followed only for the comparison that is over now."""

    def log_loss(self, stream: S, reason: HeadgateError) -> None:
        """Tell the operator that the origin has lost a stream, or has another one in its place."""

    def on_end(self, stream: S) -> None:
        """Remove a stream that is gone, and drop what is cached of it."""
