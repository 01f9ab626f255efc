"""What a followed stream needs of who has made it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from gateway.live.feed import FeedOwner
from gateway.protocol.followed import Span

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.cache.cached_response import CacheRequest
    from gateway.edge.following import Holdings
    from gateway.edge.poller import Others, PolledOrigin
    from gateway.edge.recent_window import WindowBudget
    from gateway.edge.stand_ins import StandIns
    from gateway.errors import HeadgateError
    from gateway.live.contract import FeedSource

S = TypeVar("S")  # a followed stream


class Registry(FeedOwner[S, Span], Protocol[S]):
    """The followed streams of a route, to which one belongs, and what they have in common."""

    origin: PolledOrigin
    budget: WindowBudget
    holdings: Holdings
    stand_ins: StandIns
    clock: Callable[[], float]

    @property
    def source(self) -> FeedSource[S, Span]:
        """What their feeds answer with."""

    def moved(self, stream: S) -> None:
        """The stream has grown, or was closed."""

    def lose(self, stream: S, common: str, held: frozenset[str]) -> None:
        """Send away who comes back with an offset of the stream that is beyond `common`."""

    def others(self, request: CacheRequest) -> Others:
        """What readers of a stream were sent besides what its feed has."""

    def seen(self, stream: S, offset: str) -> None:
        """The stream that is there now has this offset."""

    def lost(self, stream: S, reason: HeadgateError) -> None:
        """The origin has told so that the stream is gone, or another one is there."""

    def ended(self, stream: S) -> None:
        """The stream is followed no more."""
