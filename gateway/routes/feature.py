"""The part of a feature that belongs to one route: a route knows no more of a feature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping

    from gateway.telemetry.metrics import Sample


class Entrance(NamedTuple):
    """A place where clients of a feature connect, as the front page and refusals of paths name it.

    `key` names it in JSON, `who` are its clients and `what` is a sentence about it. `name` is a
    control path.
    """

    key: str
    who: str
    what: str
    name: str


class RouteFeature:
    """The part of a feature that belongs to one route; each overrides only what it has."""

    # A part of all its control paths: where a path has none of these parts, no feature is looked
    # for. "" for a feature without control paths.
    control_mark = ""
    no_stream = ""  # what a read of a control path is told
    entrance: Entrance | None = None

    def has_path(self, name: str) -> bool:  # noqa: ARG002 - for features with control paths
        """Return whether a name below the prefix is a control path, and names no stream."""
        return False

    def operate(
        self,
        request: Any,  # noqa: ANN401 - that of gateway.web, which is above
        target: str,
        route: Any,  # noqa: ANN401 - a StreamRoute, which is above
        name: str,
    ) -> Coroutine[Any, Any, Any]:
        """Return a coroutine of the RouteAnswer to a request to a control path."""
        raise NotImplementedError

    def notes(self) -> Mapping[str, str | None]:
        """Return the checks for operators, by names to which the prefix is added."""
        return {}

    def samples(self) -> Iterable[Sample]:
        """Return the metrics of the feature as they are now."""
        return ()

    async def open(self) -> None:
        """Begin, once the route can be used. Raises LogUnavailable, StartError."""

    def drain(self) -> None:
        """End responses that would last: their clients come back elsewhere."""

    async def close(self) -> None:
        """Release all resources, after the last request and before the route does."""
