"""The program of the first page of the documentation, run as it is printed."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.client.runs import model
from tests.client.runs.serving import uvicorn_of
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from tests.support.processes import Headgate

PAGE = ROOT / "docs/client/stream-from-a-model.md"
RUNS = "http://127.0.0.1:4437/v1/stream/runs"  # as the page has it


@contextlib.asynccontextmanager
async def application(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The programs of the page together, as one application."""
    programs = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {"newest": {}}
    async with model.served() as model_url:
        monkeypatch.setenv("OPENAI_BASE_URL", model_url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        source = "\n".join(programs)
        assert RUNS in source
        exec(source.replace(RUNS, url), names)
        try:
            async with uvicorn_of(names["app"]) as app:
                yield app
        finally:
            await names["runs"].close(wait=0)
            await names["model"].close()


async def test_the_ten_lines_answer_resume_and_stop(
    url: str, server: Headgate, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        application(url, monkeypatch) as app,
        aiohttp.ClientSession(app) as client,
    ):
        async with client.post("/runs/1?question=Once+upon+a+time") as answer:
            assert await answer.text() == "Once upon a time "
        async with client.get("/runs/1") as again:
            assert await again.text() == "Once upon a time "
        async with client.get("/runs/1?after=2") as rest:
            assert await rest.text() == "a time "
        async with client.get("/runs/2") as none:
            assert none.status == 204
        async with client.delete("/runs/1") as stopped:
            assert await stopped.json() == {"stopped": False}


async def test_the_chat_of_the_page_answers_and_has_nothing_to_resume_then(
    url: str, server: Headgate, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = {"id": "chat/1", "messages": "Once upon"}
    async with (
        application(url, monkeypatch) as app,
        aiohttp.ClientSession(app) as client,
    ):
        async with client.post("/api/chat", json=question) as answer:
            assert answer.headers["x-workflow-run-id"] == "chat/1/9"
            assert b'"delta":"upon "' in await answer.read()
        async with client.get("/api/chat/chat%2F1/stream") as again:
            assert again.status in {204, 404}
