"""Valid requests of every operation, and the ways in which they are spoilt."""

from __future__ import annotations

import itertools
import json
import re
from typing import TYPE_CHECKING

from tests.support.multi_append import framed

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    Mutation = Callable[[random.Random, bytes], bytes]

PREFIX = "/v1/stream"
NAMES = ("a", "b", "j", "forked", "gone", "p/q")
"""Few, so that requests meet on the same streams; none of them is `probe`."""

_LONG = 200_000
_OFFSETS = (
    "-1",
    "now",
    "0",
    "0_0",
    "9" * 19,
    "9" * 40,
    "-2",
    "",
    "%00",
    "x" * 300,
    "-1&offset=now",
)
_CURSORS = ("", "0", "7", "-1", "1.5", "nine", *("9" * digits for digits in (9, 18, 19, 20, 400)))
_HOSTS = (
    *("[1]", "[::1", "::1]", "", " ", "u:p@localhost", "localhost:", "localhost:99999", "a b"),
    *("a,b", "\u00e9", "[::1]", "[::1]:80", "[v1.x]", "%6c", "a" * 300, "localhost\x00", "@", "[]"),
)
_FIELDS = (
    *("Content-Length: -1", "Content-Length: 5, 6", "Content-Length: +5", "Content-Length: 99999"),
    *("Transfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked", "Transfer-Encoding:"),
    *("Expect: 100-continue", "Expect: 200-maybe", "Upgrade: websocket", "Connection: close"),
    *("Connection: upgrade", "Connection: keep-alive, x", "Range: bytes=0-0", "Range: bytes=9-1"),
    *("If-None-Match: *", 'If-None-Match: "', 'If-None-Match: W/"a", "b"', "If-Match: *"),
    *("If-Modified-Since: yesterday", "Stream-Closed: true", "Stream-Closed: perhaps"),
    *("Stream-TTL: 0", "Stream-TTL: -1", f"Stream-TTL: {'9' * 30}", "Stream-Expires-At: never"),
    *("Stream-Seq: a", "Stream-Seq:", "Producer-Id: p", "Producer-Epoch: 0", "Producer-Seq: 0"),
    *(f"Producer-Seq: {'9' * 20}", "Producer-Epoch: -1", "Producer-Id:", "Last-Event-ID: 0"),
    *("Stream-Forked-From: /v1/stream/a", "Stream-Forked-From: ..", "Stream-Fork-Offset: -1"),
    *("Stream-Fork-Offset: 0_0", "Content-Type:", "Content-Type: ;", "Content-Type: \u00e9/x"),
    *("Content-Encoding: gzip", "Cache-Control: no-cache", "Cache-Control: max-age=x, ="),
    *("Authorization: Bearer x", "Cookie: a=b", "Origin: null", "Origin: http://[", "Via: 1.1 x"),
    *("X-Forwarded-Proto: https, x", "Forwarded: for=", "Accept-Encoding: gzip;q=x", "Accept: ,"),
    "Headgate-For-Nginx: 1",
    *("Access-Control-Request-Method: PUT", "No colon", " folded", ": nameless", "a\x00b: c"),
)
_SNIPPETS = (
    *(b"\0", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"%", b"%zz", b"%ff", b"%2e%2e/", b"//", b"\xff"),
    *(b"\xc3\xa9", b";", b"?", b"#", b"&", b"=", b" ", b"\t", b":", b",", b'"', b"-1", b"9" * 19),
)


def valid(chance: random.Random) -> bytes:
    """A request that keeps the protocol."""
    return chance.choice(_KINDS)(chance)


def conversation(chance: random.Random, *, spoilt: bool) -> list[bytes]:
    """What one connection sends: some requests, one by one or pipelined."""
    requests = []
    for _ in range(chance.randint(1, 5)):
        request = valid(chance)
        requests.append(spoiled(chance, request) if spoilt else request)
    return [b"".join(requests)] if chance.random() < 0.3 else requests


def spoiled(chance: random.Random, request: bytes) -> bytes:
    """Return a request with none, one or some of its bytes, lines and values made wrong."""
    for _ in range(chance.choice((0, 0, 0, 1, 1, 2, 4))):
        request = chance.choice(_MUTATIONS)(chance, request)
    return request


def segments(chance: random.Random, data: bytes) -> list[bytes]:
    """The bytes as a network may cut them."""
    if chance.random() < 0.5 or len(data) < 2:
        return [data]
    count = min(chance.choice((1, 2, 5)), len(data) - 1)
    cuts = [0, *sorted(chance.sample(range(1, len(data)), count)), len(data)]
    return [data[begin:end] for begin, end in itertools.pairwise(cuts)]


# ---------------------------------------------------------------- valid requests


def _head(chance: random.Random, method: str, query: str = "", *fields: str) -> bytes:
    target = f"{PREFIX}/{chance.choice(NAMES)}{query}"
    if chance.random() < 0.05:
        target = f"http://localhost{target}"
    if chance.random() < 0.1:
        fields = (*fields, "Connection: close")
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode()


