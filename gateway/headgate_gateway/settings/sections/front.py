"""The settings of the front: Caddy as a child of this server, with TLS, HTTP/2 and HTTP/3."""

from __future__ import annotations

import re
from typing import Annotated

from headgate_gateway.settings.reading.kinds import Address, FilePath, Hosts, Listen, ValueKind
from headgate_gateway.settings.reading.reload_effects import FIXED
from headgate_gateway.settings.reading.tables import Section, ValueContext, checks, setting

HTTPS_PORT = 443
HTTP_PORT = 80
OWN_CA = "internal"
# It is written into a Caddyfile, so nothing is in it that has a meaning there.
DIRECTORY = re.compile(r"https://[A-Za-z0-9._~:/\[\]-]+")
ACME_KIND = "internal or the https URL of an ACME directory"
MOST_HOSTS = 64  # each has a certificate of its own, and authorities issue so many in a week


def front_ports(address: Address) -> list[Address]:
    """Return the addresses of the front: that of HTTPS, and beside port 443 that of HTTP."""
    if address.port != HTTPS_PORT:
        return [address]
    return [address, Address(address.host, HTTP_PORT)]


class FrontSettings(Section):
    """The settings of the front. Without hosts there is none, and the others have no effect."""

    short = "hosts"

    hosts: Hosts = setting(
        (),
        reload=FIXED,
        longest=MOST_HOSTS,
        description="Host names under which Caddy, run as a child, serves the streams with TLS, "
        "HTTP/2 and HTTP/3; it gets their certificates itself. Empty starts no Caddy.",
    )
    # Both families, so that a host with an AAAA record is reached, too.
    listen: Listen = setting(
        Address("::", HTTPS_PORT),
        reload=FIXED,
        description="Address of the front, by TCP and UDP. With port 443 it also listens on port "
        "80, which redirects to HTTPS. [::] means every address of the machine, IPv4 too.",
    )
    acme: Annotated[str, ValueKind(ACME_KIND)] = setting(
        "",
        reload=FIXED,
        description="Who issues the certificates: the directory URL of an ACME server, or "
        "internal for Caddy's own authority, which browsers do not trust. Empty means Let's "
        "Encrypt and ZeroSSL, and internal for localhost.",
    )
    # Authorities limit how often they issue one certificate: these must outlive a restart.
    data: FilePath = setting(
        "./headgate-front",
        reload=FIXED,
        description="Folder of the front's keys and certificates. It has to survive restarts.",
    )

    @checks("acme")
    @classmethod
    def _check_acme_directory(cls, acme: str, _context: ValueContext) -> str:
        if acme and acme != OWN_CA and not DIRECTORY.fullmatch(acme):
            raise ValueError(f"must be {ACME_KIND}, such as https://acme.example.com/directory")
        return acme
