"""A client whose request is slow or wrong neither holds nor refuses others who wait with it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.cdn.candidates import CANDIDATES
from tests.cdn.live_cases import crowd
from tests.support.http1 import Wire
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.cdn.edges import Edge, Stream

FOLLOWERS = 5


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
