"""Agents of OpenAI Agents and PydanticAI as sources of runs, whose models give what a test says.

To import it takes seconds: a test does so when it runs, not while tests are collected.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import agents
import openai
import pydantic_ai
from aiohttp import web
from pydantic_ai.exceptions import ToolFailed
from pydantic_ai.models.function import DeltaThinkingPart, DeltaToolCall, FunctionModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.ui.vercel_ai import VercelAIEventStream
from pydantic_ai.ui.vercel_ai import response_types as chunks

from tests.client.runs import recordings as sends
from tests.client.runs.serving import aiohttp_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from headgate.runs.sources import RunSource
    from tests.client.runs.recordings import Case, Item

__all__ = ["TestModel", "chunks", "pydantic_ai"]
SECRET = sends.INSTRUCTIONS
MODEL = "gpt-5"
NULLS: dict[str, object] = {"sun": None, "hours": [None, {"rain": None}]}


def answering(case: Case, client: openai.AsyncOpenAI) -> RunSource:
    """Return the source of a run in which an agent asks the provider, and calls its tools."""

    def weather(city: str) -> Any:
        """Return the weather."""
        (output,) = case.outputs.values()
        return output

    has_responses = case.api == "openai-responses"
    if case.framework == "openai-agents":
        agent = agents.Agent("A", model=MODEL, tools=[agents.function_tool(weather)])
        return streamed(agent, client, has_responses=has_responses)
    made = OpenAIResponsesModel if has_responses else OpenAIChatModel
    model = made(MODEL, provider=OpenAIProvider(openai_client=client))
    return pydantic_ai.Agent(model, tools=[weather]).run_stream_events("Tell.")


# OpenAI Agents


@contextlib.asynccontextmanager
async def replaying(*bodies: bytes) -> AsyncIterator[openai.AsyncOpenAI]:
    """Yield a client of a provider that has these answers, and after them none."""
    left = iter(bodies)

    async def replay(_: web.Request) -> web.Response:
        body = next(left, b"")
        return web.Response(body=body, content_type="text/event-stream")

    app = web.Application()
    app.router.add_post("/v1/responses", replay)
    async with (
        aiohttp_of(app) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


def streamed(
    agent: agents.Agent[Any],
    client: openai.AsyncOpenAI,
    given: Any = "Tell.",
    *,
    has_responses: bool = True,
) -> agents.RunResultStreaming:
    """Run an agent of OpenAI Agents."""
    provider = agents.OpenAIProvider(openai_client=client, use_responses=has_responses)
    config = agents.RunConfig(model_provider=provider, tracing_disabled=True)
    return agents.Runner.run_streamed(agent, given, run_config=config)


def call_of(name: str, call_id: str, arguments: str = "{}") -> Item:
    """Return a call of a function in a response."""
    begun, between, done = sends.call(call_id, arguments)
    return {**begun, "name": name}, between, done


@dataclass
class Opaque:
    """An answer of a tool that has no JSON."""

    value: object

    def __str__(self) -> str:
        return "opaque"


class Waiting:
    """A tool that waits until it is cancelled."""

    def __init__(self) -> None:
        self.is_called, self.is_cancelled = asyncio.Event(), asyncio.Event()

    async def wait(self) -> str:
        """Wait."""
        self.is_called.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.is_cancelled.set()
        return ""


def reporter(*more: Any) -> agents.Agent[Any]:
    """Return an agent of OpenAI Agents with tools, and another one to hand off to."""

    @agents.function_tool
    def weather(city: str | None) -> dict[str, object]:
        """Return the weather."""
        return NULLS

    @agents.function_tool
    def broken() -> str:
        """Fail."""
        raise ValueError(SECRET)

    @agents.function_tool
    def opaque() -> Opaque:
        """Return what has no JSON."""
        return Opaque(object())

    @agents.function_tool
    def nothing() -> None:
        """Return nothing."""

    @agents.function_tool(needs_approval=True)
    def book(city: str) -> str:
        """Book."""
        return f"booked {city}"

    other = agents.Agent[Any]("Spanish", model=MODEL, instructions=SECRET)
    tools = [weather, broken, opaque, nothing, book, *map(agents.function_tool, more)]
    return agents.Agent(
        "Reporter", model=MODEL, instructions=SECRET, tools=[*tools], handoffs=[other]
    )


CALLS = sends.response(
    sends.reasoning("I look."),
    call_of("weather", "call_1", '{"city":null}'),
    call_of("broken", "call_2"),
    call_of("opaque", "call_3"),
    call_of("nothing", "call_4"),
)
HANDOFF = sends.response(call_of("transfer_to_spanish", "call_5"), id_="resp_2")
HELLO = sends.response(sends.message("Hola ", "ya."), id_="resp_3")
BOOK = sends.response(call_of("book", "call_1", '{"city":"Rome"}'))
WAIT = sends.response(call_of("wait", "call_1"))


# PydanticAI


@dataclass(kw_only=True)
class Progress(pydantic_ai.CustomEvent):
    """What an application tells pages."""

    done: int
    of: int | None = None


@dataclass(kw_only=True)
class Audit(pydantic_ai.CustomEvent, ui=False):
    """What an application tells nobody."""

    text: str = SECRET


async def _thinks_and_calls(messages: list[Any], _: object) -> AsyncIterator[Any]:
    if any(message.kind == "response" for message in messages):
        yield "It is "
        yield "sunny."
        return
    yield {0: DeltaThinkingPart(content="Hm. ")}
    yield {0: DeltaThinkingPart(content="So.", signature="sig")}
    yield "I "
    yield "look."
    yield {2: DeltaToolCall(name="weather", json_args='{"city":', tool_call_id="call_1")}
    yield {2: DeltaToolCall(json_args="null}")}
    yield {3: DeltaToolCall(name="again", json_args="{}", tool_call_id="call_2")}
    yield {4: DeltaToolCall(name="fail", json_args="{}", tool_call_id="call_3")}


def meteorologist(*more: Any) -> pydantic_ai.Agent[None, str]:
    """Return an agent of PydanticAI with tools."""
    agent = pydantic_ai.Agent(
        FunctionModel(stream_function=_thinks_and_calls), instructions=SECRET, tools=more
    )

    @agent.tool
    async def weather(run: pydantic_ai.RunContext[None], city: str | None) -> dict[str, object]:
        """Return the weather."""
        for event in (Progress(done=1), Audit()):
            emitted: Any = run.emit(event)
            if emitted is not None:
                await emitted
        return NULLS

    @agent.tool_plain
    def again() -> str:
        """Ask for another call."""
        raise pydantic_ai.ModelRetry("try again")

    @agent.tool_plain
    def fail() -> str:
        """Fail."""
        raise ToolFailed("it failed")

    return agent


async def events_of(agent: pydantic_ai.Agent[None, Any], *given: Any, **more: Any) -> list[Any]:
    """Return the events of an agent."""
    async with agent.run_stream_events(*given, **more) as events:
        return [event async for event in events]


async def chunks_of(events: Sequence[Any]) -> tuple[list[Any], str]:
    """Return what PydanticAI's adapter makes of events: objects, and the body of a response."""

    async def given() -> AsyncIterator[Any]:
        for event in events:
            yield event

    adapter: Any = VercelAIEventStream(run_input=None, sdk_version=6, server_message_id="run")
    made = [chunk async for chunk in adapter.transform_stream(given())]
    return made, "".join(map(adapter.encode_event, made))
