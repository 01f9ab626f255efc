"""Streams of OpenAI Agents and PydanticAI as runs, with the frameworks themselves.

What pages make of them is compared with the AI SDK's own packages in `test_ui_messages.py`, too.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from headgate import Chats, Closed, RunState, sync
from headgate.runs.formats import FORMATS
from tests.client.runs.sources import of, read, read_failed
from tests.client.runs.test_adapters import brief, items
from tests.client.runs.test_formats import events as sent
from tests.models.answers import WORDS
from tests.models.provider import TOOLS, providing
from tests.support.processes import NODE, ROOT
from tests.support.waiting import SERVER_PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import ModuleType

    from headgate import Runs

PAGE = (ROOT / "docs/client/agents.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PRINTED, MODEL = "http://127.0.0.1:4437", "gpt-5-mini"  # as the page has them
IMPORTS_S = 100.0  # for the imports of a framework, on a machine that does other things
STORY = "".join(WORDS)
pytestmark = pytest.mark.timeout(200)  # it imports the frameworks
NULLS = "{'sun': None, 'hours': [None, {'rain': None}]}"
FAILED = "An error occurred while running the tool. Please try again."


@pytest.fixture(scope="module")
def frameworks() -> ModuleType:
    return importlib.import_module("tests.client.runs.frameworks")


async def written(runs: Runs, source: Any, run_id: str = "run") -> list[str]:
    """Return what a run of the source tells a page."""
    answer = await runs.start(run_id, source, format="ai-sdk")
    return brief(sent(await read(answer))[1:-1])


async def test_a_run_of_openai_agents_shows_reasoning_tools_and_handoffs_in_their_steps(
    frameworks: ModuleType, runs: Runs
) -> None:
    bodies = (frameworks.CALLS, frameworks.HANDOFF, frameworks.HELLO)
    async with frameworks.replaying(*bodies) as client:
        shown = await written(runs, frameworks.streamed(frameworks.reporter(), client))
    assert frameworks.SECRET not in str(shown)
    assert [chunk for chunk in shown if not chunk.startswith("tool-input-")] == [
        *("start-step", "reasoning-start reasoning-1"),
        *(f"reasoning-delta reasoning-1 {word}" for word in ("I ", "look.")),
        "reasoning-end reasoning-1",
        f"tool-output-available call_1 {NULLS}",
        f"tool-output-available call_2 {FAILED}",
        "tool-output-available call_3 opaque",
        "tool-output-available call_4 None",
        *("finish-step", "start-step"),
        'tool-output-available call_5 {"assistant": "Spanish"}',
        *("finish-step", "start-step", "text-start text-2"),
        *("text-delta text-2 Hola ", "text-delta text-2 ya.", "text-end text-2"),
        "finish-step",
    ]
    assert "tool-input-available call_1 weather {'city': None}" in shown
    assert "tool-input-available call_5 transfer_to_spanish {}" in shown
    assert await runs.state("run") == RunState("finished")


async def test_events_of_openai_agents_are_text_and_json_without_instructions_of_agents(
    frameworks: ModuleType,
) -> None:
    bodies = (frameworks.CALLS, frameworks.HANDOFF, frameworks.HELLO)
    async with frameworks.replaying(*bodies) as client:
        run = frameworks.streamed(frameworks.reporter(), client)
        events = [event async for event in run.stream_events()]
    assert items("text", events) == ["Hola ", "ya."]
    whole = items("sse", events)
    assert frameworks.SECRET not in json.dumps(whole)
    assert items("ai-sdk", whole) == items("ai-sdk", events)
    assert {"type": "agent_updated_stream_event", "new_agent": {"name": "Spanish"}} in whole
    (output, *_) = (event["item"] for event in whole if event.get("name") == "tool_output")
    assert (output["output"], output["agent"]) == (frameworks.NULLS, {"name": "Reporter"})


async def test_an_approval_of_openai_agents_is_requested_and_the_run_goes_on_with_the_answer(
    frameworks: ModuleType, runs: Runs
) -> None:
    agent = frameworks.reporter()
    async with frameworks.replaying(frameworks.BOOK, frameworks.HELLO) as client:
        run = frameworks.streamed(agent, client)
        shown = await written(runs, run)
        assert shown[-3:-1] == [
            "tool-input-available call_1 book {'city': 'Rome'}",
            "tool-approval-request call_1",
        ]
        state = run.to_state()
        state.approve(run.interruptions[0])
        shown = await written(runs, frameworks.streamed(agent, client, state), "next")
    assert shown[0] == "tool-output-available call_1 booked Rome"
    assert shown[-2:] == ["text-end text-1", "finish-step"]


async def _waiting(frameworks: ModuleType, framework: str, tool: Any) -> AsyncIterator[Any]:
    """Yield the source of a run whose agent calls a tool that waits."""
    if framework == "pydantic-ai":
        agent = frameworks.pydantic_ai.Agent(frameworks.TestModel(), tools=[tool.wait])
        yield agent.run_stream_events("Wait.")
        return
    async with frameworks.replaying(frameworks.WAIT) as client:
        yield frameworks.streamed(frameworks.reporter(tool.wait), client)


@pytest.mark.parametrize("framework", ["openai-agents", "pydantic-ai"])
async def test_stopping_the_run_of_an_agent_cancels_the_tool_that_it_waits_for(
    frameworks: ModuleType, runs: Runs, framework: str
) -> None:
    tool = frameworks.Waiting()
    async for source in _waiting(frameworks, framework, tool):
        answer = await runs.start("run", source, format="ai-sdk")
        await asyncio.wait_for(tool.is_called.wait(), SERVER_PATIENCE_S)
        assert await runs.stop("run")
        chunks = sent(await read(answer))
        assert chunks[-3:] == [{"type": "abort"}, {"type": "finish"}, "[DONE]"]
        await asyncio.wait_for(tool.is_cancelled.wait(), SERVER_PATIENCE_S)
    assert await runs.state("run") == RunState("stopped")


async def test_a_run_that_cannot_be_started_cancels_its_openai_agent(
    frameworks: ModuleType, runs: Runs
) -> None:
    await read(await runs.start("run", of("Once")))
    tool = frameworks.Waiting()
    async for source in _waiting(frameworks, "openai-agents", tool):
        await asyncio.wait_for(tool.is_called.wait(), SERVER_PATIENCE_S)  # it works by itself
        with pytest.raises(Closed):
            await runs.start("run", source)
        await asyncio.wait_for(tool.is_cancelled.wait(), SERVER_PATIENCE_S)


async def test_an_error_amid_the_run_of_an_agent_fails_it_after_what_is_written(
    frameworks: ModuleType, runs: Runs
) -> None:
    async with frameworks.replaying(frameworks.CALLS, b"") as client:
        source = frameworks.streamed(frameworks.reporter(), client)
        shown = await written(runs, source, "agents")
    assert f"tool-output-available call_1 {NULLS}" in shown
    assert shown[-1] == "error the source failed: ModelBehaviorError"

    def broken() -> str:
        raise ValueError(frameworks.SECRET)

    agent = frameworks.pydantic_ai.Agent(frameworks.TestModel(), tools=[broken])
    shown = await written(runs, agent.run_stream_events("Hi"), "pydantic")
    assert shown[1].startswith("tool-input-start ")
    assert shown[-1] == "error the source failed: ValueError"


# The page


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("number", [0, 1], ids=["openai-agents", "pydantic-ai"])
async def test_a_documented_program_prints_the_answer_of_its_agent(url: str, number: int) -> None:
    program = PROGRAMS[number].replace(f"{PRINTED}/v1/stream/agent-runs", url)
    assert (url in program, MODEL in program) == (True, True)
    async with providing() as provider:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program.replace(MODEL, TOOLS)),
            stdout=asyncio.subprocess.PIPE,
            env={
                **os.environ,
                "OPENAI_BASE_URL": f"{provider.url}/v1",
                "OPENAI_API_KEY": "sk-mine",
                "OPENAI_AGENTS_DISABLE_TRACING": "1",
            },
        )
        printed, _ = await asyncio.wait_for(process.communicate(), IMPORTS_S)
    chunks = sent(printed)
    assert (process.returncode, chunks[-1]) == (0, "[DONE]")
    outputs = [chunk["output"] for chunk in chunks[:-1] if "output" in chunk]
    assert {output["sky"] for output in outputs} == {"sunny"}
    assert "".join(it["delta"] for it in chunks[:-1] if it["type"] == "text-delta") == STORY


async def test_the_documented_sources_of_pydantic_ai_are_runs(
    frameworks: ModuleType, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-mine")
    model = frameworks.TestModel(custom_output_text="Once upon")
    texts: dict[str, Any] = {}
    chunks: dict[str, Any] = {}
    for program, names in zip(PROGRAMS[2:], (texts, chunks), strict=True):
        exec(compile(program, "page", "exec"), names)
    with texts["agent"].override(model=model):
        assert await read(await runs.start("texts", texts["words"]("Hi"))) == b"Once upon"
    message = {"id": "1", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}
    body = {"id": "chat", "trigger": "submit-message", "messages": [message]}
    with chunks["agent"].override(model=model):
        source = chunks["chunks"](json.dumps(body).encode())
        shown = await written(runs, source, "chunks")
    said = [chunk.split(" ", 2)[2] for chunk in shown if chunk.startswith("text-delta ")]
    assert "".join(said) == "Once upon"


# PydanticAI


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("version", [6, 7])
async def test_a_page_makes_of_pydantic_ai_what_it_makes_of_its_own_adapter(
    frameworks: ModuleType, runs: Runs, version: int
) -> None:
    events = await frameworks.events_of(frameworks.meteorologist(), "Tell.")
    chunks, response = await frameworks.chunks_of(events)
    bodies = [response]
    for name, values in (("chunks", chunks), ("events", events)):
        answer = await runs.start(name, of(*values), format="ai-sdk", message_id="run")
        bodies.append((await read(answer)).decode())
    done = subprocess.run(
        [NODE, ROOT / "tests/node/read_message.mjs", str(version)],
        input="\0".join(bodies).encode(),
        capture_output=True,
        check=True,
        timeout=SERVER_PATIENCE_S,
    )
    judged, by_chunks, by_events = json.loads(done.stdout)
    assert by_chunks == judged
    assert _parts(by_events) == _parts(judged)
    types = {part["type"] for part in judged["parts"]}
    assert {"reasoning", "text", "tool-weather", "tool-again", "data-progress"} <= types
    assert by_events["metadata"]["usage"]["totalTokens"] > 0
    assert frameworks.SECRET not in "".join(bodies)


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parts of a message without the ids that whoever makes them gives."""
    return [{name: each for name, each in it.items() if name != "id"} for it in message["parts"]]


