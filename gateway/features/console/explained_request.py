"""A request to explain: what would happen to it if a client sent it now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from multidict import MultiMapping

    from gateway.telemetry.inspection import ExplainStep

    # Yields the steps that a request takes in a route of one kind; the last one has its outcome.
    # Raises HeadgateError where the request would. The first argument is the route.
    ExplainSteps = Callable[[Any, "ExplainedRequest"], AsyncIterator[ExplainStep]]


class ExplainedRequest(NamedTuple):
    """A request whose route is known; `name` is the part of its path behind the prefix."""

    method: str
    target: str
    headers: MultiMapping[str]
    name: str
