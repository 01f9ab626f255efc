"""The chat with tools of the documentation, with the Chat of @ai-sdk/react in front of it.

Each conversation is also held with a server that the AI SDK's own packages make, and both have to
show the same messages: nobody else says what these are.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import pytest

from headgate.web.django import chat_router
from tests.client.printed_urls import with_url
from tests.client.runs import model
from tests.client.runs.django_serving import django_of
from tests.client.runs.serving import uvicorn_of
from tests.support.processes import ROOT
from tests.support.unmodified_clients import run_script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

PAGE = (ROOT / "docs/client/chat-with-tools.md").read_text()
PROGRAM = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
OWN_IDS = {"id", "approvalId"}  # which whoever makes a message gives


def by_fastapi(names: dict[str, Any]) -> AbstractAsyncContextManager[str]:
    """Serve the application of the page."""
    return uvicorn_of(names["app"])


def by_django(names: dict[str, Any]) -> AbstractAsyncContextManager[str]:
    """Serve its chats and answers as a project of Django does."""
    routes = chat_router(names["chats"], names["answer"], authorize=names["may_use"])
    return django_of(routes)


# The version of @ai-sdk/react, and what serves.
ANOTHER = pytest.mark.torture("the newer version and the other framework above")
PAIRS = [(4, by_django), pytest.param(3, by_fastapi, marks=ANOTHER)]


@contextlib.asynccontextmanager
async def application(
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    serve: Callable[[dict[str, Any]], AbstractAsyncContextManager[str]],
) -> AsyncIterator[tuple[str, str]]:
    """The programs of the page as one application, and its model: the URLs of both."""
    names: dict[str, Any] = {}
    async with model.served() as model_url:
        monkeypatch.setenv("OPENAI_BASE_URL", model_url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        exec(with_url(PROGRAM, url), names)
        try:
            async with serve(names) as app:
                yield app, model_url
        finally:
            await names["runs"].aclose(wait=0)
            await names["model"].close()


# What the page asks for: the question, and each time that its own tools or its user have answered.
REQUESTS = {
    "plain": 1,
    "tool of the page": 2,
    "two tools of the page at once": 2,
    "two tools of the page in a row": 3,
    "tool of the server": 1,
    "tools of both": 3,
    "approved": 2,
    "denied": 2,
    "approved, then a tool of the page": 3,
    "length": 1,
    "error": 1,
    "stop": 1,
}


def without_ids(value: object) -> object:
    """Return what a Chat shows without the ids that differ from one server to the other."""
    if isinstance(value, dict):
        return {key: without_ids(each) for key, each in value.items() if key not in OWN_IDS}
    return [*map(without_ids, value)] if isinstance(value, list) else value


def end_texts(held: dict[str, Any]) -> None:
    """Have no text count as still coming: of a run that failed it has ended, too."""
    for part in held["messages"][-1]["parts"]:
        if part.get("state") == "streaming":
            part["state"] = "done"


def forget_decisions(held: dict[str, Any]) -> None:
    """Drop what the user has said: no chunk of version 6 can tell it to a page loaded anew."""
    for part in held["messages"][-1]["parts"]:
        part.pop("approval", None)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(("version", "serve"), PAIRS)
async def test_a_chat_with_tools_shows_the_same_as_behind_the_server_of_the_ai_sdk(
    url: str, monkeypatch: pytest.MonkeyPatch, version: int, serve: Any
) -> None:
    async with application(url, monkeypatch, serve) as (app, model_url):
        report, _ = await run_script("react_chat.mjs", str(version), app, model_url)
    # The page whose answer was stopped by another one does not ask for it again.
    stopped = {"requests": 1, "status": "ready", "isAbort": True}
    assert report.pop("stoppedElsewhere") == stopped
    end_texts(report["error"]["judged"])
    for name, held in report.items():
        run, judged = held["run"], held["judged"]
        if name.startswith("reload"):  # the run alone is read by a second page
            assert run["requests"] == 1, f"{name}: no tool is called again"
            for each in (run, judged):
                del each["requests"], each["finished"]
            forget_decisions(judged)
        else:
            assert run["requests"] == REQUESTS[name], name
        assert without_ids(run) == without_ids(judged), name
    assert report.keys() >= REQUESTS.keys()
