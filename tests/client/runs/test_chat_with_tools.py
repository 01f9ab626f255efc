"""The chat with tools of the documentation, with the Chat of @ai-sdk/react in front of it.

Each conversation is also held with a server that the AI SDK's own packages make, and both have to
show the same messages: nobody else says what these are.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.client.runs.serving import uvicorn_of
from tests.client.runs.tool_model import served
from tests.clients.readers import run_script
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAGE = (ROOT / "docs/client/chat-with-tools.md").read_text()
PROGRAM = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
RUNS = "http://127.0.0.1:4437/v1/stream/chats"  # as the page has it
OWN_IDS = {"id", "approvalId"}  # which whoever makes a message gives


@contextlib.asynccontextmanager
async def application(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[str, str]]:
    """The programs of the page as one application, and its model: the URLs of both."""
    names: dict[str, Any] = {}
    async with served() as model_url:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{model_url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        assert RUNS in PROGRAM
        exec(PROGRAM.replace(RUNS, url), names)
        try:
            async with uvicorn_of(names["app"]) as app:
                yield app, model_url
        finally:
            await names["runs"].close(wait=0)
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
        part.get("approval", {}).pop("approved", None)


def check_chats(report: dict[str, Any]) -> None:
    """Check that each conversation shows the same with both servers."""
    # The page whose answer was stopped by another one does not ask for it again.
    stopped = {"requests": 1, "status": "ready", "isAbort": True}
    assert report.pop("stoppedElsewhere") == stopped
    end_texts(report["error"]["judged"])
    for name, held in report.items():
        run, judged = held["run"], held["judged"]
        if name.startswith("reload"):  # the run alone is read by a second page
            for each in (run, judged):
                del each["requests"], each["finished"]
            forget_decisions(judged)
        else:
            assert run["requests"] == REQUESTS[name], name
        assert without_ids(run) == without_ids(judged), name
    assert report.keys() >= REQUESTS.keys()


@pytest.mark.parametrize("version", [3, 4])
async def test_a_chat_with_tools_shows_what_the_ai_sdks_own_server_makes_it_show(
    url: str, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    async with application(url, monkeypatch) as (app, model_url):
        report, _ = await run_script("react_chat.mjs", str(version), app, model_url)
    check_chats(report)
