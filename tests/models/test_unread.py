"""Answers that nobody reads any more: which are stopped, and which go on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from headgate_gateway.features.models.ends import UNREAD_S
from headgate_gateway.features.models.writer import LOOK_S
from tests.models.serving import OPENAI, answering
from tests.support.waiting import until

if TYPE_CHECKING:
    import aiohttp

    from tests.support.processes import Headgate


pytestmark = pytest.mark.usefixtures("processes")

KEY = {"Authorization": "Bearer sk-mine"}
LONG_S = UNREAD_S + 2.0  # the wait for the time is the promise


async def begin(http: aiohttp.ClientSession, gateway: Headgate, **asked: Any) -> Any:
    """Begin an answer, and return its response after the first events."""
    headers = {**KEY, **asked.pop("headers", {})}
    body = {"model": "m", "stream": True, **asked}
    url = f"{gateway.url}{OPENAI}/v1/responses"
    answer = await http.post(url, json=body, headers=headers)
    assert await answer.content.readany()
    return answer


async def recorded(http: aiohttp.ClientSession, url: str) -> Any:
    async with http.get(f"{url}/record") as record:
        return (await record.json())[-1]


async def test_an_answer_without_key_and_name_is_stopped_when_nobody_reads_it(
    http: aiohttp.ClientSession,
) -> None:
    async with answering() as (provider, gateway):
        provider.hold()
        provider.allow(3)
        answer = await begin(http, gateway)
        url = answer.headers["Stream-URL"]
        answer.close()
        await until(provider.has_left.is_set)
        await until(lambda: _has_ended(http, url))
        end = await recorded(http, url)
        assert (end["outcome"], "5 seconds" in end["reason"]) == ("left", True)
        assert await _counts_left(http, gateway)


async def _counts_left(http: aiohttp.ClientSession, gateway: Headgate) -> bool:
    async with http.get(f"{gateway.admin_url}/metrics") as metrics:
        line = f'headgate_model_answers_total{{outcome="left",route="{OPENAI}"}} 1'
        return line in await metrics.text()


async def _has_ended(http: aiohttp.ClientSession, url: str) -> bool:
    return "outcome" in await recorded(http, url)


async def test_a_client_that_leaves_before_the_head_stops_the_call(
    http: aiohttp.ClientSession,
) -> None:
    async with answering() as (provider, gateway):
        provider.hold_heads()
        asking = asyncio.create_task(begin(http, gateway))
        await until(lambda: len(provider.requests) == 1)
        asking.cancel()
        await asyncio.wait([asking])
        await until(lambda: _counts_left(http, gateway))


GOES_ON: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "with a key": ({}, {"headers": {"Idempotency-Key": "one"}}),
    "with a prefix": ({}, {"headers": {"Headgate-Key-Prefix": "job"}}),
    "with a name": ({}, {"headers": {"Headgate-Stream": "chat"}}),
    "in the background": ({"leave": "stop"}, {"background": True}),
    "by the setting": ({"leave": "go-on"}, {}),
}


@pytest.mark.parametrize(("settings", "asked"), GOES_ON.values(), ids=GOES_ON)
async def test_an_answer_goes_on_without_its_client(
    http: aiohttp.ClientSession, settings: dict[str, Any], asked: dict[str, Any]
) -> None:
    async with answering(settings=settings) as (provider, gateway):
        provider.hold()
        provider.allow(3)
        answer = await begin(http, gateway, **asked)
        answer.close()
        await asyncio.sleep(LONG_S)
        assert provider.left == 0
        provider.allow()
        await until(lambda: _has_ended(http, answer.headers["Stream-URL"]))
        assert (await recorded(http, answer.headers["Stream-URL"]))["outcome"] == "complete"


READS = ("?offset=-1&live=sse", "?view=text&until=end", "?offset=now&live=long-poll")


@pytest.mark.parametrize("query", READS)
async def test_an_answer_goes_on_while_somebody_reads_it_by_its_url(
    http: aiohttp.ClientSession, query: str
) -> None:
    async with answering(environment={"HEADGATE_LIVE__SSE_MAX_AGE": "3"}) as (provider, gateway):
        provider.hold()
        provider.allow(3)
        answer = await begin(http, gateway)
        url = answer.headers["Stream-URL"]

        async def read() -> None:
            while True:
                async with http.get(url + query) as reading:
                    await reading.read()
                await asyncio.sleep(1.0)

        reader = asyncio.create_task(read())
        answer.close()
        await asyncio.sleep(LONG_S)
        assert provider.left == 0
        reader.cancel()
        await asyncio.wait([reader])
        await until(provider.has_left.is_set)


async def test_a_key_whose_answer_was_stopped_without_readers_begins_another(
    http: aiohttp.ClientSession,
) -> None:
    async with answering(settings={"leave": "stop"}) as (provider, gateway):
        provider.hold()
        provider.allow(3)
        fields = {"headers": {"Idempotency-Key": "one"}}
        (await begin(http, gateway, **fields)).close()
        await until(provider.has_left.is_set)
        provider.allow()
        url = (await begin(http, gateway, **fields)).headers["Stream-URL"]
        await until(lambda: _has_ended(http, url))
        assert (await recorded(http, url))["outcome"] == "complete"
        assert len(provider.requests) == 2


async def test_a_slow_reader_of_the_answer_before_does_not_keep_an_answer_unread(
    http: aiohttp.ClientSession,
) -> None:
    named = {"headers": {"Headgate-Stream": "chat"}}
    async with answering(settings={"leave": "stop"}) as (provider, gateway):
        provider.flood = 256  # more than the buffers of a client that does not read
        slow = await begin(http, gateway, **named)
        await until(lambda: _has_ended(http, slow.headers["Stream-URL"]))
        provider.flood = 0
        provider.hold()
        provider.allow(3)
        (await begin(http, gateway, **named)).close()
        await asyncio.sleep(2 * LOOK_S)  # so that nobody is seen to read the second one
        slow.close()
        await until(provider.has_left.is_set)
