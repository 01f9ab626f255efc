"""The options of a configuration, with every value in a form that cannot break out of a file."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Literal, get_args

import msgspec

from headgate_cdn.errors import Refused
from headgate_cdn.read_keys import MOST_KEYS, ReadKey, keys_of
from headgate_cdn.upstreams import (
    ANSWER_S,
    Upstream,
    answer_s,
    is_here,
    upstreams_of,
    why_alone,
    without_scheme,
)
from headgate_gateway.protocol.http.paths import RESERVED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headgate_gateway.settings import Route, Settings

# What becomes of a read with a credential at the edge:
#   bypass          the gateway answers it, and nobody else gets the answer
#   per-credential  it has copies of its own
#   reader-key      with a reader key in its URL it has the copies of that URL, else as bypass
#   asked           the gateway is asked whether its reader may, then it has the copies of all
#   verified        the same, but the edge itself verifies the read token of its reader
CredentialMode = Literal["bypass", "per-credential", "reader-key", "asked", "verified"]
CREDENTIAL_MODES: tuple[CredentialMode, ...] = get_args(CredentialMode)
ALWAYS_IDENTITY = ("Authorization", "Cookie")
# An HTTP origin may know readers by any header whose name says so (`protocol.http.forwarding`).
# Most edges cannot match names by a pattern, so these are the ones that are sent in practice.
ORIGINS_IDENTITY = (
    "X-Api-Key",
    "X-Auth-Token",
    "X-Access-Token",
    "X-Session-Id",
    "X-User-Id",
    "X-Tenant-Id",
    "X-Forwarded-User",
    "X-Auth-Request-User",
    "Cf-Access-Jwt-Assertion",
    "X-Goog-Iap-Jwt-Assertion",
    "X-Ms-Client-Principal-Id",
    "X-Amzn-Oidc-Data",
    "X-Account-Id",
    "X-Org-Id",
    "X-Organization-Id",
    "DPoP",
)
HTTPS_PORT = 443
MIB = 1 << 20
TIB = 1 << 40
LONGEST_HOST = 253  # RFC 1035
LOOPBACK_IPV6 = "[::1]"  # as in a URL
MOST_LISTED = 64  # prefixes, and headers: more would make no file that anybody reads
LONGEST_ITEM = 256
TOKEN_AGE_S = 900
LONGEST_STALE_S = 24 * 3600
LONGEST_MEMORY_S = 900  # of a yes: as long as a read token lasts that no look-up can take back

_HOST = re.compile(
    r"(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
)
_FILE = re.compile(r"(/[A-Za-z0-9._~@+-]+)+")
_SERVICE = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")  # of Kubernetes: a label of RFC 1035
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_HEADER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_SHIELD = re.compile(r"(?=.{1,64}$)[a-z0-9]+(-[a-z0-9]+)*")


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The options that a configuration is made for; times are in seconds, sizes in bytes.

    Making one with a value that has no place in a configuration raises Refused.
    """

    # HOST:PORT of the gateway, as the edge reaches it; of several gateways, separated by commas.
    upstream: str = "127.0.0.1:4437"
    is_upstream_given: bool = False  # and not where the settings have the gateway listen
    scheme: Literal["", "http", "https"] = ""  # before --upstream; "" is as the settings say
    tls: bool = False  # the listener of the gateway has a certificate,
    client_certificates: bool = False  # and takes only clients that have one, too
    upstream_ca: str = ""  # file of authorities, on the edge's machine; "" is the system's
    upstream_name: str = ""  # that the gateway's certificate is for; "" is the upstream's host
    host: str = ""  # that readers use; "" is any, which only a standalone file may have
    listen: int = 8080  # port
    credentials: CredentialMode = "bypass"
    cache_size: int = 1024 * MIB
    purge: bool = False
    standalone: bool = False
    poll_s: int = 20  # the longest that the gateway holds a long-poll
    answer_s: int = ANSWER_S  # the longest that an edge waits for an answer that waits for no news
    heartbeat_s: int = 12
    tail_s: int = 1  # the shortest that shared caches may keep what reached a tail
    sites: bool = False  # answers tell one web origin from another: cors_origins is a list
    prefixes: tuple[str, ...] = ("/v1/stream",)
    identity_headers: tuple[str, ...] = ALWAYS_IDENTITY  # by which readers are told apart
    told_apart: bool = False  # an HTTP origin may answer each of these readers otherwise
    own_logs: tuple[str, ...] = ("/v1/stream",)  # of the prefixes: all readers read the same there
    remember_s: int = 10  # how long an edge that asks goes by a yes; 0 asks each time
    stale_if_error_s: int = 0  # how long after its lifetime a copy is given while nobody answers
    token_age_s: int = TOKEN_AGE_S  # read tokens that last longer are the gateway's to judge
    read_keys: tuple[ReadKey, ...] = ()  # by which an edge verifies read tokens
    compress_private: bool = False  # reads of readers with credentials, too
    shield: str = ""  # the place of its vendor by which all others ask the gateway; "" is none

    def __post_init__(self) -> None:
        upstreams_of(self.upstream)
        _check_host(self.host, standalone=self.standalone)
        _check_certificate_options(self.upstream_ca, self.upstream_name)
        if self.scheme not in {"", "http", "https"}:
            raise Refused("--upstream may begin with http:// or https://, and with nothing else")
        if self.credentials not in CREDENTIAL_MODES:
            known = " or ".join(CREDENTIAL_MODES)
            raise Refused(f"--credentials must be {known}, not {_text_of(self.credentials)}")
        _check_number("--listen", self.listen, 1, 65535)
        _check_number("--cache-size", self.cache_size, MIB, TIB)
        _check_number("the longest poll in seconds", self.poll_s, 1, 24 * 3600)
        _check_number("the time to answer in seconds", self.answer_s, 1, 24 * 3600)
        _check_number("the heartbeat in seconds", self.heartbeat_s, 1, 3600)
        _check_number("the lifetime at a tail in seconds", self.tail_s, 0, 3600)
        _check_number("--stale-if-error", self.stale_if_error_s, 0, LONGEST_STALE_S)
        _check_number("--remember", self.remember_s, 0, LONGEST_MEMORY_S)
        _check_number("credentials.read_token_max_age", self.token_age_s, 1, 24 * 3600)
        if self.shield and not _SHIELD.fullmatch(self.shield):
            raise Refused(f"--shield {_text_of(self.shield)} is no name of a place")
        if len(self.read_keys) > MOST_KEYS:
            raise Refused(f"a configuration has at most {MOST_KEYS} read keys")
        _check_items("route prefix", self.prefixes, _PREFIX)
        _check_items("route prefix", self.own_logs, _PREFIX)
        _check_items("header name", self.identity_headers, _HEADER)

    @property
    def upstreams(self) -> tuple[Upstream, ...]:
        """The gateways, in the order in which they were named."""
        return upstreams_of(self.upstream)

    @property
    def has_several_upstreams(self) -> bool:
        """True if requests are balanced over gateways, of which one may be down."""
        return len(self.upstreams) > 1

    @property
    def upstream_host(self) -> str:
        """The first gateway's name or address, without the brackets of IPv6."""
        return self.upstreams[0].host

    @property
    def upstream_service(self) -> str:
        """The name of the gateway's Service in a cluster; "" where the upstream is an address."""
        first = self.upstream_host.partition(".")[0].lower()
        return first if _SERVICE.fullmatch(first) else ""

    @property
    def upstream_port(self) -> int:
        """The port at which the first gateway is reached."""
        return self.upstreams[0].port

    @property
    def is_https(self) -> bool:
        """True if the edge has to speak HTTPS to the gateway."""
        if self.scheme:
            return self.scheme == "https"
        return self.tls or self.upstream_port == HTTPS_PORT

    @property
    def verified_name(self) -> str:
        """The name that the gateway's certificate has to be for, which is also sent as SNI."""
        return self.upstream_name or self.upstream_host

    @property
    def authorities(self) -> str:
        """The file of certificate authorities, for an edge that needs one: Debian's by default."""
        return self.upstream_ca or "/etc/ssl/certs/ca-certificates.crt"

    @property
    def is_upstream_here(self) -> bool:
        """True if an upstream is a loopback address, at which every machine reaches itself."""
        return any(one.is_here for one in self.upstreams)

    @property
    def is_host_here(self) -> bool:
        """True if the readers' host is a loopback address."""
        return is_here(self.host)

    @property
    def public_keys(self) -> list[dict[str, str]]:
        """The read keys as a template writes them."""
        return [{"kid": key.kid, "x": key.x} for key in self.read_keys]

    @property
    def own_paths(self) -> str:
        """A regular expression of the paths of the gateway's own streams, where all read the same.

        The prefix of an HTTP route may lie below one of a log, and is not of it; neither are its
        control paths, such as the list of its streams, which each client gets for itself.
        """
        if not self.own_logs:
            return "^(?!)"  # no path
        logs = tuple(f"{log}/" for log in self.own_logs)
        within = [one for one in self.other_prefixes if one.startswith(logs)]
        but = f"(?!{_either(within)}/)" if within else ""
        return f"^{but}{_either(self.own_logs)}/(?!{RESERVED}/)"

    @property
    def paths(self) -> str:
        """A regular expression of the paths of all routes' streams."""
        return f"^{_either(self.prefixes)}/"

    @property
    def own_trees(self) -> tuple[str, ...]:
        """The prefixes of own logs without a route to an HTTP origin below them.

        Whatever spelling of a path begins with one of them, READER_COOKIE alone counts there.
        """
        return tuple(
            log
            for log in self.own_logs
            if not any(one.startswith(f"{log}/") for one in self.other_prefixes)
        )

    @property
    def other_prefixes(self) -> list[str]:
        """The prefixes of routes to HTTP origins, of model providers and of other proxied paths."""
        return [one for one in self.prefixes if one not in self.own_logs]

    @property
    def has_one_cookie(self) -> bool:
        """True if READER_COOKIE is the only cookie that counts, whatever the path."""
        return self.own_trees == self.prefixes

    @property
    def own_targets(self) -> str:
        """A regular expression of the targets below `own_trees`; it matches nothing without any."""
        return f"^{_either(self.own_trees)}/" if self.own_trees else "(?!)"

    @property
    def edge_timeout_s(self) -> int:
        """Seconds for which an edge waits for the gateway: a whole long-poll, and time to spare."""
        return self.poll_s + 45

    @property
    def silence_s(self) -> int:
        """Seconds for which a connection may be silent: a long-poll, or SSE less two heartbeats."""
        return max(self.edge_timeout_s, 3 * self.heartbeat_s)


