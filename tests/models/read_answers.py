"""Answers as the SDKs read them, in Python and Node.js: the text, and the error that ended it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import anthropic
import openai

from tests.support.processes import NODE, ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PROGRAM = ROOT / "tests" / "node" / "read_answers.mjs"
SDKS = ("python", "node", "ai")
MESSAGES: Any = [{"role": "user", "content": "Hi"}]
LONGEST_LINE = 1 << 24


class Found(NamedTuple):
    """What an SDK made of an answer; an `error` is what it raised."""

    text: str
    error: str | None


class Call(NamedTuple):
    """A request for an answer of a `kind`, at a base URL."""

    kind: str
    base: str
    model: str
    key: str


class Readers:
    """The SDKs, of which those in Node.js are in one process."""

    def __init__(self, node: asyncio.subprocess.Process) -> None:
        self._node = node
        self._numbers = count()
        self._waiting: dict[int, asyncio.Future[Found]] = {}

    async def read(self, sdk: str, call: Call) -> Found:
        """Return what an SDK makes of an answer."""
        if sdk == "python":
            return await in_python(call)
        number = next(self._numbers)
        found: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._waiting[number] = found
        assert self._node.stdin is not None, "it is a pipe"
        line = json.dumps({"id": number, "sdk": sdk, **call._asdict()})
        self._node.stdin.write(line.encode() + b"\n")
        return await found

    async def take(self) -> None:
        """Take the results of the process until it ends."""
        assert self._node.stdout is not None, "it is a pipe"
        async for line in self._node.stdout:
            result = json.loads(line)
            self._waiting.pop(result["id"]).set_result(Found(result["text"], result["error"]))


@contextlib.asynccontextmanager
async def reading() -> AsyncIterator[Readers]:
    """Enter with all SDKs."""
    node = await asyncio.create_subprocess_exec(
        str(NODE),
        str(PROGRAM),
        cwd=PROGRAM.parent,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LONGEST_LINE,
    )
    readers = Readers(node)
    taking = asyncio.create_task(readers.take())
    try:
        yield readers
    finally:
        node.kill()
        await node.wait()
        await taking


async def in_python(call: Call) -> Found:
    """Return what the SDK in Python makes of an answer."""
    text = ""
    try:
        async for piece in _PIECES[call.kind](call):
            text += piece or ""
    except Exception as error:  # noqa: BLE001 - whatever an SDK raises is the result
        return Found(text, f"{type(error).__name__}: {error}")
    return Found(text, None)


async def _chat(call: Call) -> AsyncIterator[str | None]:
    async with openai.AsyncOpenAI(**_options(call, "/v1")) as client:
        stream = await client.chat.completions.create(
            model=call.model, messages=MESSAGES, stream=True
        )
        async for chunk in stream:
            yield chunk.choices[0].delta.content if chunk.choices else None


async def _response(call: Call) -> AsyncIterator[str | None]:
    async with openai.AsyncOpenAI(**_options(call, "/v1")) as client:
        async for event in await client.responses.create(model=call.model, input="Hi", stream=True):
            if event.type == "response.output_text.delta":
                yield event.delta


async def _message(call: Call) -> AsyncIterator[str | None]:
    async with anthropic.AsyncAnthropic(**_options(call, "")) as client:
        stream = await client.messages.create(
            model=call.model, max_tokens=9, messages=MESSAGES, stream=True
        )
        async for event in stream:
            if event.type == "content_block_delta" and event.delta.type == "text_delta":
                yield event.delta.text


def _options(call: Call, path: str) -> Any:
    headers = {"Idempotency-Key": call.key}
    base = {"base_url": call.base + path, "api_key": "sk-mine", "max_retries": 0}
    return {**base, "default_headers": headers}


_PIECES: Any = {"chat": _chat, "response": _response, "message": _message}
