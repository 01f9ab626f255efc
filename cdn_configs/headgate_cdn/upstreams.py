"""The gateways that a configuration leads to, and what their settings let them take."""

from __future__ import annotations

import math
import re
from ipaddress import ip_address
from typing import TYPE_CHECKING

import msgspec

from headgate.hosts import HOST, check_ipv6, is_port
from headgate_cdn.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headgate_gateway.settings import Route

MOST_UPSTREAMS = 16  # a list that a person keeps; more gateways have a name or a balancer
CONNECT_S = 2  # within a data centre, and between two: a SYN that is lost is sent again after 1 s
ORIGIN_CONNECT_S = 5  # within which a gateway reaches its origin
ANSWER_S = 10  # longer than a commit on a busy disk
REDIS_S = 9  # until a call to a Redis that hangs or fails over has its answer (docs/redis.md)
MARGIN_S = 2  # so that the gateway's own 504, which says more, comes first

_UPSTREAM = re.compile(rf"(?!-){HOST}:(?P<port>[0-9]{{1,5}})")
# Many programs take 127.1 and 0x7f.1 for addresses, others for names.
_NUMBER_AT_END = re.compile(r"(.*\.)?([0-9]+|0[xX][0-9A-Fa-f]*)\.?")


class Upstream(msgspec.Struct, frozen=True):
    """A gateway: HOST:PORT, and its host without the brackets of IPv6."""

    address: str
    host: str
    port: int

    @property
    def is_here(self) -> bool:
        """True for a loopback address, at which every machine reaches itself."""
        return is_here(self.host)

    @property
    def is_ip(self) -> bool:
        """True for an address, which a firewall or an access list can name."""
        try:
            ip_address(self.host)
        except ValueError:
            return False
        return True


def without_scheme(text: str) -> tuple[str, str]:
    """Return the scheme of a list of gateways, and the list without it. Raises Refused."""
    scheme, _, first = text.partition("://")
    hosts = first.replace(f",{scheme}://", ",")
    if "," in scheme or "://" in hosts:
        raise Refused(
            "--upstream must have one scheme for all gateways, before the first: "
            "https://a:4437,b:4437"
        )
    return scheme, hosts


def upstreams_of(text: str) -> tuple[Upstream, ...]:
    """Return the gateways in a list such as `a:4437,b:4437`. Raises Refused."""
    found = tuple(map(_upstream, text.split(",")))
    if len(found) > MOST_UPSTREAMS:
        raise Refused(f"--upstream names at most {MOST_UPSTREAMS} gateways, not {len(found)}")
    if len(set(found)) < len(found):
        raise Refused("--upstream names a gateway twice")
    return found


def _upstream(text: str) -> Upstream:
    match = _UPSTREAM.fullmatch(text)
    if match is None or not is_port(int(match["port"])):
        raise Refused(f"--upstream must be HOST:PORT, not {ascii(text)[:128]}")
    if match["ipv6"]:
        try:
            check_ipv6(match["ipv6"])
        except ValueError as cause:
            raise Refused(f"--upstream {cause}") from cause
    host = text.rpartition(":")[0].strip("[]")
    upstream = Upstream(text, host, int(match["port"]))
    if _NUMBER_AT_END.fullmatch(host) and not upstream.is_ip:
        raise Refused(f"--upstream {host!a} is no address, and a name must not end with a number")
    return upstream


def is_here(host: str) -> bool:
    """Return whether a program that connects to this host connects to its own machine."""
    if host.lower() == "localhost":
        return True
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:  # a name
        return False
    return address.is_loopback or address.is_unspecified


def answer_s(routes: Iterable[Route]) -> int:
    """Return the seconds after which a gateway that has not answered a request hangs.

    Long-polls and SSE, which wait for news, may take longer.
    """
    return max(ANSWER_S, *(math.ceil(_longest_s(route)) + MARGIN_S for route in routes))


def _longest_s(route: Route) -> float:
    """Return how many seconds the gateway itself may wait before it answers."""
    if route.is_http:
        return ORIGIN_CONNECT_S + route.response_timeout
    kind = route.log_kind
    return REDIS_S if kind is not None and kind.is_shared else 0


def why_alone(routes: Iterable[Route]) -> str:
    """Return which log two gateways cannot serve together; "" if they can serve all routes."""
    for route in routes:
        kind = route.log_kind
        if kind is not None and kind.why_alone:
            return f"the {kind.title} of {route.prefix}, as {kind.why_alone}"
    return ""
