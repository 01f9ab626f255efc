"""aiohttp's parser, and checked values of a request's head: its id, target, host and scheme."""

from __future__ import annotations

import hmac
import ipaddress
import re
from functools import lru_cache
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, HttpVersion10, HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError, InvalidHeader, InvalidURLError, LineTooLong
from aiohttp.web import RequestPayloadError
from multidict import CIMultiDict, CIMultiDictProxy, istr

from headgate_gateway.errors import (
    BadRequest,
    HeadTooLarge,
    NotOffered,
    StartError,
    WebSocketNotOffered,
)
from headgate_gateway.protocol.http.forwarding import SCHEME, is_utf8
from headgate_gateway.protocol.http.header_names import (
    CLOSED,
    CONSOLE_FIELD,
    FORKED_FROM,
    MULTI,
    PROVIDER_KEYS,
)
from headgate_gateway.protocol.http.paths import canonical_host, canonical_target

if TYPE_CHECKING:
    import asyncio
    from asyncio import BaseTransport

    from aiohttp.http_parser import RawRequestMessage
    from multidict import MultiMapping

    from headgate_gateway.routes.services import ServedHosts
    from headgate_gateway.web.requests.request import Request


_HOST = re.compile(r"(?:[A-Za-z0-9._~-]+|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])(?::(?P<port>[0-9]{0,5}))?")
LAST_PORT = 65535
SHOWN_CHARACTERS = 128  # of a refused Host, in the error; most mistakes show within these
METHOD_BYTES = 64  # of a head, in which its method ends, also after some empty lines
_SCHEMES = frozenset({"http", "https"})
_NAMED = re.compile(r"(?:Duplicate|Missing) '[A-Za-z0-9-]{1,64}' header")  # by aiohttp
_QUOTED = re.compile(r"(?<![a-z])b?['\"]")  # but not the apostrophe in "can't"
# Protocol fields with one value: an origin might read two lines in another way than this server
# (RFC 9110 section 5.3). aiohttp's parser refuses repeated fields of HTTP itself, and
# `access.credentials` a repeated Authorization.
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
# Fields that this server itself reads as text, credentials among them. In others bytes that are not
# UTF-8 are Latin-1 or opaque (RFC 9110 section 5.5): nothing here depends on them.
_TEXTS = re.compile(
    r"(?:headgate|mcp|producer|stream|upstream)-.+"
    rf"|authorization|idempotency-key|last-event-id|x-stream-multi|{'|'.join(PROVIDER_KEYS)}",
    re.IGNORECASE,
)


@lru_cache(maxsize=1024)
def is_host(named: str) -> bool:
    """Return whether a Host is empty, or valid in a URL (RFC 3986 section 3.2)."""
    return not named or _fault_of_host(named) is None


def is_plain(message: RawRequestMessage, hosts: ServedHosts) -> bool:
    """Return whether version, upgrade, framing and Host of a request need no full check."""
    is_spoken = message.version is HttpVersion11 or message.version is HttpVersion10
    if message.upgrade or not is_spoken:
        return False
    if message.version is HttpVersion10 and not message.should_close:
        return False
    if "Transfer-Encoding" in message.headers or _fault_of_fields(message.headers) is not None:
        return False
    host = message.headers.get("Host", "")
    return is_host(host) and hosts.serves(host)


def _fault_of_fields(headers: MultiMapping[str]) -> str | None:
    """Return what is wrong with a field: it has one value and comes twice, or it is not text."""
    for name in _ONCE:
        if name in headers and len(headers.getall(name)) > 1:
            return f"{name} is given more than once"
    if not all(map(str.isascii, headers.values())):
        for sent, value in headers.items():
            if not is_utf8(value) and _TEXTS.fullmatch(sent) is not None:
                return f"{sent} has bytes that are not UTF-8"
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
    """Return the canonical host of a request; empty if it has no Host."""
    return canonical_host(request.headers.get("Host", ""))


