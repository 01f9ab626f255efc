"""A worker that answers with a graph of LangGraph whose checkpoints are in a file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from headgate.runs import Runs, RunState, Step, langgraph
from tests.client.runs.graph import StreamingModel, graph
from tests.client.runs.killed import Moment, note

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from headgate.runs import Written
    from headgate.runs.formats import FormatName

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
    """Says the words of a step, which are before a call of a tool and after it."""

    effects: str
    moment: Any = None

    async def _astream(
        self, messages: list[BaseMessage], *args: object, **kwargs: object
    ) -> AsyncIterator[ChatGenerationChunk]:
        step = "write" if messages[-1].type == "tool" else "plan"
        self.moment.reached(step, "before")
        is_again = f"{step}-begun" in Path(self.effects).read_text().split()
        note(self.effects, f"{step}-begun")
        for word in [*([AGAIN] if is_again else []), *SAID[step]]:
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))
            await self.moment.held(step, "amid")
        if step == "plan":
            call = tool_call_chunk(name="weather", args='{"city":"Rome"}', id="call_1", index=0)
            yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[call]))
        note(self.effects, step)


class Saver(AsyncSqliteSaver):
    """Saves checkpoints, unless the process is killed when only the writes of a step are saved."""

    moment: Moment
    are_written: asyncio.Event

    async def aput_writes(self, config: Any, writes: Any, *args: Any, **kwargs: Any) -> None:
        await super().aput_writes(config, writes, *args, **kwargs)
        if any(channel == "branch:to:tools" for channel, _ in writes):
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
        compiled = graph(Model(effects=f"{folder}/effects.txt", moment=moment), saver)
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
