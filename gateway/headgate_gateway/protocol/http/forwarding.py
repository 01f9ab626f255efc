"""Heads that a gateway passes on (RFC 9110 section 7.6, RFC 7239), and the fields for a reader."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from multidict import CIMultiDict

from headgate_gateway.errors import BadRequest, LoopDetected
from headgate_gateway.protocol.http.header_names import (
    KEY_PREFIX_FIELD,
    NGINX_FIELD,
    STREAM_FIELD,
    TOKEN_FIELD,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from multidict import MultiMapping

SCHEME = "http"  # by which requests come to us, as far as we know by ourselves
MAX_HOPS = 20  # gateways in a row: more is a loop through gateways that do not know each other

HOP_BY_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authentication-info"),
        *("proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding"),
        "upgrade",
    }
)
_OF_THE_HOP = HOP_BY_HOP | {"content-length", "expect", "http2-settings"}
# What each request for the origin has from the gateway, whatever came, or does not have at all.
OF_THE_GATEWAY = _OF_THE_HOP | {"host", "via"}

# Some origins answer as these ask them to, and say nothing of it in Vary: a shared answer must not
# depend on what one client put into them. By what they are about, since each product has its own:
# the host, path, method, scheme, address and user of a request, and who has forwarded it.
_UNKEYED = re.compile(
    r"forward|override|rewrite|proxy|original|originating|destination|request-uri|wap-profile"
    r"|(^|-)(url|host|method|scheme|proto|ssl|https|ip|user|ipcountry|visitor|server-name)(-|$)"
    r"|remote-(addr|ip|user)|-location$|^x-request-id$",
    re.IGNORECASE,
)
# By these some origins take a request for one with another method or path than it has. A client is
# admitted for the method and path of the request line, and a write invalidates by these.
# `X-Stainless-Helper-Method` tells a provider which helper of its SDK was used.
_RENAMES = re.compile(
    r"override|rewrite|original|(^|-)(?<!stainless-helper-)(http-)?method(-|$)"
    r"|(^|-)(url|uri|path)(-|$)",
    re.IGNORECASE,
)
# What is said with methods that neither the protocol nor HTTP itself defines: of WebDAV (RFC 4918)
# and its extensions (RFC 3253, 3648, 4437, 6638), and Microsoft's. They name other resources, which
# no client was admitted for and no write invalidates, or ask for another response than the URL.
_OF_OTHER_METHODS = frozenset(
    {
        *("dav", "depth", "destination", "if", "lock-token", "overwrite", "timeout"),
        *("apply-to-redirect-ref", "if-schedule-tag-match", "label", "ordered", "position"),
        *("ordering-type", "redirect-ref", "schedule-reply", "translate"),
        *("brief", "call-back", "dasl", "notification-type"),
    }
)
# In a URL: what stands before its host's name, and what follows its path.
_AROUND_PATH = re.compile(r"(?<=://)[^/?#]*@|[?#].*", re.DOTALL)
_OF_ANSWERS = {TOKEN_FIELD.lower(), STREAM_FIELD.lower(), KEY_PREFIX_FIELD.lower()}
_NOT_PASSED_ON = _OF_OTHER_METHODS | _OF_ANSWERS | {"host", NGINX_FIELD.lower()}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_KEYED = frozenset({"user-agent"})

# What a proxy in front says of the client and of the request's way.
OF_PROXIES_IN_FRONT = frozenset(
    {
        *("via", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"),
        "x-real-ip",
    }
)

# Where else the origin's own host serves the same (RFC 7838): by this name, that would be us.
_OF_THE_SERVER = frozenset(
    {
        "alt-svc",
        # Commands of nginx, of Apache and others, of LiteSpeed, and of Perlbal and mod_reproxy.
        *("x-accel-redirect", "x-accel-limit-rate", "x-accel-charset", "x-sendfile"),
        *("x-litespeed-location", "x-reproxy-url"),
    }
)
# Streams need `no`: every hop passes on what comes at once. Anything else is the engine's business.
_BUFFERING = "X-Accel-Buffering"

# What makes a request ask for less than the whole answer: we ask for all, and answer from that.
CONDITIONS = frozenset(
    {
        *("last-event-id", "if-none-match", "if-modified-since", "if-match"),
        *("if-unmodified-since", "if-range", "range"),
    }
)

# What is about a message that is appended, and its writer.
OF_APPENDS = frozenset(
    {
        *("content-type", "content-encoding", "producer-id", "producer-epoch", "producer-seq"),
        *("stream-closed", "stream-seq"),
    }
)

READER_COOKIE = "__Secure-headgate"  # a token; browsers take the name only with Secure
# Of who is signed in to the console: browsers send it to every port of its host.
CONSOLE_COOKIE = "headgate_session"
_OWN_COOKIES = frozenset({CONSOLE_COOKIE, READER_COOKIE})

REMEMBERED_NAMES = 1024  # a few dozen are common; clients can send long ones, then this is 8 MB
# By what they are about, since each product has its own, and one that is missed gives a reader's
# answer to others, where one too many only costs a request. In turn: credentials; what stands for
# a session; the user, as named by the client or by a proxy that has authenticated it (oauth2-proxy,
# IAP, Cloudflare Access, Easy Auth, Kong, Pomerium ...); on whose account.
_SAYS_WHO = re.compile(
    r"(^|-)("
    r"auth|authentication|authorization|authenticated|webauth|dpop|signature|assertion|jwt|oidc"
    r"|(access|id|auth|api|security|session|csrf|xsrf)?tokens?|secret|password|credentials?"
    r"|([a-z]*api|app|access|auth|functions?|license|master|service|subscription)-?key"
    r"|client-?(cert|id|secret)|cert|(client-)?(s-)?dn|cf-access|bearer|passport"
    r"|cookies?|session|session-?id|csrf|xsrf"
    r"|user(?!-agent)|userid|username|userinfo|login|e-?mail|principal|identity|consumer|claims?"
    r"|groups?|roles?|scopes?|permissions?|device-id|member|employee|guest|player|profile|student"
    r"|act-as|actor|impersonate|owner|sub|subject|subject-dn|subscriber|uid"
    r"|tenant|tenantid|org|organi[sz]ation|account|customer|company|workspace|team|project|realm"
    r"|merchant|shop"
    r")(-|$)"
)
# What browsers alone set (Sec-Fetch-User), and what is for the gateway and goes no further.
_SAYS_NOTHING = re.compile(r"sec-|proxy-")


class RequestSender(NamedTuple):
    """The client whose request is passed on: its address, and how it reached the gateway."""

    address: str
    scheme: str
    host: str


def outgoing_fields(
    headers: MultiMapping[str],
    drop: frozenset[str] = frozenset(),
    is_allowed: Callable[[str], bool] | None = None,
) -> CIMultiDict[str]:
    """Return the fields of a client's request that may leave the gateway, without those in `drop`.

    Requests to origins, providers and upstreams begin with these; webhooks have no field of a
    client. Left out are the fields of the connection, those for this gateway alone, its cookies,
    the secrets in the URL of a page, and fields by which the server would see another request than
    the one that was admitted, except those for which `is_allowed` returns True.
    """
    fields = end_to_end(without_query_of_referer(headers), drop | _NOT_PASSED_ON)
    for name in {name for name in fields if _is_renaming(name) is not None}:
        if is_allowed is None or not is_allowed(name):
            del fields[name]
    drop_cookies(fields, _OWN_COOKIES)
    return fields


def request_fields(
    headers: MultiMapping[str],
    sender: RequestSender,
    via: str,
    *,
    drop: frozenset[str] = frozenset(),
    keyed: Collection[str] | None = None,
    is_allowed: Callable[[str], bool] | None = None,
) -> CIMultiDict[str]:
    """Return the `outgoing_fields` of a request for an origin, with its sender.

    A request with `keyed` is sent for all who send the same: what identifies the client
    is left out, except the fields named there, which are in the key.
    """
    if keyed is not None:
        names = frozenset(keyed)
        fields = outgoing_fields(headers, drop, lambda name: name.lower() in names)
        for name in {name.lower() for name in fields}.difference(_KEYED, names):
            if _UNKEYED.search(name) is not None:
                del fields[name]
    else:
        fields = outgoing_fields(headers, drop, is_allowed)
    _append(fields, "Via", via)
    _append(fields, "X-Forwarded-For", sender.address)
    fields["X-Forwarded-Proto"] = sender.scheme
    fields["X-Forwarded-Host"] = sender.host
    _append(fields, "Forwarded", _forwarded(sender))
    return fields


def check_text(fields: MultiMapping[str]) -> None:
    """Raise BadRequest for what aiohttp would change: it leaves out bytes that are not UTF-8."""
    for name, value in fields.items():
        if not is_utf8(value):
            raise BadRequest(f"the header {name} is not UTF-8 text")


def is_utf8(value: str) -> bool:
    """Return whether a field had only UTF-8; other bytes are surrogates after aiohttp's parser."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


