"""A model behind OpenAI's HTTP API that does what the user tells it, one step after the other.

The steps of a question stand behind each other with `then` between them:

- `say WORDS`: it answers with these words. `say WORDS...` stops short, `say WORDS!` fails, and
  before the last of `say WORDS?` it waits until somebody lets it go on.
- `think WORDS`: it answers with these words once somebody lets it.
- `call NAME JSON and NAME JSON`: it calls these tools.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.test_utils import TestServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ENDS = {"...": "length", "!": "", "?": "stop"}


class ToolModel:
    """The model."""

    def __init__(self) -> None:
        self._answers = 0
        self._released = asyncio.Event()
        self.app = web.Application()
        self.app.router.add_post("/v1/chat/completions", self._complete)
        self.app.router.add_post("/release", self._release)

    async def _release(self, _: web.Request) -> web.Response:
        self._released.set()
        self._released = asyncio.Event()
        return web.Response()

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        messages = (await request.json())["messages"]
        self._answers += 1
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionResetError):  # the answer is stopped
            await self._answer(response, _step(messages))
        return response

    async def _answer(self, response: web.StreamResponse, step: tuple[int, str]) -> None:
        for delta, finish in _pieces(step):
            if delta == "wait":
                await self._released.wait()
            elif delta == "fail":
                await _send(response, {"error": {"message": "Overloaded", "code": 1}})
            else:
                choice = {"index": 0, "delta": delta, "finish_reason": finish}
                await _send(response, _chunk(self._answers, choice))
        await response.write(b"data: [DONE]\n\n")


def _chunk(number: int, choice: dict[str, Any]) -> dict[str, Any]:
    about = {"id": f"chatcmpl-{number}", "object": "chat.completion.chunk", "created": 1}
    return {**about, "model": "m", "choices": [choice]}


async def _send(response: web.StreamResponse, data: dict[str, Any]) -> None:
    await response.write(f"data: {json.dumps(data)}\n\n".encode())


def _step(messages: list[dict[str, Any]]) -> tuple[int, str]:
    """Return the number of the step that is next, and what it is."""
    roles = [message["role"] for message in messages]
    asked = len(roles) - 1 - roles[::-1].index("user")
    content = messages[asked]["content"]
    question = content if isinstance(content, str) else content[0]["text"]
    number = roles[asked:].count("assistant")
    return number, question.split(" then ")[number]


def _pieces(step: tuple[int, str]) -> Iterator[tuple[Any, str | None]]:
    number, told = step
    verb, _, what = told.partition(" ")
    if verb == "think":
        yield "wait", None
    yield {"role": "assistant", "content": None if verb == "call" else ""}, None
    if verb == "call":
        for index, call in enumerate(what.split(" and ")):
            name, _, arguments = call.partition(" ")
            about = {"index": index, "id": f"call_{number}_{index}", "type": "function"}
            yield {"tool_calls": [{**about, "function": {"name": name, "arguments": ""}}]}, None
            for piece in (arguments[:3], arguments[3:]):
                called = {"index": index, "function": {"arguments": piece}}
                yield {"tool_calls": [called]}, None
        yield {}, "tool_calls"
        return
    end = next((end for end in ENDS if what.endswith(end)), "")
    *words, last = what.removesuffix(end).split(" ")
    for word in words:
        yield {"content": f"{word} "}, None
    if end == "?":
        yield "wait", None
    if end == "!":
        yield "fail", None
    else:
        yield {"content": last}, None
        yield {}, ENDS.get(end, "stop")


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[str]:
    """The URL of the model's server."""
    async with TestServer(ToolModel().app) as server:
        yield str(server.make_url("")).rstrip("/")
