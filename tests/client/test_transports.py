"""The chat clients that read from an application, unmodified, with their connections cut."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import uuid
from typing import TYPE_CHECKING

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from headgate.runs import Runs
from headgate.web.starlette import resume, send

from tests.client.answer_cutter import AnswerCutter
from tests.clients.unicode_text import cut_into_tokens, make_text
from tests.support.serving import PREFIX, serving
from tests.support.unmodified_clients import run_script
from tests.support.waiting import SERVER_PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.usefixtures("processes")

SEED = 4440
TEXT = make_text(SEED, 8000)
TOKENS = [token.decode() for token in cut_into_tokens(TEXT, SEED, 13)]
CHUNKS = len(TOKENS) + 6  # start and finish of the message, of its step and of the text
CUT_AFTER = (1500, 6000)  # bytes: less than the first half of the answer has


class Chats:
    """An application of a chat with a model: the `newest` run, and how often somebody came back."""

    def __init__(self) -> None:
        self.newest = ""
        self.resumes = 0
        self.waits = asyncio.Event()

    async def model(self) -> AsyncIterator[str]:
        yield TEXT
        self.waits.set()
        await asyncio.Event().wait()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        """The port where it listens."""
        app = FastAPI()

        @app.post("/chat")
        async def ask() -> Response:
            self.newest = uuid.uuid4().hex
            return send(await self.runs.start(self.newest, self.model(), format="ai-sdk"))

        # An encoded slash is decoded before the route is found.
        @app.get("/chat/{name:path}/stream")
        async def come_back(request: Request) -> Response:
            self.resumes += 1
            return await resume(request, self.runs, self.newest)

        async with serving() as gateway, Runs(f"http://127.0.0.1:{gateway.port}{PREFIX}") as runs:
            self.runs = runs
            with socket.create_server(("127.0.0.1", 0)) as listener:
                server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
                task = asyncio.create_task(server.serve([listener]))
                try:
                    yield listener.getsockname()[1]
                finally:
                    server.should_exit = True
                    await task


class CutChats(Chats):
    """A chat whose connections are cut. Its model waits until its reader is back."""

    async def model(self) -> AsyncIterator[str]:
        half = len(TOKENS) // 2
        for token in TOKENS[:half]:
            yield token
        await until(self.is_back, "the reader to be back", within_s=SERVER_PATIENCE_S)
        for token in TOKENS[half:]:
            yield token

    def is_back(self) -> bool:
        return self.cutter.cuts == self.resumes == len(CUT_AFTER)

    @contextlib.asynccontextmanager
    async def cut(self) -> AsyncIterator[tuple[str, int]]:
        """The URL of the chat, and the port at which nothing is cut."""
        async with self.serving() as port, AnswerCutter(port, CUT_AFTER) as self.cutter:
            yield f"http://127.0.0.1:{self.cutter.port}/chat", port


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
    async with CutChats().cut() as (api, port):
        report, said = await run_script("chat.mjs", "workflow", api)
        async with AnswerCutter(port, [4000]) as cutter:
            again = f"http://127.0.0.1:{cutter.port}/chat"
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


async def stopped_elsewhere(client: str) -> tuple[dict[str, object], str]:
    """Return what a client reports whose answer is stopped as it has come as far as it will."""
    chats = Chats()
    async with chats.serving() as port:
        api = f"http://127.0.0.1:{port}/chat"
        reading = asyncio.create_task(run_script("chat.mjs", client, api))
        await chats.waits.wait()
        assert await chats.runs.stop(chats.newest)
        return await reading


async def test_the_workflow_transport_does_not_resume_a_stopped_run() -> None:
    """The workflow transport asks until it is told that there is an end."""
    report, said = await stopped_elsewhere("workflow")
    assert (report, said) == ({"error": None, "text": TEXT, "asked": [""]}, "")


async def test_the_workflow_transport_does_not_resume_a_failed_run() -> None:
    class Failing(Chats):
        async def model(self) -> AsyncIterator[str]:
            yield TEXT
            raise ValueError("of nobody's business")

    async with Failing().serving() as port:
        report, said = await run_script("chat.mjs", "workflow", f"http://127.0.0.1:{port}/chat")
    failed = {"error": "Error: the source failed: ValueError", "text": TEXT, "asked": [""]}
    assert (report, said) == (failed, "")


@pytest.mark.parametrize("version", [6, 7])
async def test_use_chat_reports_an_answer_stopped_elsewhere_as_aborted(version: int) -> None:
    report, said = await stopped_elsewhere(f"useChat of ai {version} is stopped")
    assert (report["status"], said) == ("ready", "")
    assert report["shown"] == [["user", "Tell."], ["assistant", TEXT]]
    assert report["told"] == {"isAbort": True, "isError": False}


def start_index(asked: str) -> int:
    return int(asked.partition("/stream?startIndex=")[2])


def complaints(said: str) -> list[str]:
    """What the transport has written to the console, without what was wrong."""
    return re.findall(r"^(Error in [^:\n]*?|\[.*)(?= TypeError|$)", said, re.MULTILINE)