def from_settings(settings: Settings, **overrides: object) -> Options:
    """Return the options that a gateway's settings ask for; an override of None counts for nothing.

    Raises Refused for an override that has no place in a configuration.
    """
    overridden = {name: value for name, value in overrides.items() if value is not None}
    credentials = overridden.get("credentials", "bypass")
    if "remember_s" in overridden and credentials != "asked":
        raise Refused("--remember is for --credentials asked: no other edge asks the gateway")
    given = overridden.get("upstream")
    if isinstance(given, str) and "://" in given:
        overridden["scheme"], overridden["upstream"] = without_scheme(given)
    lone = why_alone(settings.route_table)
    if lone and "," in str(overridden.get("upstream", "")):
        raise Refused(
            f"--upstream must name one gateway: two cannot share {lone}; streams in Redis or at "
            "http(s) origins may have several"
        )
    listen = settings.listen
    at = listen.reached_at
    return Options(
        **{
            "upstream": f"[{at}]:{listen.port}" if ":" in at else f"{at}:{listen.port}",
            "is_upstream_given": "upstream" in overridden,
            **settled(settings, credentials),
            **overridden,
        }  # type: ignore[arg-type] # each value is checked as the options are made
    )


def settled(settings: Settings, credentials: object) -> dict[str, object]:
    """Return the options that the settings alone decide, whatever else is given.

    Only an edge that verifies read tokens has their keys: a rotation changes no other file.
    """
    routes = settings.route_table
    own_logs = tuple(route.prefix for route in routes if not route.is_http)
    # Providers and proxies below one, whose queries have parameters of their own.
    within = tuple(
        one.prefix
        for one in settings.written
        if any(one.prefix.startswith(f"{log}/") for log in own_logs)
    )
    verifies = credentials == "verified"
    return {
        "tls": bool(settings.tls.certificate),
        "client_certificates": bool(settings.tls.client_ca),
        "poll_s": math.ceil(settings.live.long_poll_timeout),
        "answer_s": answer_s(routes),
        "heartbeat_s": math.ceil(settings.live.sse_heartbeat),
        "tail_s": min(route.tail_max_age for route in routes),
        "sites": bool(settings.http.cors_origins) and "*" not in settings.http.cors_origins,
        "prefixes": (*(route.prefix for route in routes), *within),
        "identity_headers": _in_order(name for route in routes for name in _known_by(route)),
        "told_apart": any(route.is_http and _known_by(route) for route in routes),
        "own_logs": own_logs,
        "token_age_s": settings.credentials.read_token_max_age if verifies else TOKEN_AGE_S,
        "read_keys": keys_of(settings.credentials.keys_file)
        if verifies and settings.credentials.keys_file
        else (),
    }


