"""The streams and the runs of a route, as the console asks about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from headgate_gateway.errors import NotOffered
from headgate_gateway.routes.feature import RouteFeature

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from multidict import MultiMapping

    from headgate_gateway.features.questions.runs import ListRuns, RunPage
    from headgate_gateway.features.questions.streams import (
        ExplainStep,
        ListStreams,
        StreamDescription,
        StreamPage,
    )
    from headgate_gateway.live.feed import Feed
    from headgate_gateway.protocol.streams.limits import LimitChanges
    from headgate_gateway.routes.contract import StreamRoute

NAME = "console"
RUNS = "runs"


class RoutedFeed(NamedTuple):
    """A feed with the name of its stream, below the prefix of its route.

    `behind` returns the bytes from an offset to the tail, where offsets are positions.
    """

    name: str
    feed: Feed[Any, Any]
    behind: Callable[[str], int | None]


class ExplainedRequest(NamedTuple):
    """A request whose route is known; `name` is the part of its path after the prefix."""

    method: str
    target: str
    headers: MultiMapping[str]
    name: str


class InspectedStreams(RouteFeature):
    """The streams of one route. Each method raises HeadgateError."""

    def live_feeds(self) -> Iterable[RoutedFeed]:
        """Return the feeds of this process; they may come and go between two of them."""
        raise NotImplementedError

    async def page(self, question: ListStreams) -> StreamPage:
        """Return a page of the streams."""
        raise NotImplementedError

    async def describe(self, name: str) -> StreamDescription:
        """Return a stream, its producers, and its readers in this process."""
        raise NotImplementedError

    def explain(self, request: ExplainedRequest) -> AsyncIterator[ExplainStep]:
        """Return the steps of a request, of which the last has its outcome.

        Raises HeadgateError where the request would.
        """
        raise NotImplementedError

    async def set_limits(self, name: str, changes: LimitChanges) -> None:  # noqa: ARG002 - for logs
        """Set limits of one stream. By default raises NotOffered: an origin decides."""
        raise NotOffered("the server there decides what it keeps: change the limits there")


class ListedRuns(RouteFeature):
    """The runs of a route, which has them as its feature RUNS."""

    async def page(self, question: ListRuns) -> RunPage:
        """Return a page of the runs. Raises HeadgateError."""
        raise NotImplementedError


def streams_of(route: StreamRoute) -> InspectedStreams:
    """Return the streams of a route to a log or to an HTTP origin, for the console."""
    feature = route.features[NAME].loaded()
    assert isinstance(feature, InspectedStreams), "its kind makes nothing else"
    return feature
