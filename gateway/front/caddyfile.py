"""Render the file that Caddy is started with."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from cdn_configs.options import settled
from cdn_configs.render import fill
from gateway.settings.front import OWN_CA

if TYPE_CHECKING:
    from gateway.front.sockets import PublicSockets
    from gateway.settings import Settings


def caddyfile(settings: Settings, sockets: PublicSockets, upstream: str) -> str:
    """Return the Caddyfile for these settings; the gateway is at the Unix socket `upstream`."""
    is_internal = settings.front_acme == OWN_CA
    root = settings.front_acme_root
    return fill(
        "caddy/front.j2",
        hosts=settings.front,
        upstream=f"unix/{upstream}",
        sites=settled(settings, "bypass")["sites"],
        tls_fd=sockets.tls.fileno(),
        quic_fd=sockets.quic.fileno(),
        http_fd=None if sockets.http is None else sockets.http.fileno(),
        is_internal=is_internal,
        acme="" if is_internal else settings.front_acme,
        # Backquotes: Caddy takes what is between them as it is.
        acme_root=f"`{Path(root).absolute()}`" if root else "",
        trusted_proxies=settings.trusted_proxies,
        # 0 would have Caddy wait for as long as anybody reads.
        grace_s=max(1, math.ceil(settings.shutdown_grace)),
    )
