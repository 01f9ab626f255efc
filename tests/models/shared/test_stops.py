"""Answers that are stopped at another gateway than the one that writes them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.models.answers import response, without_ids
from tests.models.shared.gateways import (
    KEY,
    RESPONSES,
    ask,
    events_from,
    held_after,
    held_gateways,
    read_to,
)

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    import aiohttp

pytestmark = pytest.mark.usefixtures("processes")


TAKEN = "answer.taken"  # a warning: a gateway stood still


async def test_a_response_is_cancelled_at_another_gateway(
    http: aiohttp.ClientSession, origin: str
) -> None:
    async with (
        held_gateways(origin) as (provider, one, other),
        ask(http, one, path=RESPONSES) as answer,
    ):
        begun = await events_from(answer, 3)
        url = f"{other.url}{RESPONSES}/resp_1/cancel"
        async with http.post(url, headers=KEY) as cancelled:
            assert (await cancelled.json())["status"] == "cancelled"
        await provider.has_left.wait()
        body = without_ids(begun + await answer.read())
        assert body.startswith(b"".join(response()[:3]))
        assert b"response.failed" in body or b"error" in body
        assert TAKEN not in one.output()
    assert len(provider.requests) == 1


async def test_a_response_in_the_background_is_cancelled_at_another_gateway_without_a_warning(
    http: aiohttp.ClientSession, origin: str
) -> None:
    background = {"model": "m", "stream": True, "background": True}
    async with (
        held_gateways(origin) as (provider, one, other),
        ask(http, one, path=RESPONSES, body=background) as answer,
    ):
        await events_from(answer, 3)
        async with http.post(f"{other.url}{RESPONSES}/resp_1/cancel", headers=KEY) as cancelled:
            assert cancelled.status == 200  # passed on, too
        await provider.has_left.wait()
        assert b"response_cancelled" in await answer.read()
        assert await outcomes(http, answer.headers["Stream-URL"]) == ["aborted"]
        assert TAKEN not in one.output()


@pytest.mark.parametrize("stream", [None, "chat-1"], ids=["alone", "in a chat"])
async def test_a_cancelled_response_is_recorded_as_one_by_the_gateway_that_writes_it(
    http: aiohttp.ClientSession, origin: str, stream: str | None
) -> None:
    fields = {"Headgate_Stream": stream} if stream else {}
    body = {"model": "m", "stream": True, "background": True}
    async with (
        held_after(origin, b"response_cancelled") as (relay, slow),
        held_gateways(origin, slow) as (provider, one, other),
        ask(http, one, path=RESPONSES, body=body, **fields) as answer,
    ):
        await events_from(answer, 3)
        url = f"{other.url}{RESPONSES}/resp_1/cancel"
        cancelling = asyncio.create_task(status_of(http.post(url, headers=KEY)))
        await asyncio.wait_for(relay.held.wait(), 10)
        await asyncio.wait_for(provider.has_left.wait(), 10)
        assert b"response_cancelled" in await answer.read()
        assert await outcomes(http, answer.headers["Stream-URL"]) == ["aborted"]
        relay.release()
        assert await cancelling == 200
        assert TAKEN not in one.output()


async def status_of(response: AbstractAsyncContextManager[aiohttp.ClientResponse]) -> int:
    """Return the status of a response."""
    async with response as answer:
        return answer.status


async def outcomes(http: aiohttp.ClientSession, url: str) -> list[str]:
    """Return the outcomes in the record of a stream of answers."""
    async with http.get(f"{url}/record?offset=-1") as record:
        return [it["outcome"] for it in await record.json() if it["entry"] == "end"]


async def test_a_response_in_a_chat_is_cancelled_at_another_gateway_and_the_next_is_not(
    http: aiohttp.ClientSession, origin: str
) -> None:
    chat = {"Headgate_Stream": "chat-1"}
    async with held_gateways(origin) as (provider, one, other):
        async with ask(http, one, "a", path=RESPONSES, **chat) as answer:
            await events_from(answer, 3)
            url = f"{other.url}{RESPONSES}/resp_1/cancel"
            async with http.post(url, headers=KEY) as cancelled:
                assert (await cancelled.json())["status"] == "cancelled"
            await answer.read()
        assert TAKEN not in one.output()
        provider.allow()
        async with ask(http, one, "b", path=RESPONSES, **chat) as following:
            assert without_ids(await following.read()) == b"".join(response())


async def test_the_stream_is_deleted_at_another_gateway_and_the_call_is_stopped(
    http: aiohttp.ClientSession, origin: str
) -> None:
    async with held_gateways(origin) as (provider, one, other):
        async with ask(http, one) as answer, ask(http, other) as joined:
            await read_to(joined, await events_from(answer, 3))
            url = answer.headers["Stream-URL"].replace(one.url, other.url)
            async with http.delete(url) as deleted:
                assert deleted.status == 204
            await provider.has_left.wait()
            async with asyncio.timeout(5):
                for body in await asyncio.gather(answer.read(), joined.read()):
                    assert b"answer_deleted" in body
        assert TAKEN not in one.output()
        provider.allow()
        async with ask(http, other) as again:
            assert again.status == 200
            await again.read()
    assert len(provider.requests) == 2


async def test_a_response_is_deleted_by_its_id_at_another_gateway(
    http: aiohttp.ClientSession, origin: str
) -> None:
    async with (
        held_gateways(origin) as (provider, one, other),
        ask(http, one, path=RESPONSES) as answer,
    ):
        await events_from(answer, 3)
        async with http.delete(f"{other.url}{RESPONSES}/resp_1", headers=KEY) as deleted:
            assert deleted.status == 200  # passed on, too
        await provider.has_left.wait()
        await answer.read()
        assert TAKEN not in one.output()
