"""Well-formed requests of every kind of route, with hostile values in the fields that are read."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from tests.fuzz.every_kind import (
    ANTHROPIC,
    BESIDE,
    EDGE,
    GUARDED,
    GUARDED_PROXY,
    HOSTED,
    JUDGED,
    OPENAI,
    OWN_KEY,
    PROXY,
    TOKEN,
)
from tests.support.processes import ROOT

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

_NAME = re.compile(r'"([A-Z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)+)(?:: )?"')
# What HTTP names with one word, and fields of which the sources have only a part of the name.
_OTHERS = (
    *("Accept", "Authorization", "Connection", "Cookie", "Expect", "Forwarded", "Host", "Origin"),
    *("Range", "Referer", "Te", "Trailer", "Upgrade", "Via", "Traceparent", "Tracestate"),
    *("X-Stainless-Lang", "OpenAI-Beta", "Anthropic-Version", "Mcp-Session-Id", "X-F"),
)
_SOURCES = ("gateway", "admin")


class HeaderTarget(NamedTuple):
    """A request that is valid without hostile fields."""

    method: str
    target: str
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


def conversation(targets: Sequence[HeaderTarget], chance: random.Random) -> list[bytes]:
    """Return the requests of one connection."""
    return [_hostile(chance, chance.choice(targets)) for _ in range(chance.randint(1, 4))]


@cache
def field_names() -> tuple[str, ...]:
    """Return the names of header fields in the sources of the gateway and its console."""
    found = set(_OTHERS)
    for package in _SOURCES:
        for file in (ROOT / package).rglob("*.py"):
            found.update(_NAME.findall(file.read_text()))
    return tuple(sorted(found))


def _hostile(chance: random.Random, wanted: HeaderTarget) -> bytes:
    """Return a request in which one to three fields have a hostile value, or are there twice."""
    lines = [b"%b: %b" % (name.encode(), value.encode()) for name, value in wanted.fields]
    own = [name for name, _ in wanted.fields]
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        name = chance.choice(own if own and chance.random() < 0.4 else field_names())
        if name in own and chance.random() < 0.8:
            lines = [
                one for one in lines if not one.lower().startswith(f"{name.lower()}:".encode())
            ]
        right = dict(wanted.fields).get(name, "")
        lines.append(b"%b: %b" % (name.encode(), _value(chance, right.encode())))
    chance.shuffle(lines)
    if not any(line.lower().startswith(b"host:") for line in lines):
        lines.insert(0, b"Host: localhost")
    if wanted.body or wanted.method in {"POST", "PUT", "PATCH"}:
        lines.append(b"Content-Length: %d" % len(wanted.body))
    head = f"{wanted.method} {wanted.target} HTTP/1.1".encode()
    return b"\r\n".join([head, *lines, b"", b""]) + wanted.body


def _value(chance: random.Random, right: bytes) -> bytes:
    """Return a hostile value, alone or around the right one."""
    value = chance.choice(_VALUES)
    if chance.random() < 0.2:
        value = bytes(chance.randrange(0x80, 0x100) for _ in range(chance.randint(1, 8)))
    match chance.randrange(6):
        case 0:
            return right + value
        case 1:
            at = chance.randrange(len(right) + 1)
            return right[:at] + value + right[at:]
        case 2:
            prefix = chance.choice((b"Bearer ", b"Basic ", b"W/", b"bytes=", b"for=", b"max-age="))
            return prefix + value
        case 3:
            return value + b"," + chance.choice(_VALUES)
        case _:
            return value


_HOSTILE: tuple[str | bytes, ...] = (
    *(b"\xff", b"\x80", b"\xc3", b"a\xe9b", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\xef\xbb\xbf"),
    *("\u00e9", "\u0663", "\u00b2", "\u2028", "\uff11", "\u0130", "\u00df", "\U0001d7d8"),
    *("", " ", "\t", ",", ",,", ";", "=", '"', '""', '"\\', "'", "\\", "(", "<", "[", "{}", "[]"),
    *("0", "-1", "+1", "00", "1e3", "0x1", "1_0", " 1 ", "1.5", "NaN", "inf", "true", "TRUE"),
    *("9" * digits for digits in (10, 16, 19, 20, 39, 310, 4301)),
    *("%", "%ff", "%00", "%zz", "..", "/", "//", "*", "a" * 300, "a" * 8000, "a, " * 2000),
    *("=?utf-8?q?=ff?=", "utf-8''%ff", "a;b=c;d", "a=b; c=d; e", "\x01", "\x7f", "a\tb"),
    *("Bearer", "Bearer ", "Bearer a b", "Basic", "Basic =", "Basic /w==", f"Bearer {TOKEN}"),
    *("http://[", "http://a:99999", "http://\u00e9", "null", "file:///", "http://127.0.0.1:0/"),
    *("[::1", "1.2.3.4.5", "999.0.0.1", "for=[::1", 'for="\\"', "unknown", "_a"),
    *("Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 99 Jan 99999 99:99:99 GMT", "2030-01-01T00:00:00Z"),
    *("9999-12-31T23:59:60.9999999999+23:59", "0000-00-00T00:00:00Z", "bytes=0-", "bytes=9-1"),
    *('W/"a"', '"a', 'W/"\u00e9"', "text/plain", "text/\u00e9", "a/b;c=\u00e9", "application/json"),
    *("00-" + "a" * 32 + "-" + "b" * 16 + "-01", "00-" + "\u0663" * 32 + "-" + "1" * 16 + "-01"),
    *("gzip", "gzip;q=x", "gzip, \u00e9", "chunked", "close", "upgrade", "100-continue"),
    *("-1", "now", "0000000000000000_0000000000000000", "9" * 16 + "_" + "9" * 16, "2026-07-28"),
)
_VALUES = tuple(it if isinstance(it, bytes) else it.encode() for it in _HOSTILE)

# ---------------------------------------------------------------- valid requests

_AUTHORIZED = (("Authorization", f"Bearer {TOKEN}"),)
_TEXT, _JSON = ("Content-Type", "text/plain"), ("Content-Type", "application/json")
_PAGE = ("Accept", "text/html")
_PRODUCER = (("Producer-Id", "p"), ("Producer-Epoch", "0"), ("Producer-Seq", "0"))
_CHAT = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"a"}]}'
_WHOLE = b'{"model":"m","messages":[{"role":"user","content":"a"}]}'
_MCP = b'{"jsonrpc":"2.0","id":1,"method":"events/list","params":{}}'
_MCP_STREAM = b'{"jsonrpc":"2.0","id":1,"method":"events/poll","params":{"name":"stream.appended"}}'
_HOOK = b'{"type":"webhook","pattern":"*","webhook":{"url":"http://127.0.0.1:9/"}}'
_PULL = b'{"type":"pull-wake","pattern":"*","wake_stream":"wakes"}'


def _streams(prefix: str, fields: tuple[tuple[str, str], ...] = ()) -> Iterator[HeaderTarget]:
    """Yield requests of every operation on a stream."""
    one = f"{prefix}/hostile"
    for query in (
        "",
        "?offset=-1",
        "?offset=now",
        "?offset=-1&view=sse",
        "?offset=-1&view=compact",
    ):
        yield HeaderTarget("GET", one + query, (*fields, ("If-None-Match", '"a"')))
    yield HeaderTarget("GET", f"{one}?offset=now&live=sse", (*fields, ("Last-Event-ID", "-1")))
    yield HeaderTarget("GET", f"{one}?offset=-1&live=long-poll", (*fields, ("Range", "bytes=0-1")))
    yield HeaderTarget("HEAD", one, fields)
    yield HeaderTarget("OPTIONS", one, (("Access-Control-Request-Method", "PUT"),))
    ttl = ("Stream-TTL", "60"), ("Stream-Expires-At", "2030-01-01T00:00:00Z"), ("Stream-Closed", "")
    for lifetime in ttl:
        yield HeaderTarget("PUT", one, (*fields, _TEXT, lifetime), b"text")
    fork = ("Stream-Forked-From", one), ("Stream-Fork-Offset", "-1")
    yield HeaderTarget("PUT", f"{prefix}/forked", (*fields, _TEXT, *fork))
    for numbers in ((), _PRODUCER, (("Stream-Seq", "a"),)):
        yield HeaderTarget("POST", one, (*fields, _TEXT, *numbers), b"text")
    yield HeaderTarget("POST", f"{prefix}/closed", (*fields, ("Stream-Closed", "true")))
    yield HeaderTarget("POST", one, (*fields, _JSON, ("X-Stream-Multi", "true")), b"\0\0\0\x011")
    yield HeaderTarget("DELETE", f"{prefix}/forked", fields)


def _controls(prefix: str, fields: tuple[tuple[str, str], ...] = ()) -> Iterator[HeaderTarget]:
    """Yield requests to the control paths of a route, and to its /mcp."""
    path = f"{prefix}/__ds/subscriptions"
    for name, body in (("hook", _HOOK), ("pull", _PULL)):
        yield HeaderTarget("PUT", f"{path}/{name}", (*fields, _JSON), body)
        yield HeaderTarget("GET", f"{path}/{name}", fields)
    yield HeaderTarget("POST", f"{path}/pull/claim", (*fields, _JSON), b'{"worker":"w"}')
    yield HeaderTarget("POST", f"{path}/hook/ack", (*_AUTHORIZED, _JSON), b"{}")
    yield HeaderTarget("POST", f"{path}/hook/streams", (*fields, _JSON), b'{"streams":["a"]}')
    yield HeaderTarget("DELETE", f"{path}/hook", fields)
    yield HeaderTarget("GET", f"{prefix}/__ds/jwks.json", fields)
    mcp = ("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", "events/list")
    for body in (_MCP, _MCP_STREAM):
        yield HeaderTarget("POST", f"{prefix}/mcp", (*fields, _JSON, *mcp), body)


def _model(prefix: str, *fields: tuple[str, str]) -> Iterator[HeaderTarget]:
    """Yield requests of every kind to a provider of models."""
    key = ("Idempotency-Key", "one"), ("Last-Event-ID", "0000000000000000_0000000000000000")
    paths = ("/v1/messages",) if "X-Api-Key" in dict(fields) else ("/v1/chat/completions",)
    for path in (*paths, "/v1/responses"):
        yield HeaderTarget("POST", prefix + path, (*fields, _JSON, key[0]), _CHAT)
        yield HeaderTarget("POST", prefix + path, (*fields, _JSON, *key), _CHAT)
        named = ("Headgate-Stream", "chat")
        yield HeaderTarget("POST", prefix + path, (*fields, _JSON, named), _CHAT)
        yield HeaderTarget("POST", prefix + path, (*fields, _JSON), _WHOLE)
    yield HeaderTarget("GET", f"{prefix}/v1/models", fields)
    yield HeaderTarget("GET", f"{prefix}/v1/responses/resp_1?stream=true&starting_after=1", fields)
    yield HeaderTarget("GET", f"{prefix}/v1/responses/resp_1", fields)
    yield HeaderTarget("OPTIONS", prefix + paths[0], (("Access-Control-Request-Method", "POST"),))


def _proxied(prefix: str, url: str, fields: tuple[tuple[str, str], ...]) -> Iterator[HeaderTarget]:
    """Yield requests to a proxy."""
    upstream = ("Upstream-URL", f"{url}/v1/chat/completions"), ("Upstream-Method", "POST")
    yield HeaderTarget("POST", prefix, (*fields, *upstream), _CHAT)
    authorized = ("Upstream-Authorization", "Bearer x"), ("Content-Type", "application/json")
    yield HeaderTarget("POST", prefix, (*fields, *upstream, *authorized), _CHAT)
    for method in ("GET", "HEAD", "PATCH", "DELETE", "OPTIONS"):
        yield HeaderTarget(method, f"{prefix}/one?action=abort", fields)


def stream_headers(upstream: str) -> tuple[HeaderTarget, ...]:
    """Return the requests to the listener of the streams."""
    return (
        *_streams(HOSTED),
        *_streams(GUARDED, _AUTHORIZED),
        *_streams(EDGE),
        *_streams(JUDGED, (("Authorization", "Bearer x"), ("Cookie", "a=b"))),
        *_controls(HOSTED),
        *_controls(GUARDED, _AUTHORIZED),
        *_controls(EDGE),
        *_model(OPENAI, ("Authorization", "Bearer sk-mine")),
        *_model(ANTHROPIC, ("X-Api-Key", "sk-mine")),
        *_model(OWN_KEY, ("Authorization", f"Bearer {TOKEN}")),
        *_model(BESIDE, ("Authorization", "Bearer sk-mine"), ("Headgate-Token", TOKEN)),
        *_proxied(PROXY, upstream, ()),
        *_proxied(GUARDED_PROXY, upstream, _AUTHORIZED),
        HeaderTarget("GET", "/", (("Accept", "text/html"),)),
        HeaderTarget("GET", "/healthz"),
    )


def admin_headers() -> tuple[HeaderTarget, ...]:
    """Return the requests to the admin listener: every page, and every operation of the API."""
    from headgate_admin.api.openapi import OPERATIONS
    from headgate_admin.pages.views import pages

    reads = [HeaderTarget("GET", path, _AUTHORIZED) for path in ("/healthz", "/readyz", "/metrics")]
    fields = (*_AUTHORIZED, _JSON, ("X-CSRF-Token", "x"))
    forms = (*fields[:1], ("Content-Type", "application/x-www-form-urlencoded"))
    return (
        *reads,
        *(HeaderTarget("GET", it.path, (*_AUTHORIZED, _PAGE)) for it in pages()),
        *(HeaderTarget("POST", it.path, forms, b"csrf=x") for it in pages() if it.submit),
        *(
            HeaderTarget(
                it.method,
                f"{it.path}?route={HOSTED}&name=hostile",
                fields if it.body else _AUTHORIZED,
                b"{}" if it.body else b"",
            )
            for it in OPERATIONS
        ),
        HeaderTarget("POST", "/sign-in", forms[1:], b"name=a&password=b&next=/"),
        HeaderTarget("GET", "/sign-in", (("Cookie", "headgate_session=x"),)),
        HeaderTarget("GET", "/static/style.css"),
    )
