"""Decide where requests may go whose URL a client or a subscriber names.

Three things are checked: the URL as text, its host against a list of allowed ones, and each address
that the host has when a connection is made to it. Nothing here looks a name up.
"""

from __future__ import annotations

import ipaddress
import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING, NamedTuple

from headgate_gateway.errors import DestinationRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_URL = 8 * 1024  # characters; servers take no longer request line
PORTS = {"http": 80, "https": 443}
MOST_PORT = 65535

# Kinds that an operator may permit for single hosts, which are servers in the operator's network.
# The other kinds lead to no server: to the keys of the machine, or to another host than it seems.
PERMITTED_KINDS = frozenset({"loopback", "private", "shared (CGNAT)"})
# Each kind with its networks, from the registries of special addresses (RFC 6890) and beyond. The
# first network with an address decides.
_KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "cloud metadata",
        (
            *("169.254.169.254", "169.254.170.2", "169.254.170.23", "100.100.100.200"),
            *("192.0.0.192", "168.63.129.16", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254"),
        ),
    ),
    ("unspecified", ("0.0.0.0/8", "::/128")),
    ("loopback", ("127.0.0.0/8", "::1/128")),
    ("private", ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")),
    ("shared (CGNAT)", ("100.64.0.0/10",)),
    ("link-local", ("169.254.0.0/16", "fe80::/10")),
    ("site-local", ("fec0::/10",)),
    (
        "documentation",
        ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"),
    ),
    ("benchmarking", ("198.18.0.0/15", "2001:2::/48")),
    ("multicast", ("224.0.0.0/4", "ff00::/8")),
    ("6to4", ("192.88.99.0/24", "2002::/16")),
    ("Teredo", ("2001::/32",)),
    ("local NAT64", ("64:ff9b:1::/48",)),
    ("discarding", ("100::/63",)),
    # Wide networks come last: they have what is left of them by the kinds before.
    ("reserved", ("192.0.0.0/24", "240.0.0.0/4", "2001::/23", "5f00::/16")),
)
_V4_KINDS = tuple(
    (kind, IPv4Network(one)) for kind, networks in _KINDS for one in networks if ":" not in one
)
_V6_KINDS = tuple(
    (kind, IPv6Network(one)) for kind, networks in _KINDS for one in networks if ":" in one
)
# Prefixes whose last 32 bits are an IPv4 address that is reached in place of the IPv6 address.
_EMBEDDING = tuple(
    IPv6Network(one)
    for one in (
        *("::ffff:0:0/96", "::ffff:0:0:0/96"),  # mapped (RFC 4291), translated (RFC 7915)
        *("64:ff9b::/96", "::/96"),  # NAT64 (RFC 6052), and the obsolete IPv4-compatible ones
    )
)
_GLOBAL_V6 = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
# Interface identifiers of ISATAP (RFC 5214), with an IPv4 address behind them.
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})