async def test_events_of_pydantic_ai_are_text_and_json_without_the_messages_of_the_result(
    frameworks: ModuleType,
) -> None:
    events = await frameworks.events_of(frameworks.meteorologist(), "Tell.")
    assert items("text", events) == ["I ", "look.", "It is ", "sunny."]
    whole = items("sse", events)
    assert whole[-1]["result"]["output"] == "It is sunny."
    assert frameworks.SECRET not in json.dumps(whole)
    assert brief(whole) == brief(events)


async def test_approvals_of_pydantic_ai_are_requested_granted_and_denied(
    frameworks: ModuleType,
) -> None:
    ai = frameworks.pydantic_ai
    agent = ai.Agent(frameworks.TestModel(), output_type=[str, ai.DeferredToolRequests])

    def book(city: str) -> str:
        return "booked"

    agent.tool_plain(requires_approval=True)(book)
    events = await frameworks.events_of(agent, "Book.")
    (call,) = events[-1].result.output.approvals
    assert brief(events)[-3:] == [
        f"tool-input-available {call.tool_call_id} book {call.args}",
        f"tool-approval-request {call.tool_call_id}",
        "finish-step",
    ]
    for decision, outcome in (
        (True, f"tool-output-available {call.tool_call_id} booked"),
        (ai.ToolDenied("no"), f"tool-output-denied {call.tool_call_id}"),
    ):
        results = ai.DeferredToolResults(approvals={call.tool_call_id: decision})
        history = events[-1].result.all_messages()
        later = await frameworks.events_of(
            agent, message_history=history, deferred_tool_results=results
        )
        assert brief(later)[:2] == [outcome, "start-step"]


