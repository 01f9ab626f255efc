"""The requests of a schedule, each with what is known of its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tests.support.serving import EDGE, PREFIX

LONG = 3000  # bytes of a long body: more than a client takes that has stopped to read
_TEXT = "Content-Type: text/plain"


@dataclass(frozen=True)
class Asked:
    """A request as it is sent. What its answer has to fit: its id, its stream, its token."""

    kind: str
    number: int
    wire: bytes
    method: str
    id: str | None = None
    stream: str | None = None  # which an own log has
    token: bytes | None = None  # what it appends there
    is_last: bool = False
    ends: bool = False  # it is no HTTP: nothing behind it is looked at


def _wire(
    method: str, target: str, *lines: str, body: bytes | None = None, version: str = "1.1"
) -> bytes:
    length = [] if body is None else [f"Content-Length: {len(body)}"]
    head = [f"{method} {target} HTTP/{version}", "Host: headgate.test", *length, *lines, "", ""]
    return "\r\n".join(head).encode() + (body or b"")


def _chunked(method: str, target: str, *lines: str, body: bytes) -> bytes:
    head = _wire(method, target, "Transfer-Encoding: chunked", *lines)
    half = len(body) // 2
    parts = [part for part in (body[:half], body[half:]) if part]
    return head + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def token(stream: str, number: int, *, long: bool = False) -> bytes:
    """What one append stores: no other stores the same."""
    return f"{stream}{number}-{'x' * LONG if long else ''};".encode()


_GETS = {
    "read s": f"{PREFIX}/s?offset=-1",
    "read t": f"{PREFIX}/t?offset=-1",
    "now s": f"{PREFIX}/s?offset=now",
    "poll": f"{PREFIX}/s?offset=now&live=long-poll",
    "poll old": f"{PREFIX}/s?offset=-1&live=long-poll",
    "events": f"{PREFIX}/s?offset=-1&live=sse",
    "nowhere": "/nowhere",
    "absent": f"{PREFIX}/absent?offset=-1",
    "edge read": f"{EDGE}/e?offset=-1",
    "edge other": f"{EDGE}/f?offset=-1",
    "edge poll": f"{EDGE}/e?offset=now&live=long-poll",
    "edge events": f"{EDGE}/e?offset=-1&live=sse",
    "edge odd": f"{EDGE}/e?offset=-1&x=y",
}
_POSTS = {"append": "s", "append t": "t", "append long": "s", "append by": "s"}


class _Form(NamedTuple):
    """A request but for its id; `{n}` in its target is its number."""

    method: str
    target: str
    lines: tuple[str, ...] = ()
    body: bytes | None = None
    version: str = "1.1"


_READ, _EDGE = f"{PREFIX}/s?offset=-1", f"{EDGE}/e"
_OTHERS = {
    "create": _Form("PUT", f"{PREFIX}/new{{n}}", (_TEXT,), b""),
    "create filled": _Form("PUT", f"{PREFIX}/new{{n}}", (_TEXT,), b"n" * 40),
    "create again": _Form("PUT", f"{PREFIX}/s", (_TEXT,), b""),
    "append absent": _Form("POST", f"{PREFIX}/absent", (_TEXT,), b"1"),
    "append wrong": _Form("POST", f"{PREFIX}/s", ("Content-Type: image/png",), b"1"),
    "head": _Form("HEAD", f"{PREFIX}/s"),
    "delete": _Form("DELETE", f"{PREFIX}/gone"),
    "options": _Form("OPTIONS", f"{PREFIX}/s"),
    "edge append": _Form("POST", _EDGE, (_TEXT,), b"12345678"),
    "edge append long": _Form("POST", _EDGE, (_TEXT,), b"1" * LONG),
    "edge expect": _Form("POST", _EDGE, (_TEXT, "Expect: 100-continue"), b"12345678"),
    "edge create": _Form("PUT", f"{EDGE}/g", (_TEXT,), b""),
    "edge head": _Form("HEAD", _EDGE),
    "edge delete": _Form("DELETE", f"{EDGE}/g"),
    "tagged": _Form("GET", f"{_EDGE}?offset=-1", ('If-None-Match: "e"',)),
    "tagged own": _Form("GET", f"{PREFIX}/t?offset=-1", ('If-None-Match: "e"',)),
    "get body": _Form("GET", _READ, body=b"12"),
}
_LAST = {
    "close": _Form("GET", _READ, ("Connection: close",)),
    "old": _Form("GET", _READ, version="1.0"),
    "old events": _Form("GET", f"{_READ}&live=sse", version="1.0"),
    "edge close": _Form("GET", f"{_EDGE}?offset=-1", ("Connection: close",)),
    "edge chunked": _Form("POST", _EDGE, (_TEXT,), b"12345678"),
    "upgrade": _Form("GET", _READ, ("Connection: Upgrade", "Upgrade: x")),
}
BAD = ("bad", "bad length")
KINDS = (
    *(*_GETS, *_POSTS, "expect", "chunked", "append close"),
    *(*_OTHERS, *_LAST, *BAD),
)


def ask(kind: str, number: int, *, has_id: bool) -> Asked:
    """A request of a kind."""
    request_id = f"id-{number}" if has_id else None
    more = (f"X-Request-Id: {request_id}",) if has_id else ()
    if kind == "bad":
        return Asked(kind, number, b"NO HTTP\r\n\r\n", "GET", ends=True)
    if kind == "bad length":
        wire = _wire("POST", f"{PREFIX}/s", _TEXT, "Content-Length: x")
        return Asked(kind, number, wire, "GET", ends=True)
    if kind in _GETS:
        stream = kind.removeprefix("read ") if kind.startswith("read") else None
        wire = _wire("GET", _GETS[kind], *more)
        return Asked(kind, number, wire, "GET", request_id, stream)
    if kind in _OTHERS or kind in _LAST:
        method, target, lines, body, version = {**_OTHERS, **_LAST}[kind]
        target = target.format(n=number)
        if kind == "edge chunked":
            wire = _chunked(method, target, *lines, *more, body=body or b"")
        else:
            wire = _wire(method, target, *lines, *more, body=body, version=version)
        return Asked(kind, number, wire, method, request_id, is_last=kind in _LAST)
    return _append(kind, number, request_id, more)


def _append(kind: str, number: int, request_id: str | None, more: tuple[str, ...]) -> Asked:
    """An append to an own log, in some way."""
    stream = _POSTS.get(kind, "s")
    body = token(stream, number, long=kind == "append long")
    target, is_last = f"{PREFIX}/{stream}", kind in {"chunked", "append close"}
    own = {
        "append by": ("Producer-Id: p", f"Producer-Epoch: {number}", "Producer-Seq: 0"),
        "expect": ("Expect: 100-continue",),
        "append close": ("Connection: close",),
    }.get(kind, ())
    make = _chunked if kind == "chunked" else _wire
    wire = make("POST", target, _TEXT, *own, *more, body=body)
    return Asked(kind, number, wire, "POST", request_id, stream, body, is_last)
