"""The logs of routes, each made by the kind of its storage."""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING

from headgate_gateway.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headgate_gateway.logs.contract import Log
    from headgate_gateway.settings import Route


def log_for(route: Route) -> Log:
    """Return the log of a route with storage. Raises StartError for one of an unknown kind."""
    kind = route.log_kind
    if kind is None:
        raise StartError(f"the storage {route.storage!r} is unknown")
    log: Log = pkgutil.resolve_name(kind.make)(route)
    return log


def formats(routes: Iterable[Route]) -> dict[str, str]:
    """Return what the logs of these routes write, with the version of each form."""
    kinds = [route.log_kind for route in routes]
    return dict(pkgutil.resolve_name(kind.format)() for kind in kinds if kind and kind.format)