_is_renaming = lru_cache(512)(_RENAMES.search)  # the names that clients send are few
# Each place that drops fields drops the same ones each time.
_with_those_of_the_hop = lru_cache(64)(_OF_THE_HOP.union)


def without_query_of_referer(headers: MultiMapping[str]) -> MultiMapping[str]:
    """Return a request's fields with only host and path of its `Referer`.

    The query of a page that reads streams may hold a token, under any name.
    """
    lines = headers.getall("Referer", ())
    if not any(_AROUND_PATH.search(line) for line in lines):
        return headers
    fields = CIMultiDict(headers)
    del fields["Referer"]
    fields.extend([("Referer", _AROUND_PATH.sub("", line)) for line in lines])
    return fields


def hop_names(headers: MultiMapping[str]) -> set[str]:
    """Return the fields that a message declares for its next hop only, in lower case."""
    return {
        name.strip().lower()
        for line in headers.getall("Connection", ())
        for name in line.split(",")
    }


def end_to_end(headers: MultiMapping[str], drop: frozenset[str] = frozenset()) -> CIMultiDict[str]:
    """Return the end-to-end fields of a message, without those in `drop`."""
    dropped = _with_those_of_the_hop(drop)
    if "Connection" in headers:
        dropped |= hop_names(headers)
    return CIMultiDict(
        [
            (name, value)
            for name, value in headers.items()
            # To many a server X_Forwarded_For is the same as X-Forwarded-For.
            if name.lower() not in dropped and "_" not in name
        ]
    )


