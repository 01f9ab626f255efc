"""The chat clients of pages, unmodified, with their connections cut.

Some read an answer from the application that was asked, and some from Headgate itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from headgate import Runs, StreamWriter
from headgate.names import stream_url
from headgate.stream_requests import StreamRequests
from headgate.web.aiohttp import resume, send
from tests.client.answer_cutter import AnswerCutter
from tests.clients.unicode_text import cut_into_tokens, make_text
from tests.support.serving import PREFIX, serving
from tests.support.unmodified_clients import run_script
from tests.support.waiting import SERVER_PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

pytestmark = pytest.mark.usefixtures("processes")

SEED = 4440
TEXT = make_text(SEED, 8000)
TOKENS = [token.decode() for token in cut_into_tokens(TEXT, SEED, 13)]
HALF = len(TOKENS) // 2
CHUNKS = len(TOKENS) + 6  # start and finish of the message, of its step and of the text
CUT_AFTER = (1500, 6000)  # bytes: less than the first half of the answer has, however it is read
PAGES = 2


async def half_by_half(is_halfway: Any) -> AsyncIterator[str]:
    """Half of the tokens and, once that is awaited, the others."""
    for token in TOKENS[:HALF]:
        yield token
    await is_halfway()
    for token in TOKENS[HALF:]:
        yield token


@contextlib.asynccontextmanager
async def application(*routes: web.RouteDef) -> AsyncIterator[str]:
    """The URL of its chat."""
    app = web.Application()
    app.add_routes(routes)
    async with TestServer(app) as server:
        yield str(server.make_url("/chat"))


class Chats:
    """A chat with a model: the `newest` run, and how often somebody came back."""

    def __init__(self) -> None:
        self.newest = ""
        self.resumes = 0
        self.waits = asyncio.Event()

    async def model(self) -> AsyncIterator[str]:
        yield TEXT
        self.waits.set()
        await asyncio.Event().wait()

    async def ask(self, _: web.Request) -> web.StreamResponse:
        self.newest = uuid.uuid4().hex
        return send(await self.runs.start(self.newest, self.model(), format="ai-sdk"))

    async def come_back(self, request: web.Request) -> web.StreamResponse:
        self.resumes += 1
        return await resume(request, self.runs, self.newest)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Its URL."""
        routes = web.post("/chat", self.ask), web.get("/chat/{name}/stream", self.come_back)
        async with serving() as gateway, Runs(f"http://127.0.0.1:{gateway.port}{PREFIX}") as runs:
            self.runs = runs
            async with application(*routes) as api:
                yield api


@contextlib.asynccontextmanager
async def cut(api: str, cut_after: Iterable[int]) -> AsyncIterator[tuple[str, AnswerCutter]]:
    """A URL from which the answers are cut, and what does so."""
    port = re.findall(r":(\d+)/", api)[0]
    async with AnswerCutter(int(port), cut_after) as cutter:
        yield api.replace(port, str(cutter.port)), cutter


class CutChats(Chats):
    """A chat whose connections are cut. Its model waits until its reader is back."""

    def model(self) -> AsyncIterator[str]:
        def is_back() -> bool:
            return self.cutter.cuts == self.resumes == len(CUT_AFTER)

        return half_by_half(
            lambda: until(is_back, "the reader to be back", within_s=SERVER_PATIENCE_S)
        )

    @contextlib.asynccontextmanager
    async def cut(self) -> AsyncIterator[tuple[str, str]]:
        """The URL of the chat, and the one at which nothing is cut."""
        async with self.serving() as uncut, cut(uncut, CUT_AFTER) as (api, self.cutter):
            yield api, uncut


@pytest.mark.parametrize(
    ("version", "page"), [(6, "stays"), (6, "reloads"), (7, "stays"), (7, "reloads")]
)
async def test_use_chat_shows_the_whole_answer_after_resuming_cut_responses(
    version: int, page: str
) -> None:
    async with CutChats().cut() as (api, _):
        report, said = await run_script("chat.mjs", f"useChat of ai {version} {page}", api)
    whole = [["user", "Tell."], ["assistant", TEXT]]
    assert (report["shown"], said) == (whole, "")
    assert report["statuses"] == ["error", "error", "ready"]
    assert report["part"] == TEXT[: len(report["part"])] != TEXT
    assert report["later"] == [["ready"], whole]


async def test_the_workflow_transport_resumes_from_its_last_chunk() -> None:
    begin = 1 - CHUNKS  # at text-start
    async with CutChats().cut() as (api, uncut), cut(uncut, [4000]) as (again, _):
        report, said = await run_script("chat.mjs", "workflow", api)
        later, said_later = await run_script("chat.mjs", "workflow", again, str(begin))
    assert (report["text"], report["error"]) == (TEXT, None)
    question, *resumes = report["asked"]
    assert question == ""
    first, second = map(start_index, resumes)
    assert 0 < first < second < CHUNKS
    assert complaints(said) == ["Error in chat POST stream", "Error in chat GET reconnectToStream"]

    assert (later["text"], later["error"]) == (TEXT, None)
    tail, rest = map(start_index, later["asked"])
    assert tail == begin
    assert 1 < rest < CHUNKS
    assert complaints(said_later) == ["Error in chat GET reconnectToStream"]


def start_index(asked: str) -> int:
    return int(asked.partition("/stream?startIndex=")[2])


