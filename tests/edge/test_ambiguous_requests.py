"""What is ambiguous stays outside: one request in is at most one at the origin."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.edge.gateways import PlayedGateway
from tests.support.blocking_origin import BlockingOrigin, Exchange
from tests.support.framings import CHUNKS, ONCE
from tests.support.http1 import Answer, Wire, ask, request
from tests.support.processes import headgate

if TYPE_CHECKING:
    from collections.abc import Iterator

# A head that every parser takes for the same.
PLAIN_HEAD = re.compile(
    rb"[A-Z]+ /[!-~]* HTTP/1\.1(\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ \t]?[^\x00-\x08\x0a-\x1f\x7f]*)*"
)
FRAMING = {"content-length", "transfer-encoding"}


class Alike(PlayedGateway):
    """A gateway before an origin that answers everything alike."""

    def send(self, data: bytes) -> list[Answer]:
        """Every answer to these bytes and a last, well-formed request, up to the end."""
        last = request("GET", "/v1/stream/last", connection="close")
        with Wire(self.port) as wire:
            wire.send(data + last)
            return wire.remaining()

    def arrived(self, path: str) -> list[Exchange]:
        """What came to the origin, once all that was sent has."""
        sentinel = self.path()
        ask(self.port, "GET", sentinel)
        assert f"GET {sentinel}" in self.origin.paths()
        return super().arrived(path)


@pytest.fixture(scope="module")
def gateway(processes: None) -> Iterator[Alike]:
    def play(exchange: Exchange) -> None:
        exchange.answer(b"ok", "Content-Type: text/plain", "Cache-Control: no-store")

    with BlockingOrigin(play) as origin, headgate(origin.url) as process:
        yield Alike(process.port, origin)


def _post(path: str, framing: bytes) -> bytes:
    """A POST framed so, and what somebody who frames it otherwise takes for another request."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
    return head.encode() + framing + request("DELETE", f"{path}/smuggled")


@pytest.mark.parametrize(
    ("version", "coding"),
    [
        ("1.1", b"Transfer-Encoding: gzip, chunked"),
        pytest.param("1.1", b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", id="two"),
        ("1.1", b"Transfer-Encoding: x;y=z, chunked"),
        # Somebody on the way may have taken its body for nothing (RFC 9112 section 6.1).
        pytest.param("1.0", b"Connection: keep-alive\r\nTransfer-Encoding: chunked", id="http-1-0"),
    ],
)
def test_a_transfer_coding_but_chunked_in_http_1_1_is_refused_and_does_not_reach_the_origin(
    gateway: Alike, version: str, coding: bytes
) -> None:
    path = gateway.path()
    sent = _post(path, coding + b"\r\n\r\n" + CHUNKS)
    first, *others = gateway.send(sent.replace(b"HTTP/1.1", b"HTTP/%b" % version.encode(), 1))
    if version == "1.0":
        first.assert_problem(400)
    assert first.status in {400, 501}
    assert not others
    assert not gateway.arrived(path)


@pytest.mark.parametrize(
    "line",
    [
        b"GET %b",
        b"GET %b HTTP/1.1 HTTP/1.1",
        pytest.param(b"GET %b\tHTTP/1.1", id="a-tab-before-the-version"),
        pytest.param(b"GET %b HTTP/1.1\0", id="a-nul-behind-the-version"),
        b"GET %b HTTP/2.0",
        b"GET %b HTTP/1.1x",
        pytest.param(b"GET %b/\x01 HTTP/1.1", id="a-control-character-in-the-path"),
        pytest.param(b"GET %b/\xc3\xa4 HTTP/1.1", id="raw-utf-8-in-the-path"),
        b"GET %b/a b HTTP/1.1",
        b"GET %b/../other HTTP/1.1",
        b"GET %b?#&offset=1 HTTP/1.1",
        b"GET %b#b HTTP/1.1",
        b"GET %b/%%2e%%2e/other HTTP/1.1",
        b"GET %b/%%00 HTTP/1.1",
        b"GET %b/%%0d%%0aX:1 HTTP/1.1",
        b"GET http://other.example%b HTTP/1.1",
        pytest.param(b"GE\0T %b HTTP/1.1", id="a-nul-in-the-method"),
        b"GET/1 %b HTTP/1.1",
    ],
)
def test_an_ambiguous_request_line_is_refused(gateway: Alike, line: bytes) -> None:
    path = gateway.path()
    answers = gateway.send(line % path.encode() + b"\r\nHost: localhost\r\n\r\n")
    answers[0].assert_problem(400)
    assert not gateway.arrived(path)


@pytest.mark.parametrize("framing", ONCE.values(), ids=ONCE)
def test_an_odd_but_unambiguous_request_reaches_the_origin_once_in_plain_form(
    gateway: Alike, framing: bytes
) -> None:
    path = gateway.path()
    gateway.send(_post(path, framing))
    first, *others = gateway.arrived(path)
    assert (first.method, first.target, first.body) == ("POST", path, b"more")
    # What followed was a request of its own, said so in every reading.
    assert [one.target for one in others] in ([], [f"{path}/smuggled"])
    for one in (first, *others):
        assert PLAIN_HEAD.fullmatch(one.head), one.head
        names = [name for name, _ in one.fields]
        assert len([name for name in names if name in FRAMING]) <= 1, one.head
        assert not {"upgrade", "http2-settings", "te", "trailer"} & {*names}
        assert names.count("host") == 1


def test_a_trailer_does_not_become_a_header_of_the_next_request(gateway: Alike) -> None:
    """On a connection that a proxy shares, that request is somebody else's."""
    path = gateway.path()
    trailers = b"X-Trailer: 9\r\nAuthorization: Bearer canary\r\n"
    gateway.send(
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        + b"4\r\nmore\r\n0\r\n%b\r\n" % trailers
        + request("GET", f"{path}/next")
    )
    for one in gateway.arrived(path):
        assert "authorization" not in dict(one.fields), one
        assert "x-trailer" not in dict(one.fields), one


def test_a_backslash_in_a_path_is_encoded_and_not_a_separator(gateway: Alike) -> None:
    path = gateway.path()
    gateway.send(request("GET", f"{path}\\..\\other"))
    assert [one.target for one in gateway.arrived(path)] in ([], [f"{path}%5C..%5Cother"])


HOP_BY_HOP = (
    *("Connection: keep-alive, X-Named", "X-Named: canary", "Keep-Alive: canary"),
    *("Proxy-Connection: canary", "Proxy-Authorization: canary", "TE: canary", "Trailer: canary"),
    "Upgrade: canary",
)


def test_hop_by_hop_headers_do_not_reach_the_origin(gateway: Alike) -> None:
    path = gateway.path()
    lines = "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *HOP_BY_HOP, "", ""])
    gateway.send(lines.encode())
    (one,) = gateway.arrived(path)
    assert b"canary" not in one.head
    assert b"X-Named" not in one.head
