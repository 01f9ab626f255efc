"""The application in the README answers, resumes and stops as it says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httpx

from tests.support.processes import ROOT, headgate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PRINTED = "http://127.0.0.1:4437/v1/stream"


async def model(question: str) -> AsyncIterator[str]:
    for token in ("You asked: ", question):
        yield token


async def test_the_application_in_the_readme_streams_and_resumes_an_answer() -> None:
    (text,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {"model": model}
    with headgate() as gateway:
        exec(text.replace(PRINTED, gateway.streams), names)
        transport = httpx.ASGITransport(names["app"])
        async with (
            names["runs"],
            httpx.AsyncClient(transport=transport, base_url="http://app") as page,
        ):
            asked = await page.post("/answers/one", params={"question": "why?"})
            resumed = await page.get("/answers/one", params={"after": 1})
            stopped = await page.post("/answers/one/stop")
    first = 'id: 1\ndata: "You asked: "\n\n'
    rest = 'id: 2\ndata: "why?"\n\nid: 3\nevent: end\ndata: {"status":"finished","error":null}\n\n'
    assert (asked.status_code, asked.text) == (200, first + rest)
    assert (resumed.status_code, resumed.text) == (200, rest)
    assert stopped.status_code == 200
