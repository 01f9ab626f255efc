"""Every call and helper of the SDKs, in Python and Node.js: fields as they come from the provider.

And programs that read a response and are killed in the middle: their second start joins it. Those
with other calls are in `test_resumable_page`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.models.answers import WORDS
from tests.models.provider import PLAIN, TOOLS
from tests.models.serving import ANTHROPIC, OPENAI, answering
from tests.models.test_sdks import QUESTION, anthropic_at, openai_at
from tests.support.processes import NODE, ROOT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("processes")

NODE_CALLS = ROOT / "tests" / "node" / "model_sdks.mjs"
TEXT = "".join(WORDS)


def fields(value: Any) -> Any:
    """Return all fields of what an SDK gave; its own helpers give some that it warns of."""
    return value.to_dict(warnings=False)


async def chat_events(base: str, model: str) -> Any:
    async with openai_at(base) as client:
        stream = await client.chat.completions.create(model=model, messages=QUESTION, stream=True)
        return [fields(chunk) async for chunk in stream]


async def chat_helper(base: str, model: str) -> Any:
    async with openai_at(base) as client:
        async with client.chat.completions.stream(model=model, messages=QUESTION) as stream:
            events = [fields(event) async for event in stream]
        return events, fields(await stream.get_final_completion())


async def chat_whole(base: str, model: str) -> Any:
    async with openai_at(base) as client:
        raw = await client.chat.completions.with_raw_response.create(model=model, messages=QUESTION)
        return raw.status_code, raw.headers["Content-Type"], fields(raw.parse())


async def chat_lines(base: str, model: str) -> Any:
    async with openai_at(base) as client:
        completions = client.chat.completions.with_streaming_response
        async with completions.create(model=model, messages=QUESTION, stream=True) as answer:
            lines = [line async for line in answer.iter_lines()]
    return [line for line in lines if line and not line.startswith("id: ")]


async def completion_events(base: str, model: str) -> Any:
    async with openai_at(base) as client:
        stream = await client.completions.create(model=model, prompt="Hi", stream=True)
        return [fields(chunk) async for chunk in stream]


async def response_events(base: str, model: str) -> Any:
    async with openai_at(base) as client:
        stream = await client.responses.create(model=model, input="Hi", stream=True)
        return [fields(event) async for event in stream]


async def response_helper(base: str, model: str) -> Any:
    async with (
        openai_at(base) as client,
        client.responses.stream(model=model, input="Hi") as stream,
    ):
        events = [fields(event) async for event in stream]
        return events, fields(await stream.get_final_response())


async def response_whole(base: str, model: str) -> Any:
    async with openai_at(base) as client:
        whole = await client.responses.create(model=model, input="Hi")
        return fields(whole), whole.output_text


async def message_events(base: str, model: str) -> Any:
    async with anthropic_at(base) as client:
        stream = await client.messages.create(
            model=model, max_tokens=100, messages=QUESTION, stream=True
        )
        return [fields(event) async for event in stream]


async def message_helper(base: str, model: str) -> Any:
    async with (
        anthropic_at(base) as client,
        client.messages.stream(model=model, max_tokens=100, messages=QUESTION) as stream,
    ):
        events = [fields(event) async for event in stream]
        final = await stream.get_final_message()
        return events, fields(final), await stream.get_final_text()


async def message_whole(base: str, model: str) -> Any:
    async with anthropic_at(base) as client:
        whole = await client.messages.create(model=model, max_tokens=100, messages=QUESTION)
        return fields(whole)


CALLS: dict[str, tuple[Callable[[str, str], Awaitable[Any]], str]] = {
    "chunks of a chat completion": (chat_events, OPENAI),
    "helper for chat completions": (chat_helper, OPENAI),
    "whole chat completion": (chat_whole, OPENAI),
    "lines of a chat completion": (chat_lines, OPENAI),
    "chunks of a completion": (completion_events, OPENAI),
    "events of a response": (response_events, OPENAI),
    "helper for responses": (response_helper, OPENAI),
    "whole response": (response_whole, OPENAI),
    "events of a message": (message_events, ANTHROPIC),
    "helper for messages": (message_helper, ANTHROPIC),
    "whole message": (message_whole, ANTHROPIC),
}
MODELS = (PLAIN, TOOLS)


async def test_every_field_that_a_python_sdk_gives_is_that_of_the_provider() -> None:
    async with answering() as (provider, gateway):
        for name, (call, prefix) in CALLS.items():
            for model in MODELS:
                direct = await call(provider.url, model)
                assert direct, name
                assert await call(gateway.url + prefix, model) == direct, (name, model)
    for direct, through in zip(provider.requests[::2], provider.requests[1::2], strict=True):
        for field in ("Authorization", "X-Api-Key", "User-Agent", "Anthropic-Version"):
            assert direct.headers.get(field) == through.headers.get(field)


async def test_the_python_sdks_accumulate_tools_reasoning_and_usage() -> None:
    async with answering() as (_provider, gateway):
        _, chat = await chat_helper(gateway.url + OPENAI, TOOLS)
        _, response = await response_helper(gateway.url + OPENAI, TOOLS)
        _, message, _ = await message_helper(gateway.url + ANTHROPIC, TOOLS)
    cities = ['{"city": "Köln"}', '{"city": "東京"}']
    tools = chat["choices"][0]["message"]["tool_calls"]
    assert [tool["function"]["arguments"] for tool in tools] == cities
    assert chat["usage"]["completion_tokens_details"]["reasoning_tokens"] == 12
    reasoning, *functions = response["output"]
    assert reasoning["summary"][0]["text"] == "Ich überlege: 🤔"
    assert [function["arguments"] for function in functions] == cities
    assert response["usage"]["output_tokens_details"]["reasoning_tokens"] == 832
    thinking, redacted, text, *uses = message["content"]
    assert thinking["thinking"] == "Hm, 東京…"
    assert thinking["signature"].startswith("EqQB")
    assert redacted["data"].startswith("EmwK")
    assert text["citations"][0]["cited_text"] == "Es regnet in Köln."
    assert [use["input"] for use in uses] == [json.loads(city) for city in cities]
    assert message["usage"]["cache_read_input_tokens"] == 1024


async def of_node(*arguments: str) -> Any:
    """Return what the calls of the SDKs in Node.js gave."""
    process = await asyncio.create_subprocess_exec(
        NODE, NODE_CALLS, "all", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(output)


async def test_every_field_that_a_node_sdk_gives_is_that_of_the_provider() -> None:
    async with answering() as (provider, gateway):
        direct = await of_node(f"{provider.url}/v1", provider.url)
        through = await of_node(f"{gateway.url}{OPENAI}/v1", gateway.url + ANTHROPIC)
    assert len(direct) == 2 * 10
    assert not [name for name in direct if "error" in direct[name]]
    for name, got in direct.items():
        assert through[name] == got, name


# ---------------------------------------------------------------- programs that are killed

PROGRAMS = {
    "Python": (sys.executable, "-m", "tests.models.sdk_program"),
    "Node.js": (str(NODE), str(NODE_CALLS), "text", "response"),
}
BEGINNING = 6  # events up to the second word


async def started(*command: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )


@pytest.mark.parametrize("program", PROGRAMS)
async def test_a_program_that_is_killed_in_the_middle_joins_its_answer_at_its_second_start(
    program: str, tmp_path: Path
) -> None:
    async with answering(tmp_path) as (provider, gateway):
        command = *PROGRAMS[program], f"{gateway.url}{OPENAI}/v1", "one"
        provider.hold()
        provider.allow(BEGINNING)
        first = await started(*command)
        assert first.stdout is not None
        assert TEXT.encode().startswith(await first.stdout.readexactly(3))
        first.kill()
        await first.wait()
        second = await started(*command)
        provider.allow()
        output, _ = await second.communicate()
        assert output.decode() == TEXT
    assert len(provider.requests) == 1
    assert provider.left == 0
