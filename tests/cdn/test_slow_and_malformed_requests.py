"""A client whose request is slow or wrong neither holds nor refuses others who wait with it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.front.caddy_process import find_caddy
from headgate_gateway.settings import Settings, load
from tests.cdn.candidates import CANDIDATES, Candidate
from tests.cdn.live_cases import crowd
from tests.support.http1 import ConnectionEnded, Wire
from tests.support.ports import free_port
from tests.support.processes import headgate
from tests.support.proxy_engines import ENGINES, started
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.cdn.edges import Edge, Stream

FOLLOWERS = 5


@dataclass
class Behind:
    """A gateway as a file is rendered for it."""

    port: int
    settings: Settings


HALF = b"POST /v1/stream/half HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf"


def poll(stream: Stream, *lines: str) -> bytes:
    """A long-poll at the tail, with these further header lines."""
    target = stream.poll(stream.tail)
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()


async def followers_are_told(edge: Edge, stream: Stream) -> None:
    """Assert that clients who poll now get what is appended then."""
    before = edge.polls()
    async with crowd(edge, FOLLOWERS) as followers:
        followers.follow(partial(stream.poll, stream.tail))
        await until(lambda: edge.polls() > before, "a poll of the followers")
        stream.append(b"news")
        answers = await followers.answers()
    assert [one.answer.body for one in answers] == [b"news"] * FOLLOWERS


@pytest.mark.parametrize("edge", CANDIDATES, indirect=True, ids=str)
@pytest.mark.parametrize("body", ["Content-Length: 9", "Transfer-Encoding: chunked"])
async def test_a_long_poll_with_an_unsent_body_delays_no_later_poll(edge: Edge, body: str) -> None:
    stream = edge.stream(b"before")
    with Wire(edge.port) as stranger:
        stranger.send(poll(stream, body))
        await followers_are_told(edge, stream)


@pytest.mark.parametrize("edge", CANDIDATES, indirect=True, ids=str)
async def test_a_long_poll_with_bad_headers_fails_no_later_poll(
    edge: Edge,
) -> None:
    stream = edge.stream(b"before")
    with Wire(edge.port) as stranger:
        stranger.send(poll(stream, "User-Agent: one", "User-Agent: another"))
        await followers_are_told(edge, stream)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("of_the_front", [False, True], ids=["debian", "front"])
def test_caddy_ends_a_request_whose_body_stops(
    of_the_front: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The front of `headgate serve` has the same lines, with a Caddy of its own."""
    if of_the_front:
        monkeypatch.setenv("PATH", f"{find_caddy().parent}:{os.environ['PATH']}")
    port, settings = free_port(), load(None, {}, {})
    with headgate(environment={"HEADGATE_HTTP__BODY_TIMEOUT": "0.5"}) as gateway:
        files = Candidate("caddy").files(port, Behind(gateway.port, settings))
        with started(ENGINES["caddy"], files, port), Wire(port) as stalled:
            stalled.send(HALF)
            with pytest.raises(ConnectionEnded):
                stalled.answer("POST")
