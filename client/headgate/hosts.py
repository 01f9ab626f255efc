"""The host and port of a server in a URL."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

# An IPv6 address in brackets, which `check_ipv6` checks, or a name or IPv4 address.
HOST = r"(\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?)"
PORT = r"(?P<port>:\d{1,5})?"


def check_ipv6(address: str) -> None:
    """Raise ValueError if the text in brackets is no IPv6 address."""
    try:
        IPv6Address(address)
    except ValueError as cause:
        raise ValueError(f"must have an IPv6 address in its brackets: {cause}") from cause


def is_loopback(host: str) -> bool:
    """Return whether a host is a loopback address, which only this machine reaches."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_port(number: int) -> bool:
    """Return whether a server can listen on this port."""
    return 0 < number <= 65535
