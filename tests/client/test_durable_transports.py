"""The transports whose pages read from Headgate itself, unmodified, with their connections cut."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from headgate import StreamWriter
from headgate.names import stream_url
from headgate.runs import Runs
from headgate.stream_requests import StreamRequests

from tests.client.answer_cutter import AnswerCutter
from tests.clients.unicode_text import cut_into_tokens, make_text
from tests.support.serving import PREFIX, Serving, serving
from tests.support.unmodified_clients import run_script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

pytestmark = pytest.mark.usefixtures("processes")

SEED = 4439
TEXT = make_text(SEED, 8000)
TOKENS = [token.decode() for token in cut_into_tokens(TEXT, SEED, 13)]
HALF = len(TOKENS) // 2
CUT_AFTER = (1500, 4000, 8000)  # bytes: less than half of the text is, however it is read
PAGES = 2


class Streams(NamedTuple):
    """Where an application writes the model's answers, and the pages read them."""

    gateway: Serving
    cutter: AnswerCutter
    halfway: asyncio.Semaphore

    @property
    def written(self) -> str:
        return f"http://127.0.0.1:{self.gateway.port}{PREFIX}"

    @property
    def read(self) -> str:
        return f"http://127.0.0.1:{self.cutter.port}{PREFIX}"

    async def model(self) -> AsyncIterator[str]:
        """Half of the tokens, then, when both pages have read them, the others."""
        for token in TOKENS[:HALF]:
            yield token
        for _ in range(PAGES):
            await self.halfway.acquire()
        for token in TOKENS[HALF:]:
            yield token

    async def is_halfway(self, request: web.Request) -> web.Response:
        self.halfway.release()
        return web.Response()

    @contextlib.asynccontextmanager
    async def application(self, *routes: web.RouteDef) -> AsyncIterator[tuple[str, str]]:
        """Its URL, and how many characters, as JavaScript counts them, half of the answer has."""
        app = web.Application()
        app.add_routes([*routes, web.post("/chat/half", self.is_halfway)])
        async with TestServer(app) as server:
            half = len("".join(TOKENS[:HALF]).encode("utf-16-le")) // 2
            yield str(server.make_url("/chat")), str(half)


@pytest.fixture
async def streams() -> AsyncIterator[Streams]:
    async with serving() as gateway, AnswerCutter(gateway.port, CUT_AFTER) as cutter:
        yield Streams(gateway, cutter, asyncio.Semaphore(0))


async def test_an_ai_sdk_chat_over_cut_connections_is_read_to_its_end(streams: Streams) -> None:
    async with Runs(streams.written) as runs:

        async def ask(request: web.Request) -> web.Response:
            run = (await request.json())["id"]
            await runs.start(run, streams.model(), format="ai-sdk")
            return web.Response(status=201, headers={"Location": stream_url(streams.read, run)})

        async def resume(request: web.Request) -> web.Response:
            run = request.match_info["chat"]
            state = await runs.state(run)
            if state is None or state.status != "active":
                return web.Response(status=204)
            return web.json_response({"streamUrl": stream_url(streams.read, run)})

        routes = web.post("/chat", ask), web.get("/chat/{chat}/stream", resume)
        async with streams.application(*routes) as (api, half):
            report, said = await run_script("chat.mjs", "durable", api, half)
    assert ([page["text"] for page in report["pages"]], said) == ([TEXT] * PAGES, "")
    assert report["later"] is None
    assert sum(page["cuts"] for page in report["pages"]) > 0, streams.cutter


async def test_a_tanstack_ai_chat_over_cut_connections_is_read_to_its_end(streams: Streams) -> None:
    chat = "chat"
    async with (
        StreamRequests(stream_url(streams.written, chat)) as stream,
        asyncio.TaskGroup() as answers,
    ):
        await stream.create(content_type="application/json")

        async def answer(question: Iterable[str]) -> None:
            async with StreamWriter(stream) as writer:
                await writer.write(start("user"))
                for text in question:
                    await writer.write(content("user", text))
                await writer.write(start("assistant"))
                async for token in streams.model():
                    await writer.write(content("assistant", token))
                await writer.write({"type": "RUN_FINISHED"})

        async def ask(request: web.Request) -> web.Response:
            (question,) = (await request.json())["messages"]
            answers.create_task(answer(part["text"] for part in question["parts"]))
            return web.Response(status=202)

        async with streams.application(web.post("/chat", ask)) as (api, half):
            read = stream_url(streams.read, chat)
            report, said = await run_script("chat.mjs", "tanstack", api, half, read)
    first, second = report["pages"]
    assert (first["snapshot"], first["text"], said) == ([], f"Tell.{TEXT}", "")
    question, begun = second["snapshot"]
    assert (question, begun[0]) == (["user", "Tell."], "assistant")
    assert begun[1]
    assert begun[1] + second["text"] == TEXT
    assert first["cuts"] + second["cuts"] > 0, streams.cutter


def start(role: str) -> dict[str, str]:
    return {"type": "TEXT_MESSAGE_START", "messageId": role, "role": role}


def content(role: str, text: str) -> dict[str, str]:
    return {"type": "TEXT_MESSAGE_CONTENT", "messageId": role, "delta": text}
