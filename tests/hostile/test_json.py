"""JSON that breaks who parses it (S16): whatever the way, it is refused with 400 before any log has
it and leaves no trace, and what is taken is kept byte for byte.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import pytest

from headgate_gateway.protocol.bodies.json_text import MAX_DEPTH, MAX_DIGITS
from tests.support.http1 import Answer, Wire, ask
from tests.support.stalls import started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.processes import Headgate

JSON = "application/json"
DEEP = 200_000
REFUSED = {
    "arrays without end": b"[" * DEEP,
    "arrays too deep": b"[" * DEEP + b"]" * DEEP,
    "objects too deep": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "one level too deep": b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
    "brackets that never open": b"]" * DEEP,
    "a number of 100,000 digits": b"1" * 100_000,
    "one digit too many": b"[" + b"1" * (MAX_DIGITS + 1) + b"]",
    "NaN": b"NaN",
    "NaN inside": b'{"a":[1,NaN]}',
    "Infinity": b"[Infinity]",
    "minus Infinity": b"-Infinity",
    "half a pair": rb'"\ud800"',
    "half a pair as a key": rb'{"\ud800":1}',
    "the other half": rb'["\udc00"]',
    "a pair turned round": rb'"\udc00\ud800"',
    "half a pair before a letter": rb'"\ud800a"',
    "half a pair amid a long body": b"[" + b'"a",' * 20_000 + rb'"\ud800"]',
    "a surrogate in UTF-8": b'"\xed\xa0\x80"',
    "an overlong slash": b'"\xc0\xaf"',
    "a cut character": b'"\xe2\x82"',
    "past the last character": b'"\xf4\x90\x80\x80"',
    "no UTF-8 amid a long body": b"[" + b'"a",' * 20_000 + b'"\xff"]',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "a mark of byte order": b"\xef\xbb\xbf1",
    "NUL": b'"\0"',
    "a line end in a string": b'"a\nb"',
    "two values": b"1 2",
    "a comment": b"/* */ 1",
    "nothing but blanks": b" " * 100_000,
}
TAKEN = {  # messages joined by commas
    "as deep as may be": b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH,
    "as many digits as may be": b"1" * MAX_DIGITS,
    "a key that comes twice": b'{"a":1,"a":2,"__proto__":{"a":1}}',
    "line ends of JavaScript": '"\u2028\u2029\u202e"'.encode(),
    "an escaped NUL and a pair": rb'"\u0000\ud83d\ude00"',
    "a number past all floats": b"1e99999,-0.0,0.1000",
    "a million numbers": b",".join([b"1"] * 1_000_000),
}


class Way(NamedTuple):
    """How a body is sent."""

    method: str
    lines: tuple[str, ...] = ()
    is_chunked: bool = False


WAYS = {
    "fast": Way("POST"),
    "ordinary": Way("POST", ("X-Request-Id:a",)),
    "chunked": Way("POST", (), is_chunked=True),
    "create": Way("PUT"),
}
_numbers = itertools.count()


@pytest.fixture(scope="module")
def server(processes: None) -> Iterator[Headgate]:
    with started("file") as process:
        yield process


def _send(port: int, path: str, way: Way, body: bytes) -> Answer:
    framing = "Transfer-Encoding: chunked" if way.is_chunked else f"Content-Length: {len(body)}"
    lines = [f"{way.method} {path} HTTP/1.1", "Host: a", f"Content-Type: {JSON}", framing]
    head = "\r\n".join([*lines, *way.lines, "", ""]).encode()
    half = len(body) // 2 or 1
    parts = [part for part in (body[:half], body[half:]) if part]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    with Wire(port) as wire:
        wire.send(head + (chunks if way.is_chunked else body))
        return wire.answer()


def _new(server: Headgate) -> str:
    path = f"/v1/stream/json{next(_numbers)}"
    assert ask(server.port, "PUT", path, b"", content_type=JSON).status == 201
    return path


def test_json_that_breaks_parsers_is_refused_with_400_and_nothing_is_stored(
    server: Headgate, tell: Callable[[str], None]
) -> None:
    path = _new(server)
    for (name, body), (way_name, way) in itertools.product(REFUSED.items(), WAYS.items()):
        at = path if way.method == "POST" else f"{path}-created"
        told = _send(server.port, at, way, body)
        assert told.status == 400, (name, way_name, told)
        told.assert_problem(400, "JSON")
    assert ask(server.port, "GET", path).body == b"[]"
    assert ask(server.port, "GET", f"{path}-created").status == 404
    assert "Traceback" not in server.output()
    tell(f"{len(REFUSED) * len(WAYS)} requests")


@pytest.mark.parametrize("name", TAKEN)
def test_unusual_but_valid_json_is_stored_byte_for_byte(server: Headgate, name: str) -> None:
    body = TAKEN[name]
    for way in WAYS.values():
        path = _new(server) if way.method == "POST" else f"{_new(server)}-created"
        assert _send(server.port, path, way, b"[" + body + b"]").status in {201, 204}
        read, offset = b"", "-1"
        while True:  # a million numbers are not read at once
            answer = ask(server.port, "GET", f"{path}?offset={offset}")
            read += (b"," if read else b"") + answer.body[1:-1]
            offset = answer.next_offset
            if answer.get("stream-up-to-date") == "true":
                break
        assert read == body
