"""The proxies of this process's requests, as its environment and settings name them."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from headgate_gateway.errors import StartError
from headgate_gateway.protocol.http.destinations import PORTS
from headgate_gateway.protocol.http.outgoing_proxies import (
    SETTING,
    MalformedProxy,
    has_proxy,
    proxies_by_environment,
    proxies_by_setting,
    proxy_of,
    warnings_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from headgate_gateway.protocol.http.destinations import AllowedHosts
    from headgate_gateway.protocol.http.outgoing_proxies import OutgoingProxies, Proxy
    from headgate_gateway.settings import Settings

DIRECTLY = "directly"
WEBHOOKS = "webhooks"


@cache
def environment_proxies() -> OutgoingProxies:
    """Return the proxies that the environment names for providers and issuers."""
    return proxies_by_environment(os.environ)


def setting_proxies(url: str, allowed: AllowedHosts | None = None) -> OutgoingProxies | None:
    """Return the proxy of `outbound.proxy` for hosts that clients name; None for an empty one."""
    return proxies_by_setting(url, os.environ, allowed)


def check_proxies(urls: Iterable[str]) -> None:
    """Raise StartError if a variable that names a proxy for these servers is malformed."""
    for url in urls:
        _proxy_to(url)


def proxy_uses(settings: Settings) -> dict[str, list[str]]:
    """Return what goes through each proxy, and what goes directly, without passwords.

    It is empty if neither the environment nor the settings name a proxy. Raises StartError if a
    variable for a provider or an issuer is malformed.
    """
    by_setting = settings.outbound.proxy.reveal()
    if not (by_setting or has_proxy(os.environ)):
        return {}
    urls = [url for model in settings.models for url in model.upstreams]
    urls += [issuer.jwks for issuer in settings.credentials.jwt_issuers if issuer.is_remote]
    uses: dict[str, list[str]] = {}
    for url in urls:
        proxy, at = _proxy_to(url), urlsplit(url)
        # A path may have a secret.
        uses.setdefault(_way(proxy), []).append(f"{at.scheme}://{at.netloc}")
    others = [table.prefix for table in settings.proxies]
    others += [WEBHOOKS] if any(it.log_kind is not None for it in settings.route_table) else []
    way = _way(proxy_of(by_setting, SETTING) if by_setting else None)
    uses.setdefault(way, []).extend(others)
    return {way: [*dict.fromkeys(what)] for way, what in uses.items() if what}


def in_words(uses: dict[str, list[str]]) -> str:
    """Return the uses of proxies in one line."""
    return "; ".join(
        f"{', '.join(what)} {way if way == DIRECTLY else f'through {way}'}"
        for way, what in uses.items()
    )


def proxy_warnings() -> Iterator[str]:
    """Yield a sentence, without a full stop, about what has no effect in the environment."""
    yield from warnings_of(os.environ)


def _way(proxy: Proxy | None) -> str:
    return DIRECTLY if proxy is None else proxy.shown


def _proxy_to(url: str) -> Proxy | None:
    """Return the proxy of the environment for a server. Raises StartError if it is malformed."""
    at = urlsplit(url)
    try:
        return environment_proxies().of(at.scheme, at.hostname or "", at.port or PORTS[at.scheme])
    except MalformedProxy as refusal:
        raise StartError(str(refusal)) from None
