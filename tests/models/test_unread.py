"""Answers that nobody reads any more: which are stopped, and which go on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest

from gateway.features.models.unread import LOOK_S, UNREAD_S
from tests.models.provider import providing
from tests.models.serving import OPENAI, answering
from tests.models.tokens import tokens_file
from tests.support.processes import Headgate
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import aiohttp

    from tests.models.provider import Provider

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


READS = ("?offset=-1&live=sse", "?view=text&until=end", "?offset=now&live=long-poll", "?offset=-1")


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


# ---------------------------------------------------------------- responses that Headgate ends

CONFIG = """
live.sse_max_age = 60
shutdown.grace = 30
credentials.tokens_file = "{folder}/tokens.toml"

[[routes]]
prefix = "/v1/stream"
storage = "file:{folder}/data"
auth = ["tokens"]
anonymous = ["read"]
visibility = "public"

[[models]]
prefix = "/openai"
upstream = "{upstream}"
dialect = "openai"
streams = "/v1/stream/answers"
auth = []
"""
CONFIG_FILE = "headgate.toml"


@contextlib.contextmanager
def configured(folder: Path, provider: Provider, setting: str) -> Iterator[Headgate]:
    """Start a gateway with a setting of 2 s, if it is one; a reload can change its file."""
    config = folder / CONFIG_FILE
    settings = CONFIG.format(folder=folder, upstream=provider.url)
    config.write_text(re.sub(rf"(?m)^{setting} = .*", f"{setting} = 2", settings))
    tokens_file(folder)
    server = Headgate()
    server.arguments[server.arguments.index("--storage") :] = "--config", str(config)
    try:
        yield server.start()
    finally:
        server.close()


async def whole(http: aiohttp.ClientSession, url: str) -> bytes:
    async with http.get(url) as reading:
        return await reading.read()


BY_URL, AS_TEXT = "?offset=-1&live=sse", "?view=text&until=end"
POLL = "?offset=now&live=long-poll"
# Who ends the response of a reader of the stream, how it reads, and whether the client at the route
# leaves before that or after it.
ENDED_HERE: dict[str, tuple[str, str, bool]] = {
    "SSE, by a stop": ("SIGTERM", BY_URL, True),
    "text, by a stop": ("SIGTERM", AS_TEXT, True),
    "a long-poll, by a stop": ("SIGTERM", POLL, True),
    "SSE, by a stop before the client leaves": ("SIGTERM", BY_URL, False),
    "SSE, by a reload": ("SIGHUP", BY_URL, True),
    "text, by a reload": ("SIGHUP", AS_TEXT, True),
    "SSE, by a reload before the client leaves": ("SIGHUP", BY_URL, False),
    "SSE, by its age": ("live.sse_max_age", BY_URL, True),
    "SSE, by its age before the client leaves": ("live.sse_max_age", BY_URL, False),
}


@pytest.mark.parametrize(
    ("ended_by", "query", "is_left_first"), ENDED_HERE.values(), ids=ENDED_HERE
)
async def test_an_answer_goes_on_whose_reader_was_ended_by_headgate(
    http: aiohttp.ClientSession, tmp_path: Path, *, ended_by: str, query: str, is_left_first: bool
) -> None:
    async with providing() as provider:
        with configured(tmp_path, provider, ended_by) as gateway:
            provider.hold()
            provider.allow(3)
            answer = await begin(http, gateway)
            url = answer.headers["Stream-URL"]
            reading = asyncio.create_task(whole(http, url + query))
            if is_left_first:
                answer.close()
            await asyncio.sleep(2 * LOOK_S)  # so that the reader is seen
            if ended_by == "SIGHUP":
                config = tmp_path / CONFIG_FILE
                config.write_text(config.read_text().replace('"public"', '"private"'))
            if ended_by.startswith("SIG"):
                os.kill(gateway.pid, signal.Signals[ended_by])
            await reading
            answer.close()
            await asyncio.sleep(LONG_S)
            assert provider.left == 0
            provider.allow()
            if ended_by == "SIGTERM":
                assert gateway.process is not None
                assert await asyncio.to_thread(gateway.process.wait, 20) == 0
                gateway.start()
            await until(lambda: _has_ended(http, url))
            assert (await recorded(http, url))["outcome"] == "complete"
