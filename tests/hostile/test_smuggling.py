"""Requests within requests (S12): one that goes in is one at the origin, whoever reads its framing
otherwise. To the gateway, and through it to aiohttp, nginx and HAProxy.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import aiohttp.http_parser
import pytest

from tests.hostile.origins import KINDS, Arrived, Chain, chain
from tests.support.framings import CHUNKED, REFUSED
from tests.support.http1 import Wire, ask, request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.http1 import Answer

_numbers = itertools.count()


@pytest.fixture(scope="module")
def links(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
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
