"""A model behind OpenAI's HTTP API that does what it is asked, one step after the other.

It answers a question with the words of it, and `forever` with that word until the answer is
stopped. The steps of other questions have `then` between them:

- `say WORDS`: it answers with these words. `say WORDS...` stops short, `say WORDS!` fails, and
  before the last of `say WORDS?` it waits until somebody lets it go on.
- `think WORDS`: it answers with these words once somebody lets it.
- `call NAME JSON and NAME JSON`: it calls these tools.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.test_utils import TestServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ENDS = {"...": "length", "!": "", "?": "stop"}


@contextlib.asynccontextmanager
async def served(questions: list[str] | None = None, pause_s: float = 0) -> AsyncIterator[str]:
    """The model's base URL; below it, `release` lets all answers go on.

    What it is asked is added to `questions`, and it pauses after each piece of an answer.
    """
    release, answers = asyncio.Event(), 0
    asked = [] if questions is None else questions

    async def complete(request: web.Request) -> web.StreamResponse:
        nonlocal answers
        answers += 1
        about = {"id": f"chatcmpl-{answers}", "object": "chat.completion.chunk", "created": 1}
        messages = (await request.json())["messages"]
        asked.append(messages[-1]["content"])
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)

        async def send(data: object) -> None:
            await response.write(f"data: {json.dumps(data)}\n\n".encode())

        with contextlib.suppress(ConnectionResetError):  # the answer is stopped
            for delta, finish in _pieces(*_step(messages)):
                if delta == "wait":
                    await release.wait()
                elif delta == "fail":
                    await send({"error": {"message": "Overloaded", "code": 1}})
                else:
                    choice = {"index": 0, "delta": delta, "finish_reason": finish}
                    await send({**about, "model": "m", "choices": [choice]})
                await asyncio.sleep(pause_s)
            await response.write(b"data: [DONE]\n\n")
        return response

    async def let_go_on(_: web.Request) -> web.Response:
        nonlocal release
        release.set()
        release = asyncio.Event()
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    app.router.add_post("/v1/release", let_go_on)
    async with TestServer(app) as server:
        yield str(server.make_url("/v1"))


def _step(messages: list[dict[str, Any]]) -> tuple[int, str]:
    """Return the number of the step that is next, and what it is."""
    roles = [message["role"] for message in messages]
    asked = len(roles) - 1 - roles[::-1].index("user")
    content = messages[asked]["content"]
    question = content if isinstance(content, str) else content[0]["text"]
    number = roles[asked:].count("assistant")
    return number, question.split(" then ")[number]


def _pieces(number: int, step: str) -> Iterator[tuple[Any, str | None]]:
    verb, _, what = step.partition(" ")
    if verb not in {"say", "think", "call"}:
        goes_on = itertools.repeat(step) if step == "forever" else ()
        for word in itertools.chain(step.split(), goes_on):
            yield {"content": f"{word} "}, None
        return
    if verb == "think":
        yield "wait", None
    yield {"role": "assistant", "content": None if verb == "call" else ""}, None
    if verb == "call":
        yield from _calls(number, what)
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


def _calls(number: int, calls: str) -> Iterator[tuple[Any, str | None]]:
    for index, call in enumerate(calls.split(" and ")):
        name, _, arguments = call.partition(" ")
        about = {"index": index, "id": f"call_{number}_{index}", "type": "function"}
        yield {"tool_calls": [{**about, "function": {"name": name, "arguments": ""}}]}, None
        for piece in (arguments[:3], arguments[3:]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, None
    yield {}, "tool_calls"
