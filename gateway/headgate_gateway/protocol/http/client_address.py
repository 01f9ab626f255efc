"""The address of a client, as trusted proxies report it.

Only trusted proxies are believed: any client can send `X-Forwarded-For` and
`Forwarded` (RFC 7239).
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from multidict import MultiMapping

REMEMBERED = 4096  # texts of addresses: 1 MB
LONGEST_ADDRESS = 64  # an IPv6 address with its zone has less
CLIENT_BITS = 64  # of IPv6: one subscriber has all addresses with these
# The peer of a connection over the server's own Unix socket: the front, which is trusted by itself.
FRONT = "front"
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# Blanks stand in one place of the pattern at a time: in two, a long run of them takes seconds.
_PAIR = re.compile(rf'[ \t]*(?:({_TOKEN})=({_TOKEN}|"(?:[^"\\]|\\.)*")[ \t]*)?([;,]|\Z)')
_NODE = re.compile(
    r"(?:(?P<ipv4>[0-9.]+)|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]+))?"
)


class TrustedProxies:
    """The networks of the proxies that are believed; none by default."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks: list[IPv4Network | IPv6Network] = [ip_network(one) for one in networks]

    def has(self, address: str) -> bool:
        """Return whether the address is a trusted proxy's."""
        if address == FRONT or not self._networks:
            return address == FRONT
        known = _parsed(address)
        return known is not None and any(known in network for network in self._networks)

    def client(self, peer: str, headers: MultiMapping[str]) -> str:
        """Return the address of the client behind a connection's peer.

        It is the right-most reported address that is not trusted. If that cannot be parsed, or the
        two headers name different clients (a proxy passes on the one that it does not set), it
        is the peer's own.
        """
        if not self.has(peer):
            return peer
        chains = (
            _forwarded_for(headers.getall("Forwarded", ())),
            [node for line in headers.getall("X-Forwarded-For", ()) for node in line.split(",")],
        )
        addresses = {self._right_most(chain) for chain in chains if chain}
        client = addresses.pop() if len(addresses) == 1 else None
        return peer if client is None else client

    def _right_most(self, chain: Sequence[str]) -> str | None:
        """Return the nearest address that is no trusted proxy; if all are, the farthest one."""
        client = None
        for node in reversed(chain):
            client = _address_of(node.strip())
            if client is None or not self.has(client):
                break
        return client


@lru_cache(REMEMBERED)
def counted_as(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or an IPv6 network of 64 bits."""
    known = _parsed(address)
    if known is None:
        return address
    if known.version == 4:
        return str(known)
    return str(ip_network((int(known) >> CLIENT_BITS << CLIENT_BITS, CLIENT_BITS)))


def is_address(text: str) -> bool:
    """Return whether a text is an IPv4 or IPv6 address."""
    return _parsed(text) is not None


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """Parse an address; an IPv4 address inside an IPv6 one counts as IPv4."""
    return _parsed_short(text) if len(text) <= LONGEST_ADDRESS else None


@lru_cache(REMEMBERED)
def _parsed_short(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address if address.version == 4 else address.ipv4_mapped or address


def _address_of(node: str) -> str | None:
    """Return the address that a proxy wrote, without port and brackets, or None."""
    match = _NODE.fullmatch(node)
    known = _parsed(node if match is None else match["ipv4"] or match["ipv6"])
    return None if known is None else str(known)


def _forwarded_for(lines: Sequence[str]) -> list[str]:
    """Return the value of `for` in each element of Forwarded; "" where it cannot be parsed."""
    text = ",".join(lines)
    nodes: list[str] = []
    node, begin = "", 0
    while text:
        pair = _PAIR.match(text, begin)
        if pair is None:
            return [""]
        name, value, end = pair.groups()
        if name is not None and name.lower() == "for":
            if node:
                return [""]
            node = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
        if end != ";":
            nodes.append(node)
            node = ""
        if not end:
            break
        begin = pair.end()
    return nodes
