"""The configuration in force: settings, and what is made from them to serve requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import app
from gateway.web.connections.fast_path import FastPath
from gateway.web.router import Router

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.access.authorities import Authorities
    from gateway.features.kinds.declaration import FeatureRoute
    from gateway.purge.purges import Purges
    from gateway.runtime.context import Context
    from gateway.runtime.route import StreamRoute
    from gateway.settings import Settings


class ActiveConfiguration:
    """Settings, with the authorities, purges, routes and models that follow them.

    The routes and models are in the order of the settings. A reload replaces the whole object;
    authorities, purges, routes and models may go on into the next one.
    """

    def __init__(
        self,
        settings: Settings,
        authorities: Authorities,
        purges: Purges,
        routes: Sequence[StreamRoute],
        models: Sequence[FeatureRoute],
        shared: Context,
    ) -> None:
        self.settings = settings
        self.authorities = authorities
        self.purges = purges
        self.routes = tuple(routes)
        self.models = tuple(models)
        shared.connect(purge=purges.purge, purge_trust=purges.trust)
        self.router = Router([*self.routes, *self.models])
        self.fast_path = FastPath(self.router, shared)
        self.handlers = app.handlers_of(self.router, shared, self.models)
        self.inspector = app.inspector(Router(self.routes), shared, authorities, self.models)