def _known_by(route: Route) -> tuple[str, ...]:
    """Return the headers that may make one route's answers differ from reader to reader."""
    if not route.is_http:
        return ALWAYS_IDENTITY
    dropped = {name.lower() for name in route.drop_headers}
    known = (*ALWAYS_IDENTITY, *ORIGINS_IDENTITY, *route.identity_headers)
    return tuple(name for name in known if name.lower() not in dropped)


def _in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return each name once, whatever its case, in the order of first occurrences."""
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(name.lower(), name)
    return tuple(first.values())


def _check_host(host: str, *, standalone: bool) -> None:
    if not host or (len(host) <= LONGEST_HOST and _HOST.fullmatch(host)):
        return
    if host != LOOPBACK_IPV6 and not (host.startswith("127.") and is_here(host)):
        raise Refused(f"--host {_text_of(host)} is no host name in lower case")
    if not standalone:
        raise Refused(f"--host {host} is of this machine alone: it is for --standalone")


def _either(prefixes: Iterable[str]) -> str:
    return f"(?:{'|'.join(prefix.replace('.', '[.]') for prefix in prefixes)})"


def _check_certificate_options(authorities: str, name: str) -> None:
    if authorities and not (len(authorities) <= LONGEST_ITEM and _FILE.fullmatch(authorities)):
        raise Refused(f"--upstream-ca {_text_of(authorities)} is not the absolute path of a file")
    if name and not (len(name) <= LONGEST_HOST and _HOST.fullmatch(name)):
        raise Refused(f"--upstream-name {_text_of(name)} is no host name in lower case")


def _check_number(name: str, number: int, least: int, most: int) -> None:
    if not least <= number <= most:
        raise Refused(f"{name} must be from {least:,} to {most:,}, not {number:,}")


def _check_items(kind: str, items: tuple[str, ...], form: re.Pattern[str]) -> None:
    if len(items) > MOST_LISTED:
        raise Refused(f"a configuration names at most {MOST_LISTED} of a {kind}")
    for item in items:
        if len(item) > LONGEST_ITEM or not form.fullmatch(item):
            raise Refused(f"{_text_of(item)} is no {kind}")


def _text_of(value: object) -> str:
    """Return a given value as a short line of ASCII."""
    return ascii(value)[:128]
