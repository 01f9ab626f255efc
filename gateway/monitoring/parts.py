"""Which parts a configuration has that not every one has, so that none is watched in vain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from gateway.settings import Settings

Part = Literal["log", "file", "redis", "origin", "workers", "purges", "access_files"]


def parts_of(settings: Settings) -> frozenset[Part]:
    """Return the parts that a configuration has, such as a log in files or an HTTP origin."""
    routes = settings.route_table
    has: dict[Part, bool] = {
        "log": any(not route.is_http for route in routes),
        "file": any(route.origin.startswith("file:") for route in routes),
        "redis": any(route.is_redis for route in routes),
        "origin": any(route.is_http for route in routes),
        "workers": settings.workers > 1,
        "purges": bool(settings.purges),
        "access_files": bool(settings.tokens_file or settings.keys_file)
        or any(not issuer.is_remote for issuer in settings.jwt_issuers),
    }
    return frozenset(part for part, is_there in has.items() if is_there)
