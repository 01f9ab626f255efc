"""Bad input over plain sockets gets a clear error from a started server, and stores nothing.

A row stands for each kind; the rest of a kind is in tests/protocol, tests/web and tests/hostile.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from tests.support.framings import REFUSED
from tests.support.http1 import Wire, ask, request
from tests.support.processes import Headgate, headgate

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 1000
TEXT = "text/plain"


@pytest.fixture(scope="module")
def server(processes: None) -> Iterator[Headgate]:
    with headgate(environment={"HEADGATE_LIMITS__MAX_APPEND": str(LIMIT)}) as started:
        yield started


@pytest.fixture
def wire(server: Headgate) -> Iterator[Wire]:
    with Wire(server.port) as connection:
        yield connection


_numbers = itertools.count()


@pytest.fixture
def text(server: Headgate) -> str:
    """The path of a new text stream that holds "content"."""
    path = f"/v1/stream/stream{next(_numbers)}"
    assert ask(server.port, "PUT", path, b"content", content_type=TEXT).status == 201
    return path


BAD = {
    "an offset that no server issued": ("GET", "?offset=abc", None, TEXT, 400, "offset"),
    "an offset of a later generation": ("GET", f"?offset={9:016d}_{0:016d}", None, TEXT, 400, "o"),
    "a live read without an offset": ("GET", "?live=sse", None, TEXT, 400, "offset"),
    "an unknown kind of live read": ("GET", "?offset=-1&live=SSE", None, TEXT, 400, "live"),
    "a parameter twice": ("GET", "?offset=-1&other=1&other=2", None, TEXT, 400, "other"),
    "a query that cannot be decoded": ("GET", "?offset=%zz", None, TEXT, 400, "query"),
    "a path with two dots": ("POST", "/../b", b"x", TEXT, 400, "path"),
    "a path that cannot be decoded": ("PUT", "%ff", b"x", TEXT, 400, "path"),
    "an empty append": ("POST", "", b"", TEXT, 400, "empty"),
    "another content type": ("POST", "", b"1", "application/json", 409, "text/plain"),
    "a content type that is none": ("PUT", "t", b"", "text/plain, text/html", 400, "Content-Type"),
    "JSON that is cut": ("PUT", "t", b"[1 2]", "application/json", 400, "JSON"),
    "a long body": ("POST", "", b"x" * (LIMIT + 1), TEXT, 413, "max_append"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_gets_an_error_that_names_it_and_stores_nothing(
    kind: str, text: str, wire: Wire
) -> None:
    method, more, body, content_type, status, named = BAD[kind]
    wire.request(method, text + more, body, content_type=content_type).assert_problem(status, named)
    assert wire.request("GET", text).body == b"content"  # and its connection goes on
    if method == "PUT" and "%" not in more:
        assert wire.request("GET", text + more).status == 404


@pytest.mark.parametrize("size", [LIMIT + 1, 10**12, 10**30])
def test_a_content_length_over_max_append_is_refused_before_the_body_is_sent(
    text: str, wire: Wire, size: int
) -> None:
    head = f"POST {text} HTTP/1.1\r\nHost: a\r\nContent-Type: {TEXT}\r\nContent-Length: {size}"
    wire.send(f"{head}\r\n\r\n".encode())
    assert wire.answer().status in ({413} if size < 10**19 else {400, 413})


@pytest.mark.parametrize("leave", ["finish", "reset"])
@pytest.mark.parametrize(
    "unfinished",
    [
        pytest.param(b"Content-Length: 10\r\n\r\nonly nine", id="one-byte-before-the-length"),
        pytest.param(
            b"Transfer-Encoding: chunked\r\n\r\n5\r\nonly \r\n0\r\n", id="within-the-last-chunk"
        ),
    ],
)
def test_a_body_cut_off_by_the_client_is_not_stored(
    text: str, wire: Wire, unfinished: bytes, leave: str
) -> None:
    wire.send(f"POST {text} HTTP/1.1\r\nHost: a\r\nContent-Type: {TEXT}\r\n".encode())
    wire.send(unfinished)
    if leave == "finish":
        wire.finish()
        wire.remaining()
    else:
        wire.reset()
    assert ask(wire.port, "POST", text, b" more", content_type=TEXT).status == 204
    assert ask(wire.port, "GET", text).body == b"content more"


@pytest.mark.usefixtures("processes")
def test_nonsense_at_the_admin_listener_is_answered_4xx_without_a_traceback() -> None:
    with headgate() as server:
        for nonsense, status in ((b"nonsense\r\n\r\n", 400), (b"GET /" + b"x" * 20_000, 431)):
            with Wire(server.admin_port) as wire:
                wire.send(nonsense)
                assert wire.answer().status == status
        assert "Traceback" not in server.output()


@pytest.mark.smoke
@pytest.mark.parametrize("framing", REFUSED.values(), ids=REFUSED)
def test_ambiguous_framing_is_answered_400_and_ends_the_connection(
    text: str, wire: Wire, framing: bytes
) -> None:
    wire.send(f"POST {text} HTTP/1.1\r\nHost: a\r\nContent-Type: {TEXT}\r\n".encode())
    # What follows would be taken for a request by whoever sees the framing differently.
    wire.send(framing + request("DELETE", text))
    first, *others = wire.remaining()
    first.assert_problem(400)
    assert not others
    assert ask(wire.port, "GET", text).body == b"content"
