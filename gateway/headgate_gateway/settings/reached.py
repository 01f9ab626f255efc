"""The URLs at which programs on this machine reach a server with given settings.

`serve` prints them when it starts; commands use them to find the server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from headgate.hosts import is_loopback
from headgate.names import BASE_VARIABLE, DEFAULT_BASE
from headgate_gateway.settings.reading.kinds import Address
from headgate_gateway.settings.sections.front import HTTPS_PORT

if TYPE_CHECKING:
    from headgate_gateway.settings.declared import Settings
    from headgate_gateway.settings.sections.tls import TlsFiles


def stream_bases(settings: Settings, *, forwarded: bool = False) -> list[str]:
    """Return the URL of each route below which its streams are.

    With `forwarded`, return only those of routes to HTTP origins.
    """
    base = _url(settings.listen, settings.tls.certificate)
    routes = (it for it in settings.route_table if it.log_kind is None or not forwarded)
    return [f"{base}{route.prefix}" for route in routes]


def console_url(settings: Settings) -> str:
    """Return the URL of the console's first page."""
    return f"{_url(settings.admin.listen, settings.admin.tls.certificate)}/"


def stream_tls(settings: Settings) -> TlsFiles | None:
    """Return the files of the listener for streams, with the hosts by which clients reach it."""
    if settings.listener_tls is None or settings.http.trusted_proxies or settings.front.hosts:
        return settings.listener_tls  # clients check the certificate of the proxy
    public = urlsplit(settings.http.public_url).hostname if settings.http.public_url else None
    hosts = settings.http.hosts or ((public,) if public else ())
    # IPv6 addresses have brackets in Host, and none in certificates.
    return settings.listener_tls._replace(hosts=tuple(host.lower().strip("[]") for host in hosts))


def front_urls(settings: Settings) -> list[str]:
    """Return the URL of each host of the front; none without a front."""
    port = settings.front.listen.port
    suffix = "" if port == HTTPS_PORT else f":{port}"
    return [f"https://{host}{suffix}" for host in settings.front.hosts]


def callback_base(settings: Settings) -> str:
    """Return the URL before the prefixes at which receivers of webhooks reach us, or ""."""
    if settings.http.public_url:
        return settings.http.public_url
    if settings.front.hosts:
        return front_urls(settings)[0]
    is_fixed = is_loopback(settings.listen.host) and settings.listen.port != 0
    return _url(settings.listen, settings.tls.certificate) if is_fixed else ""


def may_call_loopback(settings: Settings) -> bool:
    """Return whether webhooks may lead to this machine."""
    public = urlsplit(settings.http.public_url).hostname or settings.listen.host
    others = settings.front.hosts or settings.http.trusted_proxies
    return is_loopback(settings.listen.host) and is_loopback(public) and not others


def export_for_commands(settings: Settings) -> str | None:
    """Return the shell line that points commands to the server; None if they need none."""
    bases = stream_bases(settings)
    return None if DEFAULT_BASE in bases else f"export {BASE_VARIABLE}={bases[0]}"


def _url(address: Address, certificate: str) -> str:
    scheme = "https" if certificate else "http"
    return f"{scheme}://{Address(address.reached_at, address.port)}"
