"""The part of a feature that belongs to one route: all that the route knows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping

    from gateway.telemetry.metrics import Sample


class Entrance(NamedTuple):
    """A control path where clients of a feature connect, as the front page and refusals name it.

    `key` names it in JSON, `who` are its clients and `what` is a sentence about it. `name` is a
    control path.
    """

    key: str
    who: str
    what: str
    name: str


class RouteFeature:
    """The part of a feature that belongs to one route; each overrides only what it has."""

    # A part of all its control paths: a path without any feature's mark is no control path. "" for
    # a feature without control paths.
    control_mark = ""
    no_stream = ""  # the detail of the error for a read of a control path
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
        """End lasting responses: their clients reconnect to another gateway."""

    async def close(self) -> None:
        """Release all resources, after the last request and before the route does."""
