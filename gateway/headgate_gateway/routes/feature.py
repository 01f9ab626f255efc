"""The part of a feature that belongs to one route: all that the route knows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from multidict import MultiMapping

    from headgate_gateway.access.operations import Need
    from headgate_gateway.access.principal import Principal
    from headgate_gateway.routes.answers import RouteAnswer
    from headgate_gateway.routes.setup import RouteSetup
    from headgate_gateway.telemetry.health import Cause
    from headgate_gateway.telemetry.metrics import Sample


class Entrance(NamedTuple):
    """A control path where clients of a feature connect, as the front page and refusals name it.

    `key` names it in JSON, `who` are its clients and `what` is a sentence about it. `name` is a
    control path.
    """

    key: str
    who: str
    what: str
    name: str


class FeatureRequest(Protocol):
    """A request to a control path, as its feature sees it: nobody has admitted its client yet."""

    method: str
    target: str  # its path and query
    name: str  # of its path, below the prefix of the route

    @property
    def headers(self) -> MultiMapping[str]:
        """The header fields."""

    async def admit(self, *needs: Need) -> Principal | None:
        """Return its client once the route's guard admits it to all `needs`; None for anybody.

        Raises HeadgateError.
        """

    async def body(self) -> bytes:
        """Return the whole body, within the limits of the server. Raises HeadgateError."""


class RouteFeature:
    """The part of a feature that belongs to one route; each overrides only what it has."""

    control = ""  # its control path, with all that is below it; "" for a feature without any
    views: Container[str] = ()  # names of the views in which it renders streams
    entrance: Entrance | None = None

    @property
    def no_stream(self) -> str:
        """The detail of the error for a read of a control path."""
        return f"what is below {self.control} is no stream"

    def has_path(self, name: str) -> bool:
        """Return whether a name below the prefix is a control path, and names no stream."""
        control = self.control
        return bool(control) and (name == control or name.startswith(f"{control}/"))

    def loaded(self) -> RouteFeature:
        """Return the feature itself; one that nobody has used yet is loaded for that."""
        return self

    async def opened(self) -> RouteFeature:
        """Return the feature itself, loaded and opened. Raises HeadgateError."""
        return self

    async def operate(self, request: FeatureRequest) -> RouteAnswer:
        """Return the answer to a request to a control path. Raises HeadgateError."""
        raise NotImplementedError

    def notes(self) -> Mapping[str, Cause | None]:
        """Return the checks for operators by their kinds: None where all is well."""
        return {}

    def samples(self) -> Iterable[Sample]:
        """Return the metrics of the feature as they are now."""
        return ()

    def renew(self, made: RouteSetup) -> None:
        """Follow the new settings of a reload."""

    async def open(self) -> None:
        """Begin, once the route can be used. Raises LogUnavailable, StartError."""

    def drain(self) -> None:
        """End lasting responses: their clients reconnect to another gateway."""

    async def close(self) -> None:
        """Release all resources, after the last request and before the route does.

        A reload that takes the feature from a route drains and closes it.
        """
