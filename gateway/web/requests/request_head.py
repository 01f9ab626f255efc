"""What the head of a request says of itself: its id, its target and its host."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from aiohttp.http import HttpVersion10, HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError, InvalidHeader, InvalidURLError, LineTooLong
from multidict import istr

from gateway.errors import BadRequest, HeadTooLarge, NotOffered
from gateway.protocol.http.forwarding import SCHEME
from gateway.protocol.http.header_names import CLOSED, FORKED_FROM, MULTI
from gateway.protocol.http.paths import canonical_host
from gateway.protocol.http.target import canonical_target

if TYPE_CHECKING:
    from aiohttp.http_parser import RawRequestMessage
    from multidict import MultiMapping

    from gateway.runtime.served_hosts import ServedHosts
    from gateway.web.requests.request import Request

_HOST = re.compile(r"(?:[A-Za-z0-9._~-]+|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])(?::(?P<port>[0-9]{0,5}))?")
LAST_PORT = 65535
SHOWN_CHARACTERS = 128  # of a Host that is refused: names are up to 253, and mistakes show sooner
_SCHEMES = frozenset({"http", "https"})
_NAMED = re.compile(r"(?:Duplicate|Missing) '[A-Za-z0-9-]{1,64}' header")  # of those it knows
_QUOTED = re.compile(r"b?['\"]")
# Fields with one value, by which streams are read and written: two lines of one would mean one
# thing here and another at an origin (RFC 9110 section 5.3). Those of HTTP itself aiohttp's parser
# refuses, and Authorization `access.credentials`.
_ONCE = tuple(
    map(
        istr,
        (
            *("Producer-Id", "Producer-Epoch", "Producer-Seq", "Stream-Seq", CLOSED, MULTI),
            *("Stream-TTL", "Stream-Expires-At", FORKED_FROM, "Stream-Fork-Offset"),
            *("Stream-Fork-Sub-Offset", "Last-Event-ID", "Origin"),
        ),
    )
)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


def asked_id(request: Request) -> str | None:
    """The id that the client gives its request, when it is one that a log line can hold."""
    if request.fields.are_known:
        return request.own.id
    asked = request.headers.get("X-Request-Id", "")
    return asked if _REQUEST_ID.fullmatch(asked) else None


@lru_cache(maxsize=1024)
def is_host(named: str) -> bool:
    """Whether a Host field is one that a URL could hold (RFC 3986 section 3.2); it may be empty."""
    return not named or _fault_of_host(named) is None


def is_plain(message: RawRequestMessage, hosts: ServedHosts) -> bool:
    """Whether nothing of a request's version, upgrade, framing and Host takes a closer look."""
    is_spoken = message.version is HttpVersion11 or message.version is HttpVersion10
    if message.upgrade or not is_spoken:
        return False
    if message.version is HttpVersion10 and not message.should_close:
        return False
    if "Transfer-Encoding" in message.headers or _said_twice(message.headers) is not None:
        return False
    host = message.headers.get("Host", "")
    return is_host(host) and hosts.serves(host)


def _said_twice(headers: MultiMapping[str]) -> str | None:
    """A field that is there more than once, though it has one value."""
    for name in _ONCE:
        if name in headers and len(headers.getall(name)) > 1:
            return name
    return None


def _fault_of_host(named: str) -> str | None:
    match = _HOST.fullmatch(named)
    if match is None:
        return "it is not HOST or HOST:PORT"
    if int(match["port"] or 0) > LAST_PORT:
        return f"its port is above {LAST_PORT}"
    if match["ipv6"] is not None and not _is_ipv6(match["ipv6"]):
        return "what is in its brackets is no IPv6 address"
    return None


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def host(request: Request) -> str:
    """The host that the client asked for, in one spelling; empty when it does not say."""
    return canonical_host(request.headers.get("Host", ""))


def is_own_page(request: Request, origin: str) -> bool:
    """Whether a web origin is the host that was asked, of whatever scheme.

    A page of another cannot set X-Forwarded-Host without asking first.
    """
    kind, _, named = origin.lower().partition("://")
    hosts = (
        request.headers.get("Host", ""),
        request.headers.get("X-Forwarded-Host", "").partition(",")[0].strip(),
    )
    return kind in _SCHEMES and _without_port(named) in {
        _without_port(one.lower()) for one in hosts if one
    }


