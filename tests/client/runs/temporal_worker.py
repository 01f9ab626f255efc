"""A worker of Temporal with the programs of the documentation, and a model that says few words."""

from __future__ import annotations

import asyncio
import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from temporalio.client import Client, WorkflowFailureError
from temporalio.service import RPCError
from temporalio.worker import Worker

from tests.client.printed_urls import with_url
from tests.client.runs.killed import PATIENCE_S, Moment, note

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

PAGE = Path(__file__).parents[3] / "docs/client/work-that-goes-on.md"
# What the page waits for, and what a test does.
SOONER = {
    "timedelta(seconds=10)": "timedelta(seconds=1)",
    "asyncio.sleep(3)": "asyncio.sleep(0.3)",
    "RetryPolicy(": "RetryPolicy(initial_interval=timedelta(milliseconds=100), ",
}
SAID = {"plan": ["I look ", "outside. "], "write": ["It is ", "sunny."]}
QUEUE = "answers"


def programs(url: str, folder: str) -> tuple[Any, Any]:
    """Return the activities and the workflow of the page as modules."""
    page = PAGE.read_text().split("\n## Temporal\n")[1]
    activities, workflows = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for name, program in (("activities", activities), ("workflows", workflows)):
        changed = program if name == "workflows" else with_url(program, url)
        for told, ours in SOONER.items():
            assert told in page
            changed = changed.replace(told, ours)
        Path(folder, f"{name}.py").write_text(changed)
    sys.path.insert(0, folder)
    return importlib.import_module("activities"), importlib.import_module("workflows")


def model(effects: str, moment: Moment) -> ModuleType:
    """Return the application's own module that the activities import."""

    async def say(key: str, question: str) -> AsyncIterator[str]:
        moment.reached(key, "before")
        if moment == Moment(key, "failing"):
            raise RuntimeError("the model is overloaded")
        note(effects, f"{key}-begun")
        for word in SAID[key]:
            yield word
            await moment.held(key, "amid")
        note(effects, key)

    module = ModuleType("model")
    module.say = say  # type: ignore[attr-defined]
    return module


async def work(url: str, run_id: str, folder: str, moment: Moment, server: str) -> None:
    """Work until the workflow is over; the first worker starts it."""
    is_first = not Path(folder, "workflows.py").exists()
    sys.modules["model"] = model(f"{folder}/effects.txt", moment)
    activities, workflows = programs(url, folder)
    with_heartbeat, count = activities.with_heartbeat, 0

    async def watched(work: Awaitable[object]) -> object:
        nonlocal count
        result = await with_heartbeat(work)
        moment.reached(str(count), "written")
        count += 1
        return result

    activities.with_heartbeat = watched
    client = await connected(server)
    if is_first:
        await client.start_workflow(
            "Answer", args=[run_id, "Is it sunny?"], id=run_id, task_queue=f"{QUEUE}-{run_id}"
        )
    async with activities.runs:
        worker = Worker(
            client,
            task_queue=f"{QUEUE}-{run_id}",
            workflows=[workflows.Answer],
            activities=[activities.step, activities.end],
            max_cached_workflows=0,  # no other worker waits for one that is gone
        )
        async with worker:
            result = client.get_workflow_handle(run_id).result()
            outcome: object
            (outcome,) = await asyncio.gather(result, return_exceptions=True)
    if moment.where == "failing":
        assert isinstance(outcome, WorkflowFailureError), outcome
    else:
        assert outcome == ["".join(words) for words in SAID.values()]


async def connected(server: str) -> Client:
    """Connect to a server that may have been started this moment."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await Client.connect(server)
            except (RPCError, RuntimeError):
                await asyncio.sleep(0.05)