def complaints(said: str) -> list[str]:
    """What the transport has written to the console, without what was wrong."""
    return re.findall(r"^(Error in [^:\n]*?|\[.*)(?= TypeError|$)", said, re.MULTILINE)


class Failing(Chats):
    async def model(self) -> AsyncIterator[str]:
        yield TEXT
        self.waits.set()
        raise ValueError("of nobody's business")


FAILED = "Error: the source failed: ValueError"
ABORTED = {
    "status": "ready",
    "shown": [["user", "Tell."], ["assistant", TEXT]],
    "told": {"isAbort": True, "isError": False},
}


@pytest.mark.parametrize(
    ("client", "kind", "reported"),
    [
        ("workflow", Chats, {"error": None, "text": TEXT, "asked": [""]}),
        ("workflow", Failing, {"error": FAILED, "text": TEXT, "asked": [""]}),
        ("useChat of ai 6 is stopped", Chats, ABORTED),
        ("useChat of ai 7 is stopped", Chats, ABORTED),
    ],
    ids=["workflow stopped", "workflow failed", "ai 6 stopped", "ai 7 stopped"],
)
async def test_an_answer_that_fails_or_is_stopped_elsewhere_is_reported_and_not_resumed(
    client: str, kind: type[Chats], reported: dict[str, object]
) -> None:
    chats = kind()
    async with chats.serving() as api:
        reading = asyncio.create_task(run_script("chat.mjs", client, api))
        await chats.waits.wait()
        assert kind is Failing or await chats.runs.stop(chats.newest)
        assert await reading == (reported, "")


class Pages:
    """Two pages that read an answer from Headgate, with cut connections."""

    def __init__(self, written: str, read: str) -> None:
        self.written, self.read = written, read
        self._halfway = asyncio.Semaphore(0)

    def model(self) -> AsyncIterator[str]:
        async def both_have_half() -> None:
            for _ in range(PAGES):
                await self._halfway.acquire()

        return half_by_half(both_have_half)

    async def is_halfway(self, _: web.Request) -> web.Response:
        self._halfway.release()
        return web.Response()

    async def play(self, client: str, *routes: web.RouteDef, read: str = "") -> dict[str, Any]:
        """Return what the pages of an application report."""
        half = len("".join(TOKENS[:HALF]).encode("utf-16-le")) // 2  # as JavaScript counts
        async with application(*routes, web.post("/chat/half", self.is_halfway)) as api:
            report, said = await run_script("chat.mjs", client, api, str(half), read)
        assert said == ""
        assert sum(page["cuts"] for page in report["pages"]) > 0
        return dict(report)


@pytest.fixture
async def pages() -> AsyncIterator[Pages]:
    async with serving() as gateway:
        written = f"http://127.0.0.1:{gateway.port}{PREFIX}"
        async with cut(written, (1500, 4000, 8000)) as (read, _):
            yield Pages(written, read)


async def test_an_ai_sdk_chat_over_cut_connections_is_read_to_its_end(pages: Pages) -> None:
    async with Runs(pages.written) as runs:

        async def ask(request: web.Request) -> web.Response:
            run = (await request.json())["id"]
            await runs.start(run, pages.model(), format="ai-sdk")
            return web.Response(status=201, headers={"Location": stream_url(pages.read, run)})

        async def resume(request: web.Request) -> web.Response:
            run = request.match_info["chat"]
            state = await runs.state(run)
            if state is None or state.status != "active":
                return web.Response(status=204)
            return web.json_response({"streamUrl": stream_url(pages.read, run)})

        routes = web.post("/chat", ask), web.get("/chat/{chat}/stream", resume)
        report = await pages.play("durable", *routes)
    assert [page["text"] for page in report["pages"]] == [TEXT] * PAGES
    assert report["later"] is None


async def test_a_tanstack_ai_chat_over_cut_connections_is_read_to_its_end(pages: Pages) -> None:
    chat = "chat"
    async with (
        StreamRequests(stream_url(pages.written, chat)) as stream,
        asyncio.TaskGroup() as answers,
    ):
        await stream.create(content_type="application/json")

        async def answer(question: Iterable[str]) -> None:
            async with StreamWriter(stream) as writer:
                await writer.write(start("user"))
                for text in question:
                    await writer.write(content("user", text))
                await writer.write(start("assistant"))
                async for token in pages.model():
                    await writer.write(content("assistant", token))
                await writer.write({"type": "RUN_FINISHED"})

        async def ask(request: web.Request) -> web.Response:
            (question,) = (await request.json())["messages"]
            answers.create_task(answer(part["text"] for part in question["parts"]))
            return web.Response(status=202)

        read = stream_url(pages.read, chat)
        report = await pages.play("tanstack", web.post("/chat", ask), read=read)
    first, second = report["pages"]
    assert (first["snapshot"], first["text"]) == ([], f"Tell.{TEXT}")
    question, begun = second["snapshot"]
    assert (question, begun[0]) == (["user", "Tell."], "assistant")
    assert begun[1]
    assert begun[1] + second["text"] == TEXT


def start(role: str) -> dict[str, str]:
    return {"type": "TEXT_MESSAGE_START", "messageId": role, "role": role}


def content(role: str, text: str) -> dict[str, str]:
    return {"type": "TEXT_MESSAGE_CONTENT", "messageId": role, "delta": text}