def _append(fields: CIMultiDict[str], name: str, value: str) -> None:
    fields[name] = ", ".join([*fields.getall(name, ()), value])


def _forwarded(sender: RequestSender) -> str:
    host = f";host={_quoted(sender.host)}" if sender.host else ""
    return f"for={_node(sender.address)};proto={sender.scheme}{host}"


@lru_cache(1024)  # a client, or a proxy before us, sends many requests
def _node(address: str) -> str:
    try:
        version = ipaddress.ip_address(address.partition("%")[0]).version
    except ValueError:
        return "unknown"
    return address if version == 4 else f'"[{address}]"'


def _quoted(host: str) -> str:
    """Return a token as it is, anything else as a quoted string."""
    if _TOKEN.fullmatch(host):
        return host
    escaped = host.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def check_loop(headers: MultiMapping[str], via: str) -> None:
    """Refuse a request that has been here before, or has passed too many gateways."""
    if "Via" not in headers:
        return
    hops = [hop.strip() for line in headers.getall("Via", ()) for hop in line.split(",")]
    if via in hops:
        raise LoopDetected("the request has come back: an origin leads to this gateway itself")
    if len(hops) > MAX_HOPS:
        raise LoopDetected(f"the request has passed {len(hops)} gateways: an origin leads back")


