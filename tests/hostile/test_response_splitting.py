"""Answers that end early (S10): a line end in what a client or an origin says becomes a header, or
an answer, of somebody else's. Neither is kept or passed on.
"""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING

import pytest

from tests.support.examples import spread
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, PREFIX, Serving, edge_serving, get

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.http1 import Answer

HEAD = re.compile(
    rb"HTTP/1\.1 [2-5][0-9]{2} [ -~]*\r\n([!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t -~\x80-\xff]*\r\n)*\r\n"
)
SPLITS = {
    "CR LF": b"a\r\nEvil: 1",
    "a whole answer": b"a\r\n\r\nHTTP/1.1 200 OK\r\nEvil: 1\r\n\r\n",
    "a fold": b"a\r\n Evil: 1",
    "a fold by a tab": b"a\r\n\tEvil: 1",
    "CR": b"a\rEvil: 1",
    "LF": b"a\nEvil: 1",
    "NUL": b"a\0Evil: 1",
    "ESC": b"a\x1bEvil: 1",
    "a vertical tab": b"a\x0bEvil: 1",
    "DEL": b"a\x7fEvil: 1",
    "NEL": b"a\x85Evil: 1",
    "a line separator": "a\u2028Evil: 1".encode(),
    "letters whose last byte is CR and LF": "a\u560d\u560aEvil: 1".encode(),
}
REFUSED_AS_HTTP = {"CR", "LF", "NUL", "a fold", "a fold by a tab"}
KEPT_OF_A_CREATION = (
    *("Content-Type", "Stream-TTL", "Stream-Expires-At", "Stream-Closed", "Stream-Forked-From"),
    *("Stream-Fork-Offset", "Stream-Seq", "Producer-Id", "Producer-Epoch", "Producer-Seq"),
    *("X-Request-Id", "Origin", "Host", "X-Forwarded-Host", "X-Forwarded-Proto", "traceparent"),
)
OF_AN_ANSWER = (
    *("Content-Type", "Stream-Next-Offset", "Stream-Cursor", "Stream-Closed", "ETag", "Location"),
    *("Cache-Control", "Vary", "Set-Cookie", "Surrogate-Key", "Via", "X-Anything"),
)


@pytest.fixture
async def origin() -> AsyncIterator[RawOrigin]:
    async with RawOrigin(answer(b"right", "Content-Type: text/plain")) as server:
        yield server


@pytest.fixture
async def gateway(origin: RawOrigin) -> AsyncIterator[Serving]:
    async with edge_serving(origin) as made:
        yield made


def assert_whole(told: Answer, *, may_say: str = "") -> None:
    """It is one answer, of fields that are each one line and none of which was smuggled in."""
    head = told.wire.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    assert HEAD.fullmatch(head), head
    assert "evil" not in {name for name, _ in told.fields} - {may_say}, head


def creation(path: str, name: str, value: bytes) -> bytes:
    host = b"" if name == "Host" else b"Host: a\r\n"
    head = f"PUT {path} HTTP/1.1\r\nContent-Length: 0\r\nConnection: close\r\n".encode()
    return head + host + name.encode() + b": " + value + b"\r\n\r\n"


async def test_header_values_stored_with_a_stream_cannot_split_a_response(
    gateway: Serving, tell: Callable[[str], None]
) -> None:
    creations = spread(product(enumerate(KEPT_OF_A_CREATION), SPLITS.items()), 3)
    assert {name for (_, name), _ in creations} == {*KEPT_OF_A_CREATION}
    assert {kind for _, (kind, _) in creations} == {*SPLITS}
    for (number, name), (kind, split) in creations:
        path = f"{PREFIX}/s{number}-{len(kind)}{kind[-1]}"
        client = await gateway.connect()
        client.send(creation(path, name, split))
        told = await client.answer()
        assert_whole(told)
        if kind in {"CR LF", "a whole answer"}:  # fields of their own, as anybody may send
            assert told.status < 500, (name, kind)
        elif kind in REFUSED_AS_HTTP or name == "Content-Type":
            assert told.status == 400, (name, kind)
        for method in ("GET", "HEAD"):
            seen = await gateway.ask(f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert_whole(seen)
            assert (seen.status == 200) == (told.status == 201), (name, kind)
        client.close()
    tell(f"{len(creations)} creations")


async def test_header_values_of_an_origin_cannot_split_a_response_and_invalid_ones_are_not_cached(
    gateway: Serving, origin: RawOrigin, tell: Callable[[str], None]
) -> None:
    right = answer(b"right", "Content-Type: text/plain", "Cache-Control: max-age=60")
    # Of the others nobody can know that the origin did not mean what it said.
    kinds = [it for it in SPLITS.items() if it[0] not in {"CR LF", "a whole answer"}]
    answers = spread(product(OF_AN_ANSWER, kinds), 5)
    assert {name for name, _ in answers} == {*OF_AN_ANSWER}
    assert {kind for _, kind in answers} == {*kinds}
    for name, (kind, split) in answers:
        target = f"{EDGE}/{name}-{kind.replace(' ', '')}"
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nCache-Control: max-age=60\r\n"
        origin.scripts = [head + name.encode() + b": " + split + b"\r\n\r\nwrong"]
        told = await gateway.ask(get(target))
        # LF alone ends a line to aiohttp, as RFC 9112 section 2.2 allows; here it is CR LF.
        assert_whole(told, may_say="evil" if kind == "LF" else "")
        assert told.status in {200, 502}, (name, kind)
        if kind in {"CR", "NUL", "ESC", "a vertical tab", "DEL"}:
            assert told.status == 502, (name, kind, told)
            origin.scripts = [right]
            assert (await gateway.ask(get(target))).body == b"right", (name, kind)
    tell(f"{len(answers)} answers")
