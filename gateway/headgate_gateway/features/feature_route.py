"""The contract of routes that belong to a feature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from headgate_gateway.routes.contract import StreamRoute

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.access.authorities import Authorities
    from headgate_gateway.settings import Settings


class FeatureRoute(StreamRoute, Protocol):
    """A route of a feature's own, which a reload may take over into the new configuration."""

    def commit(self) -> None:
        """Go on with what the maker has prepared for a reload."""


class RouteMaker(Protocol):
    """The maker of a feature's own routes in one process."""

    def make(
        self,
        settings: Settings,
        routes: Sequence[StreamRoute],
        authorities: Authorities,
        earlier: Sequence[FeatureRoute],
    ) -> Sequence[FeatureRoute]:
        """Make the routes of the settings; those of `earlier` that fit are used again.

        `routes` are the routes of streams. Raises StartError.
        """
