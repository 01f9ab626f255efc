"""Whatever an origin answers, in chunks or by length, both ways to it tell the same of it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
import uvloop
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.errors import HeadgateError
from gateway.origin.connections import connector_of
from gateway.origin.whole_answer import WholeAnswer
from tests.origin import opening
from tests.origin.by_aiohttp import unframed
from tests.origin.opening import GENERAL, LIMIT, RAW, opened, send
from tests.origin.test_plain_bodies import CHUNKS, FORMS, ODD, cut, framed
from tests.support.examples import IS_WHOLE, at_least
from tests.support.raw_origin import RawOrigin
from tests.support.waiting import until

if TYPE_CHECKING:
    from gateway.origin.client import Origin
    from tests.support.raw_origin import Wire

PLAIN_HEAD, IN_CHUNKS = b"HTTP/1.1 200 OK\r\nA: b\r\n", b"Transfer-Encoding: chunked\r\n"
HEADS = st.sampled_from(
    [
        *(PLAIN_HEAD,) * 5,
        b"HTTP/1.1 200 OK\r\nETag: x\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n",
        b"HTTP/1.1 200 OK\r\nETag:  x \r\nX: \xc3\xa9 \xff\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n",
        b"HTTP/1.1 201 Created\r\nKeep-Alive: timeout=5\r\nConnection: keep-alive\r\n",
        b"HTTP/1.1 204 No Content\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nTrailer: B\r\n",
        b"HTTP/1.1 200 OK\r\nUpgrade: x\r\n",
        b"HTTP/1.1 200 OK\r\nETag: a\r\nETag: b\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n",
        b"HTTP/1.1 200OK\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n",
    ]
)
CODINGS = st.sampled_from(
    [
        *(IN_CHUNKS,) * 5,
        b"transfer-encoding:CHUNKED \r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding:\r\n",
    ]
)
CHANGES = st.lists(
    st.tuples(st.integers(0, 300), st.integers(0, 3), st.sampled_from(ODD)), max_size=1
)


def spoilt(data: bytes, changes: list[tuple[int, int, bytes]], cut_off: int) -> bytes:
    """The same with something else in its place, and without its end."""
    for place, size, instead in changes:
        at = place % (len(data) + 1)
        data = data[:at] + instead + data[at + size :]
    return data[: len(data) - min(cut_off, len(data))]


BODIES = st.builds(
    spoilt,
    st.builds(framed, CHUNKS, st.permutations(FORMS)),
    CHANGES,
    st.sampled_from([*(0,) * 8, 1, 2, 3, 5, 8, 40]),
)


async def outcome(origin: Origin, method: str) -> tuple[tuple[object, ...], bool]:
    """What is told of an answer, and whether it was taken whole."""
    try:
        got = await send(origin, method)
        fields = unframed(got.headers.items())  # by length where the chunks are all here
        body = await got.read(LIMIT)
    except HeadgateError as error:
        return (type(error), str(error)), False
    return (got.status, fields, body, got.complete_by_length), isinstance(got, WholeAnswer)


def all_closed(origin: Origin) -> bool:
    """Whether no connection is kept for another request."""
    assert origin._pooled is not None, "open"
    kept = connector_of(origin._pooled)._conns.values()
    return not any(one.is_connected() for connections in kept for one, _ in connections)


def is_failure(told: tuple[object, ...]) -> bool:
    return isinstance(told[0], type)


@pytest.mark.timeout(300)
def test_any_response_has_the_same_outcome_with_both_clients() -> None:
    pieces: list[bytes] = []
    went = [0, 0]

    async def play(wire: Wire) -> None:
        for piece in pieces:
            await wire.send(piece)
            await asyncio.sleep(0)
        await wire.close()

    async def once(origin: Origin, method: str) -> None:
        seen = []
        for opening.way in (GENERAL, RAW):
            told, is_taken = await outcome(origin, method)
            seen.append(told)
            went[is_taken] += opening.way == RAW
            # What is sent on a connection that is about to be closed is lost.
            await until(lambda: all_closed(origin))
        # Of what is wrong in pieces, how much has come when it is found out is luck.
        if len(pieces) == 1 or not any(map(is_failure, seen)):
            assert seen[0] == seen[1]
        assert origin.requests.count == 0

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stack = contextlib.AsyncExitStack()
        server = runner.run(stack.enter_async_context(RawOrigin(play)))
        origin = runner.run(stack.enter_async_context(opened(server)))

        @settings(max_examples=400 if IS_WHOLE else 40)
        @given(
            st.sampled_from(["GET", "GET", "GET", "POST", "HEAD"]),
            *(HEADS, CODINGS, BODIES, st.lists(st.integers(0, 500), max_size=4)),
        )
        @example("GET", PLAIN_HEAD, IN_CHUNKS, framed([b"a", b"bc"], FORMS), [])
        @example("GET", b"HTTP/1.0 200 OK\r\n", IN_CHUNKS, framed([b"a"], FORMS), [])
        def for_all(
            method: str, head: bytes, coding: bytes, body: bytes, places: list[int]
        ) -> None:
            first, *others = cut(body, places) or [b""]
            pieces[:] = [head + coding + b"\r\n" + first, *others]
            runner.run(once(origin, method))

        try:
            for_all()
        finally:
            opening.way = GENERAL
            runner.run(stack.aclose())
    assert min(went) >= at_least(20), went
