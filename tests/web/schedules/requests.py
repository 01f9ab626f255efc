"""The requests of a schedule, each with what is known of its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.serving import EDGE, PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable

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
_OTHERS: dict[str, Callable[[int, tuple[str, ...]], tuple[str, bytes]]] = {
    "create": lambda n, more: ("PUT", _wire("PUT", f"{PREFIX}/new{n}", _TEXT, *more, body=b"")),
    "create filled": lambda n, more: (
        "PUT",
        _wire("PUT", f"{PREFIX}/new{n}", _TEXT, *more, body=b"n" * 40),
    ),
    "create again": lambda _, more: ("PUT", _wire("PUT", f"{PREFIX}/s", _TEXT, *more, body=b"")),
    "append absent": lambda _, more: (
        "POST",
        _wire("POST", f"{PREFIX}/absent", _TEXT, *more, body=b"1"),
    ),
    "append wrong": lambda _, more: (
        "POST",
        _wire("POST", f"{PREFIX}/s", "Content-Type: image/png", *more, body=b"1"),
    ),
    "head": lambda _, more: ("HEAD", _wire("HEAD", f"{PREFIX}/s", *more)),
    "delete": lambda _, more: ("DELETE", _wire("DELETE", f"{PREFIX}/gone", *more)),
    "options": lambda _, more: ("OPTIONS", _wire("OPTIONS", f"{PREFIX}/s", *more)),
    "edge append": lambda _, more: (
        "POST",
        _wire("POST", f"{EDGE}/e", _TEXT, *more, body=b"12345678"),
    ),
    "edge append long": lambda _, more: (
        "POST",
        _wire("POST", f"{EDGE}/e", _TEXT, *more, body=b"1" * LONG),
    ),
    "edge expect": lambda _, more: (
        "POST",
        _wire("POST", f"{EDGE}/e", _TEXT, "Expect: 100-continue", *more, body=b"12345678"),
    ),
    "edge create": lambda _, more: ("PUT", _wire("PUT", f"{EDGE}/g", _TEXT, *more, body=b"")),
    "edge head": lambda _, more: ("HEAD", _wire("HEAD", f"{EDGE}/e", *more)),
    "edge delete": lambda _, more: ("DELETE", _wire("DELETE", f"{EDGE}/g", *more)),
    "tagged": lambda _, more: (
        "GET",
        _wire("GET", f"{EDGE}/e?offset=-1", 'If-None-Match: "e"', *more),
    ),
    "tagged own": lambda _, more: (
        "GET",
        _wire("GET", f"{PREFIX}/t?offset=-1", 'If-None-Match: "e"', *more),
    ),
    "get body": lambda _, more: ("GET", _wire("GET", f"{PREFIX}/s?offset=-1", *more, body=b"12")),
}
_LAST: dict[str, Callable[[int, tuple[str, ...]], tuple[str, bytes]]] = {
    "close": lambda _, more: (
        "GET",
        _wire("GET", f"{PREFIX}/s?offset=-1", "Connection: close", *more),
    ),
    "old": lambda _, more: ("GET", _wire("GET", f"{PREFIX}/s?offset=-1", *more, version="1.0")),
    "old events": lambda _, more: (
        "GET",
        _wire("GET", f"{PREFIX}/s?offset=-1&live=sse", *more, version="1.0"),
    ),
    "edge close": lambda _, more: (
        "GET",
        _wire("GET", f"{EDGE}/e?offset=-1", "Connection: close", *more),
    ),
    "edge chunked": lambda _, more: (
        "POST",
        _chunked("POST", f"{EDGE}/e", _TEXT, *more, body=b"12345678"),
    ),
    "upgrade": lambda _, more: (
        "GET",
        _wire("GET", f"{PREFIX}/s?offset=-1", "Connection: Upgrade", "Upgrade: x", *more),
    ),
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
        method, wire = {**_OTHERS, **_LAST}[kind](number, more)
        return Asked(kind, number, wire, method, request_id, is_last=kind in _LAST)
    return _append(kind, number, request_id, more)


def _append(kind: str, number: int, request_id: str | None, more: tuple[str, ...]) -> Asked:
    """An append to an own log, in some way."""
    stream = _POSTS.get(kind, "s")
    body = token(stream, number, long=kind == "append long")
    target, is_last = f"{PREFIX}/{stream}", kind in {"chunked", "append close"}
    if kind == "append by":  # in a new epoch each time
        by = ("Producer-Id: p", f"Producer-Epoch: {number}", "Producer-Seq: 0")
        wire = _wire("POST", target, _TEXT, *by, *more, body=body)
    elif kind == "chunked":
        wire = _chunked("POST", target, _TEXT, *more, body=body)
    elif kind == "expect":
        wire = _wire("POST", target, _TEXT, "Expect: 100-continue", *more, body=body)
    elif kind == "append close":
        wire = _wire("POST", target, _TEXT, "Connection: close", *more, body=body)
    else:
        wire = _wire("POST", target, _TEXT, *more, body=body)
    return Asked(kind, number, wire, "POST", request_id, stream, body, is_last)
