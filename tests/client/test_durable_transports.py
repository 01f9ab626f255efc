"""The transports whose pages read from Headgate itself, unmodified, with their connections cut."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, NamedTuple

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from headgate import Stream
from headgate.names import stream_url

from tests.clients.readers import run_script
from tests.clients.unicode_text import cut_into_tokens, make_text
from tests.support.answer_cutter import AnswerCutter
from tests.support.waiting import SERVER_PATIENCE_S, until
from tests.web.serving import PREFIX, Serving, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

SEED = 4439
TEXT = make_text(SEED, 8000)
TOKENS = [token.decode() for token in cut_into_tokens(TEXT, SEED, 13)]
CUT_AFTER = (1500, 4000, 8000)  # bytes: less than half of the text is, however it is read
PAGES = 2
BATCH = 4


class Answering(NamedTuple):
    """An application that writes a model's answer to a stream."""

    gateway: Serving
    cutter: AnswerCutter
    writers: list[asyncio.Task[None]]

    def url(self, port: int) -> str:
        return stream_url(f"http://127.0.0.1:{port}{PREFIX}", "runs/ä 1")

    @property
    def written(self) -> str:
        return self.url(self.gateway.port)

    @property
    def read(self) -> str:
        return self.url(self.cutter.port)

    @property
    def is_active(self) -> bool:
        return not self.writers[-1].done()

    async def create(self) -> None:
        async with Stream(self.written) as stream:
            await stream.create(content_type="application/json")

    def write(self, chunks: Sequence[object], *, close: bool) -> None:
        self.writers.append(asyncio.create_task(self._write(chunks, close=close)))

    async def _write(self, chunks: Sequence[object], *, close: bool) -> None:
        """Half of them, then, when all cuts were made and both pages are back, the others."""
        async with Stream(self.written) as stream:
            for at in range(0, len(chunks), BATCH):
                if at >= len(chunks) // 2 > at - BATCH:
                    await until(self._are_back, "both pages", within_s=SERVER_PATIENCE_S)
                body = json.dumps(chunks[at : at + BATCH]).encode()
                await stream.append(body, content_type="application/json")
            if close:
                await stream.close()

    def _are_back(self) -> bool:
        are_cut = self.cutter.cuts == len(CUT_AFTER)
        return are_cut and self.gateway.limits.live_readers == PAGES


@pytest.fixture
async def answering() -> AsyncIterator[Answering]:
    async with serving() as gateway, AnswerCutter(gateway.port, CUT_AFTER) as cutter:
        found = Answering(gateway, cutter, [])
        yield found
        await asyncio.gather(*found.writers)


@contextlib.asynccontextmanager
async def listening(*routes: web.RouteDef) -> AsyncIterator[str]:
    app = web.Application()
    app.add_routes(routes)
    async with TestServer(app) as server:
        yield str(server.make_url("/chat"))


async def test_a_chat_of_the_ai_sdk_is_read_to_its_end_though_it_is_cut(
    answering: Answering,
) -> None:
    async def ask(request: web.Request) -> web.Response:
        assert (await request.json())["id"] == "chat"
        await answering.create()
        answering.write(ui_message(TOKENS), close=True)
        return web.Response(status=201, headers={"Location": answering.read})

    async def resume(request: web.Request) -> web.Response:
        if not answering.is_active:
            return web.Response(status=204)
        return web.json_response({"streamUrl": answering.read})

    routes = web.post("/chat", ask), web.get("/chat/chat/stream", resume)
    async with listening(*routes) as api:
        report, said = await run_script("chat.mjs", "durable", api)
    asked, page = report["asked"], report["page"]
    assert (asked["text"], page["text"], report["later"], said) == (TEXT, TEXT, None, "")
    assert asked["cuts"] + page["cuts"] > 0, answering.cutter


async def test_a_chat_of_tanstack_ai_is_read_to_its_end_though_it_is_cut(
    answering: Answering,
) -> None:
    async def ask(request: web.Request) -> web.Response:
        (question,) = (await request.json())["messages"]
        asked = [part["text"] for part in question["parts"]]
        chunks = [*message("user", asked), *message("assistant", TOKENS), {"type": "RUN_FINISHED"}]
        answering.write(chunks, close=False)
        return web.Response(status=202)

    await answering.create()
    async with listening(web.post("/chat", ask)) as api:
        report, said = await run_script("chat.mjs", "tanstack", api, answering.read)
    first, second = report["first"], report["second"]
    assert (first["snapshot"], first["text"], said) == ([], f"Tell.{TEXT}", "")
    question, begun = second["snapshot"]
    assert question == ["user", "Tell."]
    assert begun[1]
    assert begun[1] + second["text"] == TEXT
    assert first["cuts"] + second["cuts"] > 0, answering.cutter


def ui_message(tokens: Sequence[str]) -> list[dict[str, str]]:
    return [
        {"type": "start", "messageId": "answer"},
        {"type": "text-start", "id": "text"},
        *({"type": "text-delta", "id": "text", "delta": token} for token in tokens),
        {"type": "text-end", "id": "text"},
        {"type": "finish"},
    ]


def message(role: str, tokens: Sequence[str]) -> list[dict[str, str]]:
    return [
        {"type": "TEXT_MESSAGE_START", "messageId": role, "role": role},
        *({"type": "TEXT_MESSAGE_CONTENT", "messageId": role, "delta": it} for it in tokens),
        {"type": "TEXT_MESSAGE_END", "messageId": role},
    ]
