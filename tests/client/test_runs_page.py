"""The application on the page of runs answers, resumes and stops as it says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.processes import ROOT, headgate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PRINTED = "http://127.0.0.1:4437/v1/stream"


async def produce(question: str) -> AsyncIterator[str]:
    for token in ("You asked: ", question):
        yield token


@pytest.mark.usefixtures("processes")
async def test_the_application_on_the_page_streams_and_resumes_an_answer() -> None:
    page = (ROOT / "docs/client/runs.md").read_text()
    (text,) = [one for one in re.findall(r"```python\n(.*?)```", page, re.S) if "lifespan" in one]
    names: dict[str, Any] = {"produce": produce}
    with headgate() as gateway:
        exec(text.replace(PRINTED, gateway.streams), names)
        transport = httpx.ASGITransport(names["app"])
        async with (
            names["lifespan"](names["app"]),
            httpx.AsyncClient(transport=transport, base_url="http://app") as browser,
        ):
            asked = await browser.post("/runs/one", params={"question": "why?"})
            whole = await browser.get("/runs/one")
            resumed = await browser.get("/runs/one", headers={"Last-Event-ID": "1"})
            again = await browser.get("/runs/one", headers={"Last-Event-ID": "3"})
            stopped = await browser.delete("/runs/one")
    first = 'id: 1\ndata: "You asked: "\n\n'
    rest = 'id: 2\ndata: "why?"\n\nid: 3\nevent: end\ndata: {"status":"finished","error":null}\n\n'
    assert asked.status_code == 202
    assert (whole.status_code, whole.text) == (200, first + rest)
    assert whole.headers["Content-Type"] == "text/event-stream"
    assert (resumed.status_code, resumed.text) == (200, rest)
    assert again.status_code == 204  # so that an EventSource asks no more
    assert stopped.json() == {"stopped": False}  # it has ended