async def test_each_answer_that_pydantic_ai_asks_for_again_is_a_step_of_its_own(
    frameworks: ModuleType,
) -> None:
    agent = frameworks.pydantic_ai.Agent(frameworks.TestModel(custom_output_text="no"))
    answers = iter(("no", "yes"))

    def check(output: str) -> str:
        if next(answers) == "no":
            raise frameworks.pydantic_ai.ModelRetry("again")
        return output

    agent.output_validator(check)
    shown = brief(await frameworks.events_of(agent, "Tell."))
    assert shown.count("start-step") == shown.count("finish-step") == 2


async def test_chunk_objects_are_written_by_alias_and_keep_the_nulls_of_values(
    frameworks: ModuleType,
) -> None:
    made = frameworks.chunks
    call = {"toolCallId": "1", "toolName": "weather"}
    rows: list[tuple[Any, list[dict[str, Any]]]] = [
        (made.StartChunk(), []),
        (made.StartStepChunk(), [{"type": "start-step"}]),
        (made.TextStartChunk(id="1"), [{"type": "text-start", "id": "1"}]),
        (
            made.ToolInputAvailableChunk(tool_call_id="1", tool_name="weather", input={"a": None}),
            [{"type": "tool-input-available", **call, "input": {"a": None}}],
        ),
        (
            made.ToolOutputAvailableChunk(tool_call_id="1", output=None),
            [{"type": "tool-output-available", "toolCallId": "1", "output": None}],
        ),
        (
            made.ToolOutputAvailableChunk(tool_call_id="1", output=[None, {"b": None}]),
            [{"type": "tool-output-available", "toolCallId": "1", "output": [None, {"b": None}]}],
        ),
        (made.DataChunk(type="data-a", data=None), [{"type": "data-a", "data": None}]),
        (made.DoneChunk(), []),
    ]
    writer = FORMATS["ai-sdk"].writer()
    for chunk, wanted in rows:
        assert writer.items(chunk) == wanted


