"""Official clients, unmodified, write and read through a configuration in front of Headgate."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import httpx
import pytest
from durable_streams import AsyncDurableStream

from tests.cdn.candidates import Candidate
from tests.cdn.candidates import edge as started_edge
from tests.cdn.origin import STREAMS, headgate_origin
from tests.clients.token_writer import close_stream
from tests.support.examples import cases
from tests.support.unmodified_clients import (
    read_with_python,
    read_with_typescript,
    run_client_script,
    run_script,
)
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cdn.edges import Edge
    from tests.cdn.origin import HeadgateOrigin
    from tests.support.unmodified_clients import Mode

POLL_S = 2.0
LIVE: tuple[Mode, ...] = ("long-poll", "sse")
# Characters of one to four bytes, and what means something in JSON, HTML and SSE.
WORDS = ("Once ", "ä…", "<b>&\U0001f600", '"data: \\', "the end")
EDGES = ("nginx", "varnish", "cloudflare-worker")
# Of three clients that read in the same two ways as that in TypeScript.
IN_PART = cases(EDGES, {"varnish"}, "Varnish, and each edge with the TypeScript client")
MOST_S = 40.0  # a client that needs longer is stuck


@pytest.fixture(scope="module")
def origin(processes: None) -> Iterator[HeadgateOrigin]:
    with headgate_origin(POLL_S) as started:
        yield started


@pytest.fixture(scope="module", params=EDGES)
def edge(processes: None, request: pytest.FixtureRequest, origin: HeadgateOrigin) -> Iterator[Edge]:
    with started_edge(Candidate(request.param), origin) as started:
        yield started


def url(edge: Edge, path: str) -> str:
    return f"http://127.0.0.1:{edge.port}{path}"


@pytest.mark.usefixtures("processes")
async def test_the_typescript_client_behind_a_cdn_gets_each_written_item(
    edge: Edge, tmp_path: Path
) -> None:
    items = [{"at": at, "word": WORDS[at % len(WORDS)]} for at in range(300)]
    source = tmp_path / "items.json"
    source.write_text(json.dumps(items), encoding="utf-8")
    paths = {mode: edge.origin.path() for mode in LIVE}

    async def follow(mode: Mode) -> None:
        address, copy = url(edge, paths[mode]), tmp_path / mode
        async with httpx.AsyncClient(verify=False) as client:
            made = await client.put(address, headers={"Content-Type": "application/json"})
        assert made.status_code == 201
        report = await run_client_script("json", address, address, mode, str(source), str(copy))
        assert json.loads(copy.read_text(encoding="utf-8")) == items
        assert (report["errors"], report["closed"]) == ([], True)
        assert mode in report["requests"]

    async with asyncio.timeout(MOST_S):
        await asyncio.gather(*map(follow, LIVE))
        stored = {mode: edge.stored(path) for mode, path in paths.items()}
        assert [json.loads(text) for text in stored.values()] == [items, items]

        async def is_caught_up() -> bool:
            again = await read_with_typescript(url(edge, paths["sse"]), "catch-up")
            return again.text == stored["sse"]

        # What an edge knows of the tail may be a second old: here, that there was nothing yet.
        await until(is_caught_up, "the same bytes by catch-up")


async def test_the_python_client_behind_a_cdn_follows_its_own_appends(edge: Edge) -> None:
    path, before = edge.origin.path(), edge.origin.asked(STREAMS)

    def both_wait() -> bool:
        now = edge.origin.asked(STREAMS)
        return now.polls > before.polls and now.sse > before.sse

    async with asyncio.timeout(MOST_S), httpx.AsyncClient(verify=False) as client:
        address = url(edge, path)
        stream = await AsyncDurableStream.create(
            address, content_type="text/plain; charset=utf-8", client=client
        )
        readers = [asyncio.ensure_future(read_with_python(address, mode)) for mode in LIVE]
        await until(both_wait, "both readers at the tail")
        for word in WORDS:
            await stream.append(word)
        await close_stream(address)
        for mode, reading in zip(LIVE, readers, strict=True):
            result = await reading
            assert (mode, result.text.decode()) == (mode, "".join(WORDS))
            assert result.closed
            assert mode in result.requests
    assert edge.stored(path).decode() == "".join(WORDS)


@pytest.mark.torture("a chat, and each client, read through the same edge")
@pytest.mark.parametrize("edge", IN_PART, indirect=True)
async def test_two_stream_databases_behind_a_cdn_agree(edge: Edge) -> None:
    """StreamDB: an action is done when what it wrote has come back."""
    users = [[f"{at}", word] for at, word in enumerate(WORDS)]

    async def agree(mode: Mode) -> None:
        path = edge.origin.path()
        seen, said = await run_script("streamdb.mjs", url(edge, path), mode, *WORDS)
        assert (seen, said) == ([users, users], "")
        written = [event["value"] for event in json.loads(edge.stored(path))]
        assert written == [{"id": key, "name": word} for key, word in users]

    async with asyncio.timeout(MOST_S):
        await asyncio.gather(*map(agree, LIVE))


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("edge", IN_PART, indirect=True)
async def test_an_ai_sdk_chat_behind_a_cdn_is_read_live_and_after_a_reload(edge: Edge) -> None:
    """The transport of the AI SDK: no word is written before the one before it was read."""
    path = edge.origin.path()
    async with asyncio.timeout(MOST_S):
        read, said = await run_script("aisdk.mjs", url(edge, path), *WORDS)
    assert (read, said) == ({"asked": "".join(WORDS), "again": "".join(WORDS)}, "")
    deltas = [chunk.get("delta", "") for chunk in json.loads(edge.stored(path))]
    assert "".join(deltas) == "".join(WORDS)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("edge", IN_PART, indirect=True)
async def test_a_yjs_document_behind_a_cdn_opens_after_compaction(edge: Edge) -> None:
    """The server of Yjs keeps its documents behind the edge, and reads them through it."""
    async with asyncio.timeout(MOST_S):
        report, _ = await run_script("yjs.mjs", url(edge, ""))
    assert report["opened"] == [True, True]
    assert report["snapshot"].endswith("_snapshot")
