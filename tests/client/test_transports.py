"""The chat clients that read from the application, unmodified, with their connections cut."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, NamedTuple

import pytest
from headgate.runs import Runs

from tests.client.answer_cutter import AnswerCutter
from tests.client.chat_apps import Chats, aiohttp_app, fastapi_app
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
APPS = {"aiohttp": aiohttp_app, "fastapi": fastapi_app}


class Chatting(NamedTuple):
    """A chat whose connections are cut. Its model waits until its reader is back."""

    chats: Chats
    app: int  # its port
    cutter: AnswerCutter

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.cutter.port}/chat"


@pytest.fixture(params=APPS)
async def chatting(request: pytest.FixtureRequest) -> AsyncIterator[Chatting]:
    async def model() -> AsyncIterator[str]:
        half = len(TOKENS) // 2
        for token in TOKENS[:half]:
            yield token
        await until(is_back, "the reader to be back", within_s=SERVER_PATIENCE_S)
        for token in TOKENS[half:]:
            yield token

    def is_back() -> bool:
        return cutter.cuts == chats.resumes == len(CUT_AFTER)

    async with serving() as gateway, Runs(f"http://127.0.0.1:{gateway.port}{PREFIX}") as runs:
        chats = Chats(runs, model)
        async with APPS[request.param](chats) as port, AnswerCutter(port, CUT_AFTER) as cutter:
            yield Chatting(chats, port, cutter)


@pytest.mark.parametrize(
    ("chatting", "version", "page"),
    [
        ("aiohttp", 6, "stays"),
        ("aiohttp", 6, "reloads"),
        ("aiohttp", 7, "stays"),
        ("fastapi", 7, "reloads"),
    ],
    indirect=["chatting"],
)
async def test_use_chat_shows_the_whole_answer_after_resuming_cut_responses(
    chatting: Chatting, version: int, page: str
) -> None:
    client = f"useChat of ai {version} {page}"
    report, said = await run_script("chat.mjs", client, chatting.api)
    whole = [["user", "Tell."], ["assistant", TEXT]]
    assert (report["shown"], said) == (whole, "")
    assert report["statuses"] == ["error", "error", "ready"]
    assert report["part"] == TEXT[: len(report["part"])] != TEXT
    assert report["later"] == [["ready"], whole]


async def test_the_workflow_transport_resumes_from_its_last_chunk(
    chatting: Chatting,
) -> None:
    report, said = await run_script("chat.mjs", "workflow", chatting.api)
    assert (report["text"], report["error"]) == (TEXT, None)
    question, *resumes = report["asked"]
    assert question == ""
    first, second = map(start_index, resumes)
    assert 0 < first < second < CHUNKS
    assert complaints(said) == ["Error in chat POST stream", "Error in chat GET reconnectToStream"]

    begin = 1 - CHUNKS  # at text-start
    async with AnswerCutter(chatting.app, [4000]) as cutter:
        api = f"http://127.0.0.1:{cutter.port}/chat"
        report, said = await run_script("chat.mjs", "workflow", api, str(begin))
    assert (report["text"], report["error"]) == (TEXT, None)
    tail, rest = map(start_index, report["asked"])
    assert tail == begin
    assert 1 < rest < CHUNKS
    assert complaints(said) == ["Error in chat GET reconnectToStream"]


@pytest.mark.parametrize(
    ("is_stopped", "error"), [(True, None), (False, "Error: the source failed: ValueError")]
)
async def test_the_workflow_transport_does_not_resume_a_stopped_or_failed_run(
    is_stopped: bool, error: str | None
) -> None:
    """The workflow transport asks until it is told that there is an end."""
    waits = asyncio.Event()

    async def model() -> AsyncIterator[str]:
        yield TEXT
        if not is_stopped:
            raise ValueError("of nobody's business")
        waits.set()
        await asyncio.Event().wait()

    async with serving() as gateway, Runs(f"http://127.0.0.1:{gateway.port}{PREFIX}") as runs:
        chats = Chats(runs, model)
        async with aiohttp_app(chats) as port:
            api = f"http://127.0.0.1:{port}/chat"
            reading = asyncio.create_task(run_script("chat.mjs", "workflow", api))
            if is_stopped:
                await waits.wait()
                (run,) = chats.newest.values()
                assert await runs.stop(run)
            report, said = await reading
    assert (report, said) == ({"error": error, "text": TEXT, "asked": [""]}, "")


@pytest.mark.parametrize("version", [6, 7])
async def test_use_chat_reports_an_answer_stopped_elsewhere_as_aborted(version: int) -> None:
    waits = asyncio.Event()

    async def model() -> AsyncIterator[str]:
        yield TEXT
        waits.set()
        await asyncio.Event().wait()

    async with serving() as gateway, Runs(f"http://127.0.0.1:{gateway.port}{PREFIX}") as runs:
        chats = Chats(runs, model)
        async with aiohttp_app(chats) as port:
            api = f"http://127.0.0.1:{port}/chat"
            client = f"useChat of ai {version} is stopped"
            reading = asyncio.create_task(run_script("chat.mjs", client, api))
            await waits.wait()
            (run,) = chats.newest.values()
            assert await runs.stop(run)
            report, said = await reading
    assert (report["status"], said) == ("ready", "")
    assert report["shown"] == [["user", "Tell."], ["assistant", TEXT]]
    assert report["told"] == {"isAbort": True, "isError": False}


def start_index(asked: str) -> int:
    return int(asked.partition("/stream?startIndex=")[2])


def complaints(said: str) -> list[str]:
    """What the transport has written to the console, without what was wrong."""
    return re.findall(r"^(Error in [^:\n]*?|\[.*)(?= TypeError|$)", said, re.MULTILINE)
