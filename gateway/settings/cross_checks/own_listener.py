"""Find origins that are a listener of the gateway itself: each request would loop."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.settings.cross_checks.ineffective_settings import IneffectiveSetting
from gateway.settings.cross_checks.written_routes import written_routes
from gateway.settings.hosts import is_loopback
from gateway.settings.reading.kinds import redacted_origin
from gateway.settings.reading.toml_file import spell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings.declared import Settings
    from gateway.settings.reading.kinds import Address

PORTS = {"http": 80, "https": 443}


def leading_back(settings: Settings) -> Iterator[IneffectiveSetting]:
    """Yield each origin whose URL is known to lead to a listener of these settings."""
    for path, route in written_routes(settings):
        for url in route.origins if route.is_http else ():
            for key, listener in (("listen", settings.listen), ("admin", settings.admin.listen)):
                if _is_at(listener, url):
                    yield IneffectiveSetting(
                        path,
                        f"must be another server: this gateway listens on {listener} itself "
                        f"({key}), so that each request would come back to it",
                    )


def perhaps_leading_back(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield each origin that probably leads to these settings' own server: its path and URL.

    Its host is a name of this machine or of the front, which another server might have as well.
    """
    own = socket.gethostname().lower()
    listeners = {(own, address.port) for address in (settings.listen, settings.admin.listen)}
    listeners |= {(host.lower(), settings.front.listen.port) for host in settings.front.hosts}
    for path, route in written_routes(settings):
        for url in route.origins if route.is_http else ():
            if _place(url) in listeners:
                yield spell(path), redacted_origin(url)


def _place(url: str) -> tuple[str, int]:
    """Return the host and port that a URL leads to."""
    parts = urlsplit(url)
    return (parts.hostname or "").rstrip("."), parts.port or PORTS[parts.scheme]


def _is_at(listener: Address, url: str) -> bool:
    host, port = _place(url)
    if listener.port == 0 or port != listener.port:
        return False
    if host == listener.host.lower():
        return True
    # A connection to 0.0.0.0 reaches this machine.
    here = is_loopback(host) or _is_unspecified(host)
    if _is_unspecified(listener.host):
        return here or _is_of_this_machine(host)
    named = "localhost" in {host, listener.host.lower()}
    return here and is_loopback(listener.host) and (named or _is_unspecified(host))


def _is_unspecified(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def _is_of_this_machine(host: str) -> bool:
    """Return whether an IP address can be one of this machine's."""
    try:
        family = socket.AF_INET if ip_address(host).version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))  # nothing is sent
    except (OSError, ValueError):
        return False
    return True
