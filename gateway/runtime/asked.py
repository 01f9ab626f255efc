"""A request that is only asked about: what would become of it, if it came now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from multidict import MultiMapping

    from gateway.telemetry.inspection import ExplainStep

    # The steps on its way within one kind of route; the outcome of the last one is how it ends.
    # Raises HeadgateError, as the request would. It is given the route.
    ExplainSteps = Callable[[Any, "AskedRequest"], AsyncIterator[ExplainStep]]


class AskedRequest(NamedTuple):
    """Its route is found already; `name` is what follows the prefix."""

    method: str
    target: str
    headers: MultiMapping[str]
    name: str
