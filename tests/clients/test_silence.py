"""The comments in a silence of an event stream are no events for any client."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import anthropic._streaming
import httpx
import httpx_sse
import openai._streaming
import pytest

from tests.support.processes import NODE, headgate
from tests.support.unmodified_clients import (
    SCRIPTS,
    read_with_browser,
    read_with_python,
    read_with_typescript,
)
from tests.support.waiting import until

HEARTBEAT_S = 0.1
TEXT = {"Content-Type": "text/plain"}
LIVE, VIEW = "offset=-1&live=sse", "offset=-1&view=sse"
# The clients below; the official ones read the protocol's events only.
READERS = {LIVE: 9, VIEW: 6}


async def httpx_events(url: str) -> list[list[str]]:
    async with (
        httpx.AsyncClient(timeout=60, verify=False) as client,
        httpx_sse.aconnect_sse(client, "GET", url) as source,
    ):
        return [[one.event, one.data] async for one in source.aiter_sse()]


async def sdk_events(url: str, decoder: Any) -> list[list[str]]:
    """Return what the decoder of an SDK makes of the events, as the SDK feeds it."""
    async with (
        httpx.AsyncClient(timeout=60, verify=False) as client,
        client.stream("GET", url) as response,
    ):
        events = decoder.aiter_bytes(response.aiter_bytes())
        return [[one.event or "message", one.data] async for one in events]


async def node_events(url: str) -> list[list[list[str]]]:
    """Return what eventsource-parser, fetch-event-source and an EventSource read."""
    process = await asyncio.create_subprocess_exec(
        *(NODE, "--no-warnings", "--experimental-eventsource", SCRIPTS / "silent_events.mjs", url),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    found: list[list[list[str]]] = json.loads(output)
    return found


def text(events: list[list[str]]) -> str:
    """Return the text of the stream; no event may be empty."""
    assert all(data for _, data in events), events
    return "".join(data for name, data in events if name in {"message", "data"})


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("query", [LIVE, VIEW])
async def test_no_client_sees_an_event_in_the_silence_of_a_stream(query: str) -> None:
    readers = f'headgate_live_readers{{mode="sse",route="/v1/stream"}} {READERS[query]}.0'
    with headgate(environment={"HEADGATE_LIVE__SSE_HEARTBEAT": str(HEARTBEAT_S)}) as server:
        stream = f"{server.streams}/s"
        url = f"{stream}?{query}"
        async with aiohttp.ClientSession() as http:

            async def has_readers() -> bool:
                async with http.get(f"{server.admin_url}/metrics") as metrics:
                    return readers in await metrics.text()

            async with http.put(stream, data=b"one ", headers=TEXT) as created:
                assert created.status == 201
            # The decoders of the SDKs have no public names; their clients read no stream of a URL.
            async with asyncio.TaskGroup() as tasks:
                reads = [
                    tasks.create_task(httpx_events(url)),
                    tasks.create_task(sdk_events(url, openai._streaming.SSEDecoder())),
                    tasks.create_task(sdk_events(url, anthropic._streaming.SSEDecoder())),
                ]
                node = tasks.create_task(node_events(url))
                official = [
                    tasks.create_task(read(stream, "sse"))
                    for read in (read_with_browser, read_with_python, read_with_typescript)
                    if query == LIVE
                ]
                await until(has_readers, "each client to read", within_s=45)
                await asyncio.sleep(3 * HEARTBEAT_S)  # what is to be seen is that nothing comes
                closing = {**TEXT, "Stream-Closed": "true"}
                async with http.post(stream, data=b"two", headers=closing) as appended:
                    assert appended.status == 204
    for events in [*(read.result() for read in reads), *node.result()]:
        assert text(events) == "one two"
    for reading in official:
        assert reading.result().text == b"one two"