def is_same_host(request: Request, origin: str) -> bool:
    """Return whether a web origin has the requested host, with any scheme.

    A page of another origin cannot set X-Forwarded-Host without a CORS preflight.
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
    """Return a host without a default port."""
    return named.removesuffix(":80").removesuffix(":443").removesuffix(":")


def check(request: Request) -> None:
    """Refuse bad heads that aiohttp's parser accepts (RFC 9112 sections 2.3, 3.2 and 6.1)."""
    if request.version not in {HttpVersion10, HttpVersion11}:
        raise BadRequest("only HTTP/1.0 and HTTP/1.1 are spoken here")
    named = request.headers.get("Host", "")
    if not is_host(named):
        quoted = ascii(named[:SHOWN_CHARACTERS])
        raise BadRequest(f"Host {quoted} names no host: {_fault_of_host(named)}")
    if (fault := _fault_of_fields(request.headers)) is not None:
        raise BadRequest(fault)
    codings = request.headers.getall("Transfer-Encoding", ())
    if codings and request.version == HttpVersion10:
        raise BadRequest("HTTP/1.0 has no Transfer-Encoding")
    if not all(map(str.strip, codings)):
        raise BadRequest("Transfer-Encoding names no coding")
    if codings and [coding.strip().lower() for coding in codings] != ["chunked"]:
        raise NotOffered("of the transfer codings only chunked is understood")


def scheme(request: Request) -> str:
    """Return the scheme that the client used, which X-Forwarded-Proto may override.

    Any client may set that field: it changes only its own response.
    """
    return scheme_of(request.headers, scheme_by(request.transport))


def scheme_by(transport: BaseTransport | None) -> str:
    """Return the scheme by which the requests of a connection come."""
    is_tls = transport is not None and transport.get_extra_info("sslcontext") is not None
    return "https" if is_tls else SCHEME


def scheme_of(headers: MultiMapping[str], ours: str) -> str:
    """Return the scheme in X-Forwarded-Proto, or else `ours`, by which the request came."""
    forwarded = headers.get("X-Forwarded-Proto", "").partition(",")[0].strip().lower()
    return forwarded if forwarded in _SCHEMES else ours


def base_url(request: Request) -> str:
    """Return the URL at which the client reaches this server; empty without a Host."""
    return base_of(request.headers, scheme_by(request.transport))


def base_of(headers: MultiMapping[str], ours: str) -> str:
    """Return the base URL by the headers of a request that came by the scheme `ours`."""
    named = canonical_host(headers.get("Host", ""))
    return f"{scheme_of(headers, ours)}://{named}" if named else ""


def refusal(error: HttpProcessingError) -> BadRequest | HeadTooLarge:
    """Return the error for a head that aiohttp's parser refused."""
    if isinstance(error, LineTooLong):
        if "line" in error.message.lower() and "header" not in error.message.lower():
            return BadRequest("the request line is too long")
        return HeadTooLarge("the request line or a header line is too long")
    if "many headers" in error.message:
        return HeadTooLarge("there are too many header lines")
    return BadRequest(f"not valid HTTP: {_reason(error)}")


def bad_body(error: Exception) -> BadRequest:
    """Return the error for a body that aiohttp's parser refused."""
    return BadRequest(f"the body is not valid HTTP: {_reason(error)}")


def _reason(error: Exception) -> str:
    """Return the parser's message without what it quotes, such as a token."""
    if isinstance(error, InvalidURLError):
        return "the target is no URL"
    if isinstance(error, InvalidHeader):
        return "a header line is malformed"
    text = error.message if isinstance(error, HttpProcessingError) else str(error)
    named = _NAMED.match(text)
    words = named[0] if named is not None else _QUOTED.split(text, maxsplit=1)[0]
    return " ".join(words.split()).rstrip(": ")


def target(request: Request) -> str:
    """Return the canonical target, or `*` for the server itself. Raises BadRequest."""
    raw = request.target
    return raw if raw == "*" else canonical_target(raw, request.headers.get("Host", ""))