_URL = re.compile(r"(https?)://([^/?#]*)([^?#]*)(\?[^#]*)?(?:#.*)?", re.IGNORECASE)
_UNFIT = re.compile(r"[^!-~]|[\\^`{|}\"<>]")  # blanks, controls, and what parsers disagree about
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(?::([0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LONGEST_NAME = 253  # characters (RFC 1035 section 2.3.4)


class Destination(NamedTuple):
    """A URL in its one spelling: a host without a dot at its end, and a port in any case.

    The `host` of an IPv6 address has no brackets. `target` is the path with its query.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def address(self) -> IPv4Address | IPv6Address | None:
        """The address that the URL names in place of a host; None for a name."""
        return literal_address(self.host)

    @property
    def origin(self) -> str:
        """The URL up to its path, which has no secrets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    @property
    def url(self) -> str:
        """The URL that is requested, with the path and query as they came."""
        return f"{self.origin}{self.target}"


class AllowedHost(NamedTuple):
    """An entry of a list of allowed hosts; a `port` of None is any.

    A `host` that begins with a dot stands for all names below it.
    """

    scheme: str
    host: str
    port: int | None

    def covers(self, scheme: str, host: str, port: int) -> bool:
        """Return whether the entry is for requests to this host."""
        is_host = host.endswith(self.host) if self.host.startswith(".") else host == self.host
        return is_host and scheme == self.scheme and self.port in {None, port}


class AllowedHosts:
    """The hosts that may be requested, and those of them that may have addresses inside."""

    def __init__(self, hosts: Iterable[AllowedHost], inside: Iterable[AllowedHost] = ()) -> None:
        """Allow `hosts` at public addresses, and `inside` also at private or loopback ones."""
        self._inside = tuple(inside)
        self._hosts = (*hosts, *self._inside)

    def check(self, destination: Destination) -> None:
        """Raise DestinationRefused unless a request may go there, as far as its URL tells."""
        scheme, host, port, _ = destination
        if not any(it.covers(scheme, host, port) for it in self._hosts):
            raise DestinationRefused(f"{destination.origin} is not among the allowed hosts")
        if (address := destination.address) is not None:
            self.check_address(host, port, address)

    def check_address(self, host: str, port: int, address: IPv4Address | IPv6Address) -> None:
        """Raise DestinationRefused unless a connection to `host` may go to this address."""
        kind = refused_kind(address)
        if kind is None:
            return
        if kind in PERMITTED_KINDS and self.may_be_inside(host, port):
            return
        raise DestinationRefused(f"{host} has an address that is not public: {kind}")

    def may_be_inside(self, host: str, port: int) -> bool:
        """Return whether a host may have private or loopback addresses."""
        name = host.removesuffix(".")
        return any(it.covers(it.scheme, name, port) for it in self._inside)


def destination_of(url: str) -> Destination:
    """Return the destination of an absolute http(s) URL. Raises DestinationRefused.

    Whatever two parsers could take for two hosts is refused: user information, backslashes, blanks,
    percent-encoded or numeric hosts, zone ids. International names must be in their ASCII form.
    """
    if len(url) > LONGEST_URL:
        raise DestinationRefused(f"the URL has over {LONGEST_URL} characters")
    if _UNFIT.search(url) is not None:
        raise DestinationRefused(
            "the URL has characters that no URL may have; write an international host as xn--…"
        )
    found = _URL.fullmatch(url)
    if found is None:
        raise DestinationRefused("the URL must begin with http:// or https://")
    scheme, authority = found[1].lower(), found[2]
    host, port = _host_and_port(authority, scheme)
    path, query = found[3] or "/", found[4] or ""
    query = "" if query == "?" else query  # as the client of upstreams has it
    return Destination(scheme, host, port, f"{path}{query}")


def allowed_host(entry: str) -> AllowedHost:
    """Return an entry `[SCHEME://]HOST[:PORT]` of a list. Raises DestinationRefused.

    Without a scheme it is https, and without a port that of the scheme; `:*` is any port. `*.HOST`
    is for all names below the host.
    """
    scheme, separator, authority = entry.rpartition("://")
    scheme = scheme.lower() if separator else "https"
    if scheme not in PORTS or _UNFIT.search(entry) is not None:
        raise DestinationRefused("an allowed host is [http[s]://]HOST[:PORT]")
    is_any_port = authority.endswith(":*")
    is_below = authority.startswith("*.")
    authority = authority.removesuffix(":*").removeprefix("*.")
    if any(it in authority for it in "*/?#"):
        raise DestinationRefused("an allowed host has no path, and a * only in *.HOST and HOST:*")
    host, port = _host_and_port(authority, scheme)
    if is_below and (literal_address(host) is not None or "." not in host):
        raise DestinationRefused("*. needs a domain behind it, such as *.example.com")
    return AllowedHost(scheme, f".{host}" if is_below else host, None if is_any_port else port)


def refused_kind(address: IPv4Address | IPv6Address) -> str | None:
    """Return why an address is not a public host's; None if it is one.

    An IPv4 address inside an IPv6 address is checked as well.
    """
    if isinstance(address, IPv4Address):
        kind = next((kind for kind, network in _V4_KINDS if address in network), None)
        return kind or (None if address.is_global else "reserved")
    kind = next((kind for kind, network in _V6_KINDS if address in network), None)
    if kind is not None:
        return kind
    if address.scope_id is not None:
        return "of one link"
    if (embedded := _embedded(address)) is not None and (inner := refused_kind(embedded)):
        return inner if address.ipv4_mapped is not None else f"{inner}, inside an IPv6 address"
    if address in _NAT64 or address.ipv4_mapped is not None:
        return None
    return None if address in _GLOBAL_V6 and address.is_global else "reserved"


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that packets to an IPv6 address may end at, or None."""
    last = int(address) & 0xFFFF_FFFF
    if any(address in network for network in _EMBEDDING):
        return IPv4Address(last)
    return IPv4Address(last) if int(address) >> 32 & 0xFFFF_FFFF in _ISATAP else None


def _host_and_port(authority: str, scheme: str) -> tuple[str, int]:
    if "@" in authority:
        raise DestinationRefused("the URL must have no user name or password")
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise DestinationRefused("the URL must have a host, and perhaps a port after a colon")
    port = int(found[2]) if found[2] is not None else PORTS[scheme]
    if not 1 <= port <= MOST_PORT:
        raise DestinationRefused(f"a port is a number from 1 to {MOST_PORT}")
    return _canonical_host(found[1].lower()), port


def _canonical_host(host: str) -> str:
    """Return a host in lower case, without the dot of an absolute name. Raises DestinationRefused.

    Of IPv4 addresses only four decimal numbers are taken: by another spelling, such as 0x7f.1 or
    017700000001, resolvers may reach another host than it seems.
    """
    if host.startswith("["):
        try:
            return str(IPv6Address(host[1:-1]))
        except ValueError:
            raise DestinationRefused("the host in brackets is no IPv6 address") from None
    host = host.removesuffix(".")
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]) is not None:
        try:
            return str(IPv4Address(host))
        except ValueError:
            raise DestinationRefused("the host is a number that is no IPv4 address") from None
    if len(host) > _LONGEST_NAME or any(_LABEL.fullmatch(label) is None for label in labels):
        raise DestinationRefused("the URL must have the name of a host, or an address")
    return host


def literal_address(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that the host of a URL is; None if it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
