"""A worker that answers with a graph of LangGraph whose checkpoints are in a file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from headgate.runs import Runs, RunState, Step, langgraph
from langchain_core.messages import AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, MessagesState, StateGraph

from tests.client.runs.graph import StreamingModel
from tests.client.runs.killed import Moment, note

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from headgate.runs import Written
    from headgate.runs.formats import FormatName
    from langchain_core.runnables import RunnableConfig

PAGE = Path(__file__).parents[3] / "docs/client/work-that-goes-on.md"
QUESTION = "Is it sunny in Rome?"
# What the model says in each step, word by word. A step that is done anew says it in other words.
SAID = {
    "plan": ["I look ", "at the ", "weather. "],
    "write": ["It is ", "sunny ", "in Rome."],
}
AGAIN = "(again) "
LOOK_AGAIN_S = 0.1  # of many runs at once


class Model(StreamingModel):
    """Says the words of a step."""

    step: str
    attempt: int
    moment: Any = None

    async def _astream(
        self, messages: list[BaseMessage], *args: object, **kwargs: object
    ) -> AsyncIterator[ChatGenerationChunk]:
        words = SAID[self.step]
        for word in words if self.attempt == 1 else [AGAIN, *words]:
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))
            await self.moment.held(self.step, "amid")
        if self.step == "plan":
            city = '{"city":"Rome"}'
            call = tool_call_chunk(name="weather", args=city, id="call_1", index=0)
            told = AIMessageChunk(content="", tool_call_chunks=[call])
            yield ChatGenerationChunk(message=told)


def graph(effects: str, moment: Moment) -> StateGraph[MessagesState]:
    """Return a graph of three steps, each of which notes that it was done."""

    async def said(step: str, state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        moment.reached(step, "before")
        with open(effects) as file:  # noqa: PTH123
            attempt = 1 + file.read().split().count(f"{step}-begun")
        note(effects, f"{step}-begun")
        model = Model(step=step, attempt=attempt, moment=moment)
        answer = await model.ainvoke(state["messages"], config)
        note(effects, step)
        return {"messages": [answer]}

    async def plan(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        return await said("plan", state, config)

    async def search(state: MessagesState) -> dict[str, Any]:
        moment.reached("search", "before")
        note(effects, "search")
        return {"messages": [ToolMessage("sun", tool_call_id="call_1")]}

    async def write(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        return await said("write", state, config)

    builder = StateGraph(MessagesState)
    for name, node in (("plan", plan), ("search", search), ("write", write)):
        builder.add_node(name, node)
    builder.add_edge(START, "plan")
    builder.add_edge("plan", "search")
    builder.add_edge("search", "write")
    return builder


class Saver(AsyncSqliteSaver):
    """Saves checkpoints, unless the process is killed when only the writes of a step are saved."""

    moment: Moment
    are_written: asyncio.Event

    async def aput_writes(self, config: Any, writes: Any, *args: Any, **kwargs: Any) -> None:
        await super().aput_writes(config, writes, *args, **kwargs)
        if any(channel == "branch:to:search" for channel, _ in writes):
            self.are_written.set()

    async def aput(self, config: Any, checkpoint: Any, metadata: Any, versions: Any) -> Any:
        if metadata["step"] == 1 and self.moment.where == "saving":
            await self.are_written.wait()
            self.moment.reached("plan", "saving")
        return await super().aput(config, checkpoint, metadata, versions)


async def work(
    url: str, run_id: str, folder: str, moment: Moment, form: FormatName, options: dict[str, bool]
) -> None:
    """Answer, or go on with the answer that another process has left."""
    async with (
        Saver.from_conn_string(f"{folder}/graph.db") as saver,
        Runs(url, orphan_after=1, takeover_within=60) as runs,
    ):
        assert isinstance(saver, Saver)
        saver.moment, saver.are_written = moment, asyncio.Event()
        compiled = graph(f"{folder}/effects.txt", moment).compile(checkpointer=saver)
        while (state := await runs.state(run_id)) is not None and state.status == "active":
            await asyncio.sleep(LOOK_AGAIN_S)
        if form == "ai-sdk" and not options:
            await by_the_page(runs, compiled, run_id, moment)
        else:
            config = {"configurable": {"thread_id": run_id}}
            asked = {"messages": [("user", QUESTION)]}

            def source(written: Written) -> AsyncGenerator[object]:
                return langgraph.steps(compiled, asked, config, written, **options)

            await runs.take_over(run_id, lambda each: watched(source(each), moment), format=form)
        assert await runs.state(run_id) == RunState("finished")


async def by_the_page(runs: Runs, compiled: Any, run_id: str, moment: Moment) -> None:
    """Answer with the program of the documentation."""
    page = PAGE.read_text().split("\n## LangGraph\n")[1]
    names: dict[str, Any] = {}
    exec(page.split("```python\n")[1].split("```")[0], names)
    steps = langgraph.steps
    names["langgraph"] = SimpleNamespace(steps=lambda *args: watched(steps(*args), moment))
    if await runs.state(run_id) is None:
        await names["answer"](runs, compiled, run_id, QUESTION)
    else:
        await names["go_on"](runs, compiled, {run_id: QUESTION, "unknown": QUESTION})


async def watched(source: AsyncGenerator[object], moment: Moment) -> AsyncGenerator[object]:
    """Give what the source gives, and see when LangGraph has a checkpoint."""
    count = 0
    async for given in source:
        if isinstance(given, Step):
            moment.reached(str(count), "committed")
            count += 1
        yield given
