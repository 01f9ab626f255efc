"""Requests within requests (S12): one that goes in is one at the origin, whoever reads its framing
otherwise. To the gateway, and through it to aiohttp, nginx and HAProxy.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import aiohttp.http_parser
import pytest

from tests.hostile.origins import KINDS, Arrived, Chain, chain
from tests.support.http1 import Wire, ask, request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.http1 import Answer

CHUNKS = b"4\r\nmore\r\n0\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"

# Header lines and body of a POST: refused with 400, and nothing of it arrives.
REFUSED = {
    # Content-Length
    "two lengths": b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nmore",
    "one length twice": b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nmore",
    "a list of lengths": b"Content-Length: 4, 4\r\n\r\nmore",
    "a length with a sign": b"Content-Length: +4\r\n\r\nmore",
    "a negative length": b"Content-Length: -4\r\n\r\nmore",
    "a hexadecimal length": b"Content-Length: 0x4\r\n\r\nmore",
    "a length with an underscore": b"Content-Length: 4_0\r\n\r\nmore",
    "a length with a blank": b"Content-Length: 4 4\r\n\r\nmore",
    "a fraction as length": b"Content-Length: 4.0\r\n\r\nmore",
    "a length in other digits": "Content-Length: \u0664\r\n\r\nmore".encode(),
    "an empty length": b"Content-Length:\r\n\r\nmore",
    "a length past 64 bits": b"Content-Length: 18446744073709551620\r\n\r\nmore",
    "a blank before the colon": b"Content-Length : 4\r\n\r\nmore",
    "a tab before the colon": b"Content-Length\t: 4\r\n\r\nmore",
    "a blank before the name": b" Content-Length: 4\r\n\r\nmore",
    # Content-Length and Transfer-Encoding
    "length, then chunks": b"Content-Length: 4\r\n" + CHUNKED + CHUNKS,
    "chunks, then length": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + CHUNKS,
    "chunks, no length": b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n" + CHUNKS,
    # Transfer-Encoding
    "no coding": b"Transfer-Encoding:\r\nContent-Length: 4\r\n\r\nmore",
    "no coding, no length": b"Transfer-Encoding: \r\n\r\n" + CHUNKS,
    "xchunked": b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKS,
    "chunkedx": b"Transfer-Encoding: chunkedx\r\n\r\n" + CHUNKS,
    "chunked, then identity": b"Transfer-Encoding: chunked, identity\r\n\r\n" + CHUNKS,
    "chunked twice": b"Transfer-Encoding: chunked, chunked\r\n\r\n" + CHUNKS,
    "two codings": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + CHUNKS,
    "a coding after a vertical tab": b"Transfer-Encoding: \x0bchunked\r\n\r\n" + CHUNKS,
    "a quoted coding": b'Transfer-Encoding: "chunked"\r\n\r\n' + CHUNKS,
    "a coding with a parameter": b"Transfer-Encoding: chunked;q=1\r\n\r\n" + CHUNKS,
    "a blank before the coding's colon": b"Transfer-Encoding : chunked\r\n\r\n" + CHUNKS,
    "NUL before the coding": b"Transfer-Encoding: \0chunked\r\n\r\n" + CHUNKS,
    # Line ends and folds
    "a folded length": b"X: 1\r\n Content-Length: 4\r\n\r\nmore",
    "a folded value": b"Content-Length:\r\n 4\r\n\r\nmore",
    "a folded coding": b"Transfer-Encoding:\r\n chunked\r\n\r\n" + CHUNKS,
    "a bare LF": b"X: 1\nContent-Length: 4\r\n\r\nmore",
    "a bare CR": b"X: 1\rContent-Length: 4\r\n\r\nmore",
    "LF for all": b"Content-Length: 4\n\nmore",
    "LF in the last line end": b"Content-Length: 4\r\n\nmore",
    "NUL in a value": b"X: \0\r\nContent-Length: 4\r\n\r\nmore",
    "no colon": b"X\r\nContent-Length: 4\r\n\r\nmore",
    "no name": b": 1\r\nContent-Length: 4\r\n\r\nmore",
    "a blank in a name": b"X Y: 1\r\nContent-Length: 4\r\n\r\nmore",
    "two hosts": b"Host: other\r\nContent-Length: 4\r\n\r\nmore",
    # Chunks
    "a negative chunk": CHUNKED + b"-4\r\nmore\r\n0\r\n\r\n",
    "a chunk with a sign": CHUNKED + b"+4\r\nmore\r\n0\r\n\r\n",
    "a chunk with 0x": CHUNKED + b"0x4\r\nmore\r\n0\r\n\r\n",
    "a chunk with an underscore": CHUNKED + b"0_4\r\nmore\r\n0\r\n\r\n",
    "a blank before a chunk": CHUNKED + b" 4\r\nmore\r\n0\r\n\r\n",
    "a chunk's size ends with LF": CHUNKED + b"4\nmore\r\n0\r\n\r\n",
    "a chunk ends with LF": CHUNKED + b"4\r\nmore\n0\r\n\r\n",
    "a chunk over its size": CHUNKED + b"4\r\nmoreX\r\n0\r\n\r\n",
    "a chunk past 64 bits": CHUNKED + b"fffffffffffffffff\r\nmore\r\n0\r\n\r\n",
    "an extension with LF": CHUNKED + b"4;a=\n\r\nmore\r\n0\r\n\r\n",
    "an extension with CR": CHUNKED + b"4;a\rb\r\nmore\r\n0\r\n\r\n",
    "a chunk without a size": CHUNKED + b"\r\nmore\r\n0\r\n\r\n",
    "a length as a trailer": CHUNKED + b"4\r\nmore\r\n0\r\nContent-Length: 9\r\n\r\n",
}
# The same: clear, and arrives once, with this body.
ONCE = {
    "a length": b"Content-Length: 4\r\n\r\nmore",
    "zeros before a length": b"Content-Length: 0004\r\n\r\nmore",
    "chunks": CHUNKED + CHUNKS,
    "Chunked after a tab": b"Transfer-Encoding:\tChunked\r\n\r\n" + CHUNKS,
    "an extension": CHUNKED + b'4;a="b;c"\r\nmore\r\n0;d\r\n\r\n',
    "zeros before chunks": CHUNKED + b"0004\r\nmore\r\n000\r\n\r\n",
    "chunks of a byte": CHUNKED + b"1\r\nm\r\n1\r\no\r\n1\r\nr\r\n1\r\ne\r\n0\r\n\r\n",
    "a trailer": CHUNKED + b"4\r\nmore\r\n0\r\nX-Trailer: 9\r\n\r\n",
    "a length named by Connection": b"Connection: content-length\r\nContent-Length: 4\r\n\r\nmore",
    "a coding named by Connection": b"Connection: transfer-encoding\r\n" + CHUNKED + CHUNKS,
    "a websocket with a body": (
        b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n\r\nmore"
    ),
    "h2c with a body": (
        b"Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
        b"Content-Length: 4\r\n\r\nmore"
    ),
    "an underscore for a hyphen": b"Transfer_Encoding: chunked\r\nContent-Length: 4\r\n\r\nmore",
    "another method": b"X-HTTP-Method-Override: DELETE\r\nContent-Length: 4\r\n\r\nmore",
    "a promise of trailers": b"TE: trailers\r\nTrailer: X\r\nContent-Length: 4\r\n\r\nmore",
    "Expect": b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\nmore",
}
_numbers = itertools.count()


@pytest.fixture(scope="module")
def links(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with chain(tmp_path_factory.mktemp("origins")) as made:
        yield made


def _path(kind: str) -> str:
    return f"/{kind}/n{next(_numbers)}x"


def _post(path: str, rest: bytes) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n".encode() + rest


def _told(links: Chain, sent: bytes) -> list[Answer]:
    """The answers to all that is sent, up to the end of the connection."""
    with Wire(links.gateway.port) as wire:
        wire.send(sent)
        return wire.remaining()


def _arrived(links: Chain, kind: str, path: str) -> list[Arrived]:
    """What came of a path, once a request of somebody else has come behind it and was answered."""
    for _ in range(2):
        other = _path(kind)
        answer = ask(links.gateway.port, "GET", other)
        assert answer.body.decode() == f"GET {other}", "an answer to somebody else's request"
        assert len(links.counter.of(other)) == 1
    return links.counter.of(path)


@pytest.mark.parametrize("kind", KINDS)
def test_an_ambiguous_request_is_refused_with_400_and_does_not_reach_the_origin(
    links: Chain, kind: str, tell: Callable[[str], None]
) -> None:
    for name, rest in REFUSED.items():
        path = _path(kind)
        first, *others = _told(links, _post(path, rest + request("DELETE", f"{path}/smuggled")))
        assert (first.status, others) == (400, []), name
        assert _arrived(links, kind, path) == [], name
    tell(f"{len(REFUSED)} requests through {kind}")


@pytest.mark.parametrize("kind", KINDS)
def test_an_odd_but_unambiguous_request_reaches_the_origin_once(
    links: Chain, kind: str, tell: Callable[[str], None]
) -> None:
    for name, rest in ONCE.items():
        path = _path(kind)
        with Wire(links.gateway.port) as wire:
            wire.send(_post(path, rest))
            answer = wire.answer()
            answer = wire.answer() if answer.status == 100 else answer
        assert answer.body.decode() == f"POST {path}", name
        assert _arrived(links, kind, path) == [Arrived("POST", path, b"more")], name
    tell(f"{len(ONCE)} requests through {kind}")


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_request_hidden_in_a_body_is_not_executed(links: Chain, kind: str, method: str) -> None:
    path = _path(kind)
    hidden = request("DELETE", f"{path}/smuggled")
    for framing in (
        b"Content-Length: %d\r\n\r\n%b" % (len(hidden), hidden),
        CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(hidden), hidden),
    ):
        head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n".encode()
        with Wire(links.gateway.port) as wire:
            wire.send(head + framing)
            assert wire.answer(method).status < 500
    arrived = _arrived(links, kind, path)
    assert len(arrived) <= 2
    assert {(one.method, one.target) for one in arrived} <= {(method, path)}
    assert {one.body for one in arrived} <= {hidden, b""}


@pytest.mark.parametrize("kind", KINDS)
def test_pipelined_requests_reach_the_origin_one_by_one_in_order(links: Chain, kind: str) -> None:
    path = _path(kind)
    sent = [("POST", f"{path}/{number}") for number in range(20)]
    last = request("GET", f"{path}/last", connection="close")
    told = _told(links, b"".join(request(method, at, b"more") for method, at in sent) + last)
    sent.append(("GET", f"{path}/last"))
    assert [one.body.decode() for one in told] == [f"{method} {at}" for method, at in sent]
    assert [(one.method, one.target) for one in _arrived(links, kind, path)] == sent


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(b"Content-Length: 40\r\n\r\nmore", id="within-its-length"),
        pytest.param(CHUNKED + b"40\r\nmore", id="within-its-chunks"),
    ],
)
def test_a_request_cut_within_its_body_does_not_reach_the_origin(
    links: Chain, kind: str, rest: bytes
) -> None:
    path = _path(kind)
    with Wire(links.gateway.port) as wire:
        wire.send(_post(path, rest))
        wire.reset()
    assert _arrived(links, kind, path) == []


def test_aiohttp_uses_its_compiled_http_parser() -> None:
    """The one that is written in Python, for where aiohttp was not compiled, differs in details."""
    compiled = aiohttp.http_parser.HttpRequestParserC
    assert aiohttp.http_parser.HttpRequestParser is compiled