async def test_what_frameworks_give_beside_events_is_refused_with_what_is_taken_instead(
    frameworks: ModuleType, runs: Runs
) -> None:
    agent = frameworks.pydantic_ai.Agent(frameworks.TestModel())
    answer = await runs.start("stream", agent.run_stream("Hi"))
    assert await read_failed(answer) == b""
    state = await runs.state("stream")
    assert state is not None
    assert str(state.error).endswith("yield what its stream_text(delta=True) gives")
    result = await agent.run("Hi")
    with pytest.raises(TypeError, match=r"Runner\.run_streamed.* not AgentRunResult: pass"):
        await runs.start("result", result)
    with pytest.raises(ValueError, match=r"events of SDKs \(docs/client/runs.md\), not this Model"):
        FORMATS["ai-sdk"].writer().items(result.response)


async def test_the_text_of_pydantic_ai_is_a_run(frameworks: ModuleType, runs: Runs) -> None:
    agent = frameworks.pydantic_ai.Agent(frameworks.TestModel(custom_output_text="Once upon"))

    async def words() -> AsyncIterator[str]:
        async with agent.run_stream("Hi") as result:
            async for text in result.stream_text(delta=True):
                yield text

    assert await read(await runs.start("run", words())) == b"Once upon"


async def test_a_chat_takes_an_agent_as_the_source_of_an_answer(
    frameworks: ModuleType, runs: Runs
) -> None:
    agent = frameworks.pydantic_ai.Agent(frameworks.TestModel(custom_output_text="Hello."))
    question = {"id": "q", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}
    chats = Chats(runs)
    answer = await chats.send("chat", question, lambda _: agent.run_stream_events("Hi"))
    await read(answer)
    history = await chats.history("chat")
    parts = history.messages[-1]["parts"]
    assert "".join(part.get("text", "") for part in parts) == "Hello."


async def test_sync_runs_take_the_same_events_and_chunks(frameworks: ModuleType, url: str) -> None:
    agent = frameworks.meteorologist()
    events = await frameworks.events_of(agent, "Tell.")
    chunks, _ = await frameworks.chunks_of(events)

    def play() -> None:
        with sync.Runs(url) as runs:
            for name, values in (("events", events), ("chunks", chunks)):
                answer = runs.start(name, values, format="ai-sdk")
                shown = sent(b"".join(answer.body))[1:-1]
                assert brief(shown) == brief(values)

    await asyncio.to_thread(play)
