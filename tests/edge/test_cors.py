"""Whose pages may read the answers of a feed: what the origin says goes before `cors_origins`."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.edge.live_readers import S, at, confirmed, following, live, polling
from tests.support.raw_origin import answer
from tests.support.serving import Serving, get

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.http1 import Answer
    from tests.support.live_origin import LiveOrigin

PAGE = "https://a.example"
SAYS = (
    f"Access-Control-Allow-Origin: {PAGE}",
    "Access-Control-Allow-Credentials: true",
    "Access-Control-Expose-Headers: Stream-Next-Offset",
)
OF_THE_ORIGIN = (PAGE, "true", "Stream-Next-Offset")
OURS = ("*", None, "*")
ORDINARY = "X-Request-Id:mine"  # is never answered by the fast path


def said(got: Answer) -> tuple[str | None, ...]:
    names = ("Allow-Origin", "Allow-Credentials", "Expose-Headers")
    return tuple(got.get(f"Access-Control-{name}") for name in names)


@asynccontextmanager
async def saying(*lines: str) -> AsyncIterator[tuple[LiveOrigin, Serving]]:
    """A followed stream of an origin that says so with each answer."""
    async with live(b"a") as (origin, gateway):
        origin.says = list(lines)
        yield origin, gateway


@pytest.mark.parametrize("lines", [(), (ORDINARY,)], ids=["fast path", "with a request id"])
async def test_poll_responses_have_the_cors_headers_of_the_origin(lines: tuple[str, ...]) -> None:
    async with saying(*SAYS) as (origin, gateway):
        waiting = await polling(gateway, "0001", *lines)
        await origin.polled(1)
        origin.append(b"b")
        assert said(await waiting.answer()) == OF_THE_ORIGIN
        late = await gateway.ask(get(at("0001"), *lines))
        assert (late.status, said(late)) == (200, OF_THE_ORIGIN)
        gateway.polls_wait(0.05)
        ended = await gateway.ask(get(at("0002"), *lines))
        assert (ended.status, said(ended)) == (204, OF_THE_ORIGIN)


async def test_event_stream_responses_have_the_cors_headers_of_the_origin() -> None:
    async with saying(*SAYS) as (_, gateway):
        client = await gateway.connect()
        client.send(get(at("0001", "sse")))
        assert said(await client.answer()) == OF_THE_ORIGIN


async def test_reads_answered_from_the_feed_have_the_cors_headers_of_the_origin() -> None:
    async with saying(*SAYS) as (origin, gateway):
        await following(gateway, "0001")
        await confirmed(gateway)
        assert said(await gateway.ask(get(f"{S}?offset=0001"))) == OF_THE_ORIGIN
        origin.append(b"b")
        await confirmed(gateway, "0002")
        got = await gateway.ask(get(f"{S}?offset=0001"))
        assert (got.body, said(got)) == (b"b", OF_THE_ORIGIN)


@pytest.mark.parametrize("lines", [(), (*SAYS, "Vary: Origin")], ids=["nothing", "by the page"])
async def test_cors_origins_apply_if_the_origin_sends_no_header_for_all_pages(
    lines: tuple[str, ...],
) -> None:
    async with saying(*lines) as (origin, gateway):
        waiting = await polling(gateway, "0001")
        viewer = await gateway.connect()
        viewer.send(get(at("0001", "sse")))
        assert said(await viewer.answer()) == OURS
        await origin.polled(1)
        origin.append(b"b")
        assert said(await waiting.answer()) == OURS


async def test_cors_headers_of_the_feed_follow_a_change_at_the_origin() -> None:
    async with saying(*SAYS) as (origin, gateway):
        waiting = await polling(gateway, "0001")
        await origin.polled(1)
        origin.says = []
        origin.append(b"b")
        assert said(await waiting.answer()) == OURS


@pytest.mark.usefixtures("quick_retries")
async def test_error_responses_have_the_cors_headers_of_the_gateway() -> None:
    async with saying(*SAYS) as (origin, gateway):
        waiting = await polling(gateway, "0001")
        await origin.polled(1)
        origin.answer_all(answer(b"", *SAYS, status="500 Oops"))
        got = await waiting.answer()
        assert (got.status, said(got)) == (503, OURS)
