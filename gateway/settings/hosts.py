"""The host and port of a server as URLs have them."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

# Brackets around an IPv6 address, whose inside `check_ipv6` looks at; else a name or IPv4.
HOST = r"(\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?)"
PORT = r"(?P<port>:\d{1,5})?"


def check_ipv6(address: str) -> None:
    """Refuse what stands in brackets and is no IPv6 address."""
    try:
        IPv6Address(address)
    except ValueError as cause:
        raise ValueError(f"must have an IPv6 address in its brackets: {cause}") from cause


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, and only its own programs reach what listens there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_port(number: int) -> bool:
    """Whether a server can be asked there."""
    return 0 < number <= 65535