def relocate(
    fields: CIMultiDict[str], located: Callable[[str], str | None], base_url: str = ""
) -> None:
    """Name places at the origin as clients find them; `located` knows their paths here.

    Of what is for many, a path has to do: they may have come by different schemes.
    """
    for name in ("Location", "Content-Location"):
        if name not in fields:
            continue
        path = located(fields[name])
        if path is not None:
            fields[name] = path if fields[name].startswith("/") else base_url + path


def without_commands(
    headers: MultiMapping[str], drop: frozenset[str] = frozenset()
) -> CIMultiDict[str]:
    """Return the end-to-end fields of a server's response for a client, without those in `drop`.

    Nor has it those that command the engine in front of the gateway: that would send a file of its
    own, or the response of another server, in place of the one that the client is admitted for.
    """
    fields = end_to_end(headers, drop | _OF_THE_SERVER)
    if _BUFFERING in fields:
        values = {value.strip(" \t").lower() for value in fields.popall(_BUFFERING)}
        if "no" in values:
            fields[_BUFFERING] = "no"
    return fields


def response_fields(headers: MultiMapping[str], via: str) -> CIMultiDict[str]:
    """Return the fields of an origin's response for the client."""
    fields = without_commands(headers)
    _append(fields, "Via", via)
    return fields


class IdentityHeaders:
    """The identifying headers: by their names, plus those `added`, minus those `dropped`.

    Case does not count. Where the gateway verifies credentials itself, the origin does not get
    them: `withheld` are the headers, and `cookie` names the cookie, that hold credentials.
    """

    def __init__(
        self, added: Iterable[str] = (), dropped: Iterable[str] = (), *, verified_cookie: str = ""
    ) -> None:
        self.cookie = verified_cookie
        self.withheld = frozenset({"authorization"} if verified_cookie else ())
        self._added = frozenset(name.lower() for name in added)
        self.dropped = frozenset(name.lower() for name in dropped) | self.withheld
        self._are = lru_cache(REMEMBERED_NAMES)(self._is_one)

    def _is_one(self, name: str) -> bool:
        name = name.lower()
        if name in self._added or name in self.dropped:
            return name not in self.dropped
        return _SAYS_WHO.search(name) is not None and _SAYS_NOTHING.match(name) is None

    def has(self, name: str) -> bool:
        """Return whether a header identifies its sender."""
        return self._are(name)

    def identifying_names(self, headers: MultiMapping[str]) -> list[str]:
        """Return the identifying headers of a request, in lower case; none if it is anonymous."""
        if not self.identifies(headers):
            return []
        return sorted({name.lower() for name in headers if self._are(name)})

    def identifies(self, headers: MultiMapping[str]) -> bool:
        """Return whether a request identifies its sender."""
        if not any(map(self._are, headers)):
            return False
        return not self.cookie or any(map(self._are, self.without_cookie(headers)))

    def without_cookie(self, headers: MultiMapping[str]) -> MultiMapping[str]:
        """Return the headers of a request without the cookie that is withheld."""
        if not self.cookie or not any(self.cookie in line for line in headers.getall("Cookie", ())):
            return headers
        fields = CIMultiDict(headers)
        drop_cookies(fields, (self.cookie,))
        return fields


def drop_cookies(fields: CIMultiDict[str], names: Collection[str]) -> None:
    """Take cookies out of the fields of a request, and with the last one the header."""
    lines = fields.getall("Cookie", ())
    if not any(name in line for line in lines for name in names):
        return
    pairs = [pair.strip() for line in lines for pair in line.split(";")]
    others = [pair for pair in pairs if pair and pair.partition("=")[0].rstrip() not in names]
    del fields["Cookie"]
    if others:
        fields["Cookie"] = "; ".join(others)
