"""The parts that not every configuration has, so that none is watched in vain."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from gateway.settings import Settings

# One of `parts_of`: `log`, a kind of log, `quota`, `origin`, `subscriptions`, `workers`, `purges`,
# `access_files`, `tls`.
Part: TypeAlias = str


def parts_of(settings: Settings) -> frozenset[Part]:
    """Return the parts that a configuration has, such as a log in files or an HTTP origin."""
    routes = settings.route_table
    has = {
        "log": any(not route.is_http for route in routes),
        "origin": any(route.is_http for route in routes),
        "quota": any(route.max_log_size for route in routes),
        "subscriptions": any(not route.is_http or route.subscriptions for route in routes),
        "workers": settings.workers > 1,
        "purges": bool(settings.purges),
        "tls": bool(settings.tls_certificate or settings.admin_tls_certificate),
        "access_files": bool(settings.tokens_file or settings.keys_file)
        or any(not issuer.is_remote for issuer in settings.jwt_issuers),
    }
    kinds = (route.log_kind.name for route in routes if route.log_kind is not None)
    return frozenset((*kinds, *(part for part, is_there in has.items() if is_there)))