def _read(chance: random.Random) -> bytes:
    offset = chance.choice(("-1", "-1", "now", chance.choice(_OFFSETS)))
    live = chance.choice(("", "", "&live=long-poll", "&live=sse"))
    cursor = f"&cursor={chance.choice(_CURSORS)}" if live and chance.random() < 0.5 else ""
    fields = [chance.choice(_FIELDS)] if chance.random() < 0.2 else []
    method = "HEAD" if chance.random() < 0.1 else "GET"
    return _head(chance, method, f"?offset={offset}{live}{cursor}", *fields)


def _plain(chance: random.Random) -> bytes:
    return _head(chance, chance.choice(("GET", "HEAD", "OPTIONS")))


def _delete(chance: random.Random) -> bytes:
    return _head(chance, "DELETE")


def _write(chance: random.Random) -> bytes:
    method = chance.choice(("PUT", "POST", "POST", "POST"))
    kind, body = chance.choice(
        (
            ("text/plain", b"some text"),
            ("text/plain", bytes(chance.randrange(2000))),
            ("application/octet-stream", chance.randbytes(50)),
            ("application/json", json.dumps([{"token": n} for n in range(3)]).encode()),
            (
                "application/json",
                chance.choice((b"[]", b"{", b"[[[[", b'"\\ud800"', b"NaN", b"1e999")),
            ),
        )
    )
    if chance.random() < 0.01:
        kind, body = "application/json", b"[" + b"1," * _LONG + b"1]"
    fields = [f"Content-Type: {kind}"]
    if method == "POST" and chance.random() < 0.15:
        fields.append("X-Stream-Multi: true")
        body = framed([body, b"1"]) if chance.random() < 0.8 else body
    if chance.random() < 0.3:
        numbers = (chance.randrange(3), chance.randrange(4))
        fields += [
            "Producer-Id: p",
            f"Producer-Epoch: {numbers[0]}",
            f"Producer-Seq: {numbers[1]}",
        ]
    if chance.random() < 0.15:
        fields.append(chance.choice(_FIELDS))
    if method == "PUT" and chance.random() < 0.3:
        fields += [f"Stream-Forked-From: {PREFIX}/{chance.choice(NAMES)}", "Stream-Fork-Offset: -1"]
        body = b""
    if chance.random() < 0.3:
        return _head(chance, method, "", *fields, "Transfer-Encoding: chunked") + _chunked(
            chance, body
        )
    return _head(chance, method, "", *fields, f"Content-Length: {len(body)}") + body


def _chunked(chance: random.Random, body: bytes) -> bytes:
    parts = [b"%x\r\n%b\r\n" % (len(part), part) for part in segments(chance, body) if part]
    trailer = b"X-Trailer: x\r\n" if chance.random() < 0.2 else b""
    return b"".join(parts) + b"0\r\n" + trailer + b"\r\n"


_KINDS = (_read, _read, _read, _plain, _write, _write, _write, _delete)

# ---------------------------------------------------------------- mutations


def _flip(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data) or 1)
    return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]


def _insert(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.choice(_SNIPPETS) + data[at:]


def _drop(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + data[at + chance.randint(1, 20) :]


def _repeat(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[: at + 20] + data[at:]


def _host(chance: random.Random, data: bytes) -> bytes:
    host = b"Host: " + chance.choice(_HOSTS).encode()
    return re.sub(rb"Host: [^\r\n]*", lambda _: host, data, count=1)


def _field(chance: random.Random, data: bytes) -> bytes:
    line, mark, rest = data.partition(b"\r\n")
    return line + mark + chance.choice(_FIELDS).encode() + b"\r\n" + rest


def _flood(chance: random.Random, data: bytes) -> bytes:
    line, mark, rest = data.partition(b"\r\n")
    count, size = chance.choice(((200, 1), (50, 200), (1, 9000), (1, 70_000)))
    return line + mark + (b"X-F: " + b"f" * size + b"\r\n") * count + rest


def _token(chance: random.Random, data: bytes) -> bytes:
    """One word for another."""
    tokens = re.split(rb"([ /?&=:,;\r\n]+)", data)
    tokens[chance.randrange(len(tokens))] = chance.choice(tokens)
    return b"".join(tokens)


def _number(chance: random.Random, data: bytes) -> bytes:
    """One number for another, a length among them."""
    numbers = [*re.finditer(rb"\d+", data)]
    if not numbers:
        return data
    found = chance.choice(numbers)
    other = chance.choice((b"0", b"-1", b"9" * 19, b"9" * 400, b"00", b"0x1", b"1e3", b""))
    return data[: found.start()] + other + data[found.end() :]


def _line(chance: random.Random, data: bytes) -> bytes:
    """The first line in another form."""
    method, _, rest = data.partition(b" ")
    other = chance.choice((b"PATCH", b"CONNECT", b"TRACE", b"get", b"G" * 300, b"", method + b"\t"))
    _target, mark, rest = rest.partition(b" ")
    swapped = chance.choice(
        (b"*", b"localhost:80", b"http://[1]/v1/stream/a", b"/", b"//", b"/v1/%zz")
    )
    return other + b" " + rest if chance.random() < 0.2 else method + b" " + swapped + mark + rest


_MUTATIONS: tuple[Mutation, ...] = (
    *(_flip, _insert, _drop, _repeat, _host, _host, _field, _field, _flood, _token, _number, _line),
)
