"""Render the configurations of Caddy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from headgate_cdn.options import settled
from headgate_cdn.render import fill
from headgate_gateway.front.sockets import ADMIN, PRIVATE, UPSTREAM
from headgate_gateway.settings.sections.front import OWN_CA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.front.sockets import PublicSockets
    from headgate_gateway.settings import Settings

LOCALHOST = "localhost"  # no public authority issues a certificate for it


def hosts_of_own_authority(settings: Settings) -> list[str]:
    """Return the hosts whose certificates Caddy issues itself, without being reached for it."""
    if settings.front.acme == OWN_CA:
        return list(settings.front.hosts)
    return [host for host in settings.front.hosts if host == LOCALHOST and not settings.front.acme]


def caddyfile(settings: Settings, sockets: PublicSockets, private_hosts: Sequence[str] = ()) -> str:
    """Return the Caddyfile that serves browsers at the public sockets.

    With `private_hosts`, return that which reads their certificates, at a private socket alone.
    """
    decided = settled(settings, "bypass")
    is_internal = settings.front.acme == OWN_CA
    return fill(
        "caddy/front.j2",
        is_private=bool(private_hosts),
        private=PRIVATE,
        admin=ADMIN,
        hosts=private_hosts or settings.front.hosts,
        upstreams=f"unix/{UPSTREAM}",
        **{
            name: decided[name]
            for name in ("answer_s", "poll_s", "heartbeat_s", "prefixes", "sites")
        },
        tls_fd=sockets.tls.fileno(),
        quic_fd=sockets.quic.fileno(),
        http_fd=None if sockets.http is None else sockets.http.fileno(),
        is_internal=is_internal,
        acme="" if is_internal else settings.front.acme,
        trusted_proxies=settings.http.trusted_proxies,
        # 0 would have Caddy wait for as long as anybody reads.
        grace_s=max(1, math.ceil(settings.shutdown.grace)),
    )
