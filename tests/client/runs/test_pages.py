"""The programs of the first page of the documentation, run as they are printed."""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from tests.client.printed_urls import with_url
from tests.client.runs import model
from tests.client.runs.serving import uvicorn_of
from tests.client.runs.sources import Feed, read, read_to
from tests.support.ports import free_port
from tests.support.processes import ROOT
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate.runs import Runs
    from tests.support.threaded import Threaded

PAGE = (ROOT / "docs/client/stream-from-a-model.md").read_text()
TOO_LONG = "x" * 1025


def programs(*headings: str) -> str:
    """Those below the headings, together; the first one is below the page's own."""
    parts = PAGE.split("\n## ")
    below = [part for part in parts if part.startswith(headings)]
    return "\n".join(re.findall(r"```python\n(.*?)```", "".join(below), re.DOTALL))


FASTAPI = programs("# Stream", "When it cannot be answered", "For a chat page")
AIOHTTP = programs("With aiohttp")
KEPT = programs("The finished answer")


async def produce(question: str) -> AsyncIterator[str]:
    for word in question.split():
        yield f"{word} "


@contextlib.asynccontextmanager
async def application(
    url: str, monkeypatch: pytest.MonkeyPatch, program: str = FASTAPI
) -> AsyncIterator[str]:
    """An application of a page for FastAPI, with a model."""
    names: dict[str, Any] = {}
    async with model.served() as model_url:
        monkeypatch.setenv("OPENAI_BASE_URL", model_url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        exec(with_url(program, url), names)
        try:
            async with uvicorn_of(names["app"]) as app:
                yield app
        finally:
            await names["runs"].aclose(wait=0)
            await names["model"].close()


@contextlib.asynccontextmanager
async def aiohttp_application(url: str, _: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The program of the page for aiohttp."""
    names: dict[str, Any] = {"produce": produce}
    exec(with_url(AIOHTTP, url), names)
    async with TestServer(names["app"]) as server:
        yield str(server.make_url("/")).rstrip("/")


@pytest.mark.parametrize("served", [application, aiohttp_application])
async def test_the_documented_run_applications_answer_resume_stop_and_say_what_is_wrong(
    url: str, server: Threaded, monkeypatch: pytest.MonkeyPatch, served: Any
) -> None:
    async with served(url, monkeypatch) as app, aiohttp.ClientSession(app) as client:

        async def answered(method: str, path: str, **how: Any) -> tuple[int, str]:
            async with client.request(method, path, **how) as answer:
                return answer.status, await answer.text()

        asked = "/runs/1?question=Once+upon+a+time"
        assert await answered("POST", asked) == (200, "Once upon a time ")
        assert await answered("POST", asked) == (409, "Closed")
        assert await answered("GET", "/runs/1") == (200, "Once upon a time ")
        assert await answered("GET", "/runs/1?after=2") == (200, "a time ")
        # As an EventSource does, with the URL that it began with.
        last = {"Last-Event-ID": "3"}
        assert await answered("GET", "/runs/1?after=1", headers=last) == (200, "time ")
        assert (await answered("GET", "/runs/2"))[0] == 204
        assert json.loads((await answered("DELETE", "/runs/1"))[1]) == {"stopped": False}
        wrong = f"/runs/{TOO_LONG}"
        assert await answered("POST", f"{wrong}?question=Once") == (400, "ValueError")
        status, told = await answered("GET", wrong)
        assert (status, "at most 1024 bytes" in told) == (400, True)
        if served is application:
            state = json.loads((await answered("GET", "/runs/1/state"))[1])
            assert state == {"status": "finished", "error": None}
    nobody = f"http://127.0.0.1:{free_port()}/runs"
    async with (
        served(nobody, monkeypatch) as app,
        aiohttp.ClientSession(app) as client,
        client.post("/runs/1?question=Once") as away,
    ):
        assert (away.status, await away.text()) == (503, "Unavailable")


async def test_the_documented_wrapper_saves_the_answers_of_finished_and_stopped_runs(
    runs: Runs,
) -> None:
    saved: dict[str, list[object]] = {}

    async def save(run: str, parts: list[object]) -> None:
        saved[run] = parts

    names: dict[str, Any] = {"save": save}
    exec(KEPT, names)
    await read(await runs.start("a", names["kept"]("a", produce("Once upon"))))
    feed = Feed("Once ")
    answer = await runs.start("b", names["kept"]("b", feed.source()))
    await read_to(answer, b"Once ")
    assert await runs.stop("b")
    await read(answer)
    assert saved == {"a": ["Once ", "upon "], "b": ["Once "]}
    assert feed.closed.is_set()


async def test_the_documented_chat_application_answers_each_regeneration(
    url: str, server: Threaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"id": "1", "role": "user", "parts": [{"type": "text", "text": "Once upon"}]}
    question = {"id": "chat-1", "messages": [said]}
    shown = set()
    async with (
        application(url, monkeypatch) as app,
        aiohttp.ClientSession(app) as client,
    ):
        for trigger in ("submit-message", "regenerate-message", "regenerate-message"):
            async with client.post("/api/chat", json={**question, "trigger": trigger}) as answer:
                run = answer.headers["x-workflow-run-id"]
                assert b'"delta":"upon "' in await answer.read()
            shown.add(run)
            async with client.get(f"/api/chat/{run}/stream?startIndex=2") as again:
                assert b'"delta":"Once "' in await again.read()
        async with client.get("/api/chat/chat-1/stream") as nothing:
            assert nothing.status == 204
        async with client.get("/api/chat/chat-1") as history:
            roles = [each["role"] for each in (await history.json())["messages"]]
    assert len(shown) == 3
    assert roles == ["user", "assistant"]


async def test_the_documented_chat_server_stores_questions_and_answers(
    url: str, server: Threaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs/client/chats.md").read_text()
    program, _of_django = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    async with (
        application(url, monkeypatch, program) as app,
        aiohttp.ClientSession(app) as client,
    ):
        for text in ("Once upon", "a time"):
            last = {"id": text, "role": "user", "parts": [{"type": "text", "text": text}]}
            question = {"id": "chat-1", "messages": [last]}
            async with client.post("/api/chat", json=question) as answer:
                assert (answer.status, b'"type":"finish"' in await answer.read()) == (200, True)
        async with client.get("/api/chat/chat-1") as history:
            messages = (await history.json())["messages"]
    said = ["".join(part.get("text", "") for part in each["parts"]) for each in messages]
    assert [each.strip() for each in said] == ["Once upon", "Once upon", "a time", "a time"]


async def test_the_documented_source_yields_a_last_item_when_stopped(runs: Runs) -> None:
    page = (ROOT / "docs/client/runs.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (program,) = [block for block in blocks if "def produce" in block]
    feed = Feed("Once ")
    names: dict[str, Any] = {"runs": runs, "words": lambda _: feed.source()}
    exec(program.partition("\nawait ")[0], names)
    answer = await runs.start("a", names["produce"]("a", "Why?"))
    await read_to(answer, b"Once ")
    assert await runs.stop("a")
    await until(runs.stopped("a").is_set)
    feed.give("upon ")
    assert await read(answer) == b"upon (stopped)"
