"""A feature of a route that nobody has used yet: its modules are loaded at the first use."""

from __future__ import annotations

import asyncio
import pkgutil
from typing import TYPE_CHECKING, cast

from typing_extensions import override

from headgate_gateway.errors import NotOffered
from headgate_gateway.features.kinds.declaration import FirstUse
from headgate_gateway.routes.feature import RouteFeature

if TYPE_CHECKING:
    from headgate_gateway.features.kinds.declaration import FeatureKind
    from headgate_gateway.routes.answers import RouteAnswer
    from headgate_gateway.routes.contract import StreamRoute
    from headgate_gateway.routes.feature import FeatureRequest
    from headgate_gateway.routes.setup import RouteSetup
    from headgate_gateway.streams.route import HostedRoute


def made_feature(kind: FeatureKind, route: StreamRoute, made: RouteSetup) -> RouteFeature | None:
    """Return the feature of a route; None if the route cannot have it. Raises StartError."""
    maker = pkgutil.resolve_name(kind.of_origin if made.route.is_http else kind.of_log)
    feature: RouteFeature | None = maker(route, made)
    return feature


class FeatureOnDemand(RouteFeature):
    """A feature of a route, until its first use puts the loaded one in its place."""

    def __init__(self, kind: FeatureKind, route: StreamRoute, made: RouteSetup) -> None:
        use = kind.first_use or FirstUse()
        self.control, self.views, self._stored = use
        self._kind = kind
        self._route = route
        self._made = made
        self._loaded: RouteFeature | None = None
        self._turn = asyncio.Lock()  # so that one request loads the feature, and others wait

    @override
    def renew(self, made: RouteSetup) -> None:
        self._made = made

    @override
    def loaded(self) -> RouteFeature:
        """Put the feature in the place of this one, without opening it. Raises NotOffered."""
        return self._loaded or self._put(self._make())

    @override
    async def opened(self) -> RouteFeature:
        async with self._turn:
            if self._loaded is not None:
                return self._loaded
            feature = self._make()
            await feature.open()
            return self._put(feature)

    @override
    async def open(self) -> None:
        """Load the feature if something stored needs it. Raises LogUnavailable, StartError."""
        if self._stored:
            log = cast("HostedRoute", self._route).table.log
            if await pkgutil.resolve_name(self._stored)(log):
                await self.opened()

    @override
    async def operate(self, request: FeatureRequest) -> RouteAnswer:
        return await (await self.opened()).operate(request)

    @override
    async def close(self) -> None:
        """Close the feature if a request has loaded it meanwhile."""
        async with self._turn:
            if self._loaded is not None:
                await self._loaded.close()

    def _make(self) -> RouteFeature:
        feature = made_feature(self._kind, self._route, self._made)
        if feature is None:
            raise NotOffered(f"{self._kind.name} are not offered for streams of this log")
        return feature

    def _put(self, feature: RouteFeature) -> RouteFeature:
        self._loaded = feature
        features = self._route.features
        if features.get(self._kind.name) is self:  # a reload may have taken it away
            features[self._kind.name] = feature
        return feature