def end_of_head(part: bytes | bytearray, data: bytes, start: int) -> int:
    """Return the position after a head that begins with `part` and goes on at `start`.

    Return the length of `data` if the head is not complete.
    """
    if part:
        seam = part[-3:] + data[start : start + 3]
        found = seam.find(b"\r\n\r\n")
        if found >= 0:
            return start + found + 4 - min(3, len(part))
    found = data.find(b"\r\n\r\n", start)
    return len(data) if found < 0 else found + 4


def begins_head(beginning: bytearray) -> bool:
    """Return whether a request that begins so is a HEAD, whatever is wrong with the rest of it."""
    return beginning[:METHOD_BYTES].lstrip(b"\r\n").startswith(b"HEAD ")


def is_plain_line(head: bytes | bytearray) -> bool:
    """Return whether single spaces separate the parts of the request line (RFC 9112 section 3).

    aiohttp's parser accepts more, which a proxy might read as an empty target.
    """
    return b"  " not in head or b"  " not in head.lstrip(b"\r\n").partition(b"\r\n")[0]


def refuse_websocket(request: Request) -> None:
    """Raise WebSocketNotOffered for the handshake of a WebSocket (RFC 6455 section 4.1).

    A proxy in front may have dropped `Upgrade`, but not the key. Any other `Upgrade` is ignored
    (RFC 9110 section 7.8).
    """
    offered = ",".join(request.headers.getall("Upgrade", ())).lower().split(",")
    if "Sec-WebSocket-Key" in request.headers or "websocket" in map(str.strip, offered):
        raise WebSocketNotOffered


BODY_BUFFER_BYTES = 256 * 1024  # of a body; at twice as much, reading is paused
MOST_HEADER_LINES = 128
LONGEST_LINE = 8190  # bytes of the request line, and of a header line
_SAMPLE = b"POST /s?a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"


def request_parser(protocol: BaseProtocol, loop: asyncio.AbstractEventLoop) -> HttpRequestParser:
    """Return a parser for the requests of one connection."""
    return HttpRequestParser(
        protocol,
        loop,
        BODY_BUFFER_BYTES,
        max_line_size=LONGEST_LINE,
        max_field_size=LONGEST_LINE,
        max_headers=MOST_HEADER_LINES,
        payload_exception=RequestPayloadError,
        auto_decompress=False,
        # A parser that returns several requests at a time loses them all if the next is malformed.
        max_msg_queue_size=1,
    )


def check_parser(loop: asyncio.AbstractEventLoop) -> None:
    """Parse a sample. Raises StartError if aiohttp's parser behaves differently."""
    protocol = BaseProtocol(loop)
    try:
        protocol._parser = parser = request_parser(protocol, loop)
        messages, is_upgraded, rest = parser.feed_data(_SAMPLE)
        parser.message_consumed()
        ((message, body),) = messages
        parsed = (message.method, message.path, message.headers["Host"], body.read_nowait())
        flags = (message.should_close, message.upgrade, message.chunked, is_upgraded, bool(rest))
        is_known = parsed == ("POST", "/s?a", "a", b"ab") and body.is_eof() and not any(flags)
    except (AttributeError, LookupError, TypeError, ValueError):
        is_known = False
    if not is_known:
        raise StartError(
            f"aiohttp {aiohttp.__version__} parses requests in another way than this version of"
            " Headgate knows: install the aiohttp that requirements/run.txt names"
        )


def without_mark(message: RawRequestMessage, mark: str) -> RawRequestMessage:
    """Return a request of the console without its mark, which nobody gets to see.

    Raises BadRequest for any other mark, and where there is none.
    """
    sent = message.headers.getall(CONSOLE_FIELD)
    if (
        not mark
        or len(sent) > 1
        or not hmac.compare_digest(sent[0].encode(errors="surrogateescape"), mark.encode())
    ):
        raise BadRequest(f"the header field {CONSOLE_FIELD} is unknown here: leave it out")
    headers = CIMultiDict(message.headers)
    del headers[CONSOLE_FIELD]
    name = CONSOLE_FIELD.lower().encode()
    raw = tuple(it for it in message.raw_headers if it[0].lower() != name)
    return message._replace(headers=CIMultiDictProxy(headers), raw_headers=raw)