def _without_port(named: str) -> str:
    """The ports that need not be said, left out."""
    return named.removesuffix(":80").removesuffix(":443").removesuffix(":")


def check(request: Request) -> None:
    """Refuse what aiohttp's parser lets through (RFC 9112 sections 2.3, 3.2 and 6.1)."""
    if request.version not in {HttpVersion10, HttpVersion11}:
        raise BadRequest("only HTTP/1.0 and HTTP/1.1 are spoken here")
    named = request.headers.get("Host", "")
    if not is_host(named):
        shown = ascii(named[:SHOWN_CHARACTERS])
        raise BadRequest(f"Host {shown} names no host: {_fault_of_host(named)}")
    if (twice := _said_twice(request.headers)) is not None:
        raise BadRequest(f"{twice} is given more than once")
    codings = request.headers.getall("Transfer-Encoding", ())
    if codings and request.version == HttpVersion10:
        raise BadRequest("HTTP/1.0 has no Transfer-Encoding")
    if not all(map(str.strip, codings)):
        raise BadRequest("Transfer-Encoding names no coding")
    if codings and [coding.strip().lower() for coding in codings] != ["chunked"]:
        raise NotOffered("of the transfer codings only chunked is understood")


def scheme(request: Request) -> str:
    """The client's, of which only a proxy before us knows when it is https.

    Anybody may say so: what it changes is for nobody but who asks.
    """
    return scheme_of(request.headers, SCHEME)


def scheme_of(headers: MultiMapping[str], ours: str) -> str:
    """The same by the headers of a request that has come to us by a scheme of `ours`."""
    told = headers.get("X-Forwarded-Proto", "").partition(",")[0].strip().lower()
    return told if told in _SCHEMES else ours


def base_url(request: Request) -> str:
    """Where the client finds this server; empty when it does not say."""
    return base_of(request.headers, SCHEME)


def base_of(headers: MultiMapping[str], ours: str) -> str:
    """The same by the headers of a request."""
    named = canonical_host(headers.get("Host", ""))
    return f"{scheme_of(headers, ours)}://{named}" if named else ""


def refusal(error: HttpProcessingError) -> BadRequest | HeadTooLarge:
    """Aiohttp's refusal of a head in our terms."""
    if isinstance(error, LineTooLong):
        if "line" in error.message.lower() and "header" not in error.message.lower():
            return BadRequest("the request line is too long")
        return HeadTooLarge("the request line or a header line is too long")
    if "many headers" in error.message:
        return HeadTooLarge("there are too many header lines")
    return BadRequest(f"not valid HTTP: {_reason(error)}")


def bad_body(error: Exception) -> BadRequest:
    """Aiohttp's refusal of a body in our terms."""
    return BadRequest(f"the body is not valid HTTP: {_reason(error)}")


def _reason(error: Exception) -> str:
    """What the parser says, without what it quotes: that could be a token, or the next request."""
    if isinstance(error, InvalidURLError):
        return "the target is no URL"
    if isinstance(error, InvalidHeader):
        return "a header line is malformed"
    said = error.message if isinstance(error, HttpProcessingError) else str(error)
    named = _NAMED.match(said)
    words = named[0] if named is not None else _QUOTED.split(said, maxsplit=1)[0]
    return " ".join(words.split()).rstrip(": ")


def target(request: Request) -> str:
    """The target in its one form, or `*`, which is the server itself. Raises BadRequest."""
    raw = request.target
    return raw if raw == "*" else canonical_target(raw, request.headers.get("Host", ""))


def end_of_head(part: bytes | bytearray, data: bytes, begin: int) -> int:
    """Where the head ends that `begin`s in the data, behind a part that came before.

    It is the end of the data where it is not whole.
    """
    if part:
        seam = part[-3:] + data[begin : begin + 3]
        found = seam.find(b"\r\n\r\n")
        if found >= 0:
            return begin + found + 4 - min(3, len(part))
    found = data.find(b"\r\n\r\n", begin)
    return len(data) if found < 0 else found + 4


def is_plain_line(head: bytes | bytearray) -> bool:
    """Whether one blank is between the parts of a request line (RFC 9112 section 3).

    The parser lets more of them through, which others might read as an empty target.
    """
    return b"  " not in head or b"  " not in head.lstrip(b"\r\n").partition(b"\r\n")[0]
