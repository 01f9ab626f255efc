"""Work whose process is killed with SIGKILL: another one goes on, and readers have one text."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from headgate.runs import Runs, RunState
from tests.client.runs.killed import PATIENCE_S, Moment, Work
from tests.support.ports import free_port
from tests.support.processes import NODE, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST, AGAIN = "I look ", "(again) "
REST = "at the weather. It is sunny in Rome."
LAST = Moment()  # nobody is killed
ASKED = Moment("1", "committed")  # LangGraph has the question, or is about to
BETWEEN = Moment("write", "before")  # the step before is in the stream
SAVING = Moment("plan", "saving")  # LangGraph has what the step has written, and no checkpoint
AMID = Moment("plan", "amid", FIRST)  # the model has said a word
UNSEEN = Moment("plan", "amid")  # and nobody has seen it
WHOLE_STEPS, RESET = {"live": False}, {"resets": True}


async def messages_of(version: int, *bodies: bytes) -> list[Any]:
    """Return the parts of the messages that a page of the AI SDK makes of answers."""
    program = ROOT / "tests/node/read_message.mjs"
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        NODE, program, str(version), stdin=pipe, stdout=pipe
    )
    out, _ = await asyncio.wait_for(process.communicate(b"\0".join(bodies)), PATIENCE_S)
    return [message["parts"] for message in json.loads(out)]


def again(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the parts of a message whose first step was done anew."""
    return [
        {**part, "text": AGAIN + part["text"]} if part.get("text", "").startswith(FIRST) else part
        for part in parts
    ]


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(200)  # what the processes import takes seconds
async def test_a_killed_langgraph_worker_is_continued_from_its_checkpoint_without_repeats(
    url: str, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    cases = [
        Work("text-asked", [ASKED, LAST], ("text", {})),
        Work("text-between", [BETWEEN, LAST], ("text", {})),
        Work("text-amid", [AMID, LAST], ("text", {})),
        Work("steps", [LAST], ("ai-sdk", WHOLE_STEPS)),
        Work("steps-amid", [UNSEEN, LAST], ("ai-sdk", WHOLE_STEPS)),
        Work("chunks", [LAST], ("ai-sdk", {})),
        Work("chunks-saving", [SAVING, LAST], ("ai-sdk", {})),
        Work("chunks-amid", [AMID, LAST], ("ai-sdk", {})),
        Work("chunks-reset", [AMID, LAST], ("ai-sdk", RESET)),
    ]
    async with Runs(url, orphan_after=1, takeover_within=60) as runs:
        await asyncio.gather(*(case.play(runs, url, tmp_path, "graph_worker") for case in cases))
        states = {case.name: await runs.state(case.name) for case in cases}
    assert set(states.values()) == {RunState("finished")}
    bodies = {case.name: bytes(case.body).replace(case.name.encode(), b"RUN") for case in cases}
    for case in cases:
        with subtests.test(f"{case.name}: no step is done twice"):
            assert case.effects(tmp_path) == ["plan", "write"]
    for name, text in (
        ("text-asked", FIRST + REST),
        ("text-between", FIRST + REST),
        ("text-amid", FIRST + AGAIN + FIRST + REST),  # begins anew, after what it has said
    ):
        with subtests.test(f"{name}: the text"):
            assert bodies[name].decode() == text
    with subtests.test("steps-amid: of whole steps, nothing is told of one that was killed"):
        said = (AGAIN + FIRST).encode()
        assert bodies["steps-amid"] == bodies["steps"].replace(FIRST.encode(), said)
    names = ("chunks", "chunks-saving", "chunks-amid")
    (whole, saving, amid), (reset,) = await asyncio.gather(
        messages_of(6, *(bodies[name] for name in names)), messages_of(7, bodies["chunks-reset"])
    )
    with subtests.test("chunks-saving: a page shows what it shows of a run nobody killed"):
        assert saving == whole
    with subtests.test("chunks-amid: a page of version 6 shows the killed step as one of its own"):
        killed = {"type": "text", "text": FIRST, "state": "done"}
        assert amid == [{"type": "step-start"}, killed, *again(whole)]
    with subtests.test("chunks-reset: a page of version 7 shows nothing of the killed step"):
        assert reset == again(whole)


@contextlib.contextmanager
def temporal() -> Iterator[str]:
    """The address of a server of Temporal for tests."""
    port = free_port()
    program = Path(sys.executable).with_name("temporal-test-server")
    process = subprocess.Popen([program, str(port)], stdout=subprocess.DEVNULL)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(200)
async def test_a_killed_temporal_worker_is_continued_at_its_activity_without_repeats(
    url: str, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    failing = Moment("write", "failing")
    with temporal() as server:
        cases = [
            Work("between", [Moment("0", "written"), Moment("write", "before"), LAST], (server,)),
            Work("amid", [Moment("write", "amid", "It is "), LAST], (server,)),
            Work("failing", [failing], (server,)),
        ]
        async with Runs(url) as runs:
            plays = (case.play(runs, url, tmp_path, "temporal_worker") for case in cases)
            await asyncio.gather(*plays)
            states = [await runs.state(case.name) for case in cases]
    finished = RunState("finished")
    wanted = {
        "between": ("I look outside. It is sunny.", ["plan", "write"], finished),
        "amid": ("I look outside. It is It is sunny.", ["plan", "write"], finished),
        # What has failed too often ends the run.
        "failing": (
            "I look outside. ",
            ["plan"],
            RunState("failed", "the source failed: RuntimeError"),
        ),
    }
    for case, state in zip(cases, states, strict=True):
        with subtests.test(f"{case.name}: the text, what was done, and the end"):
            done = (case.body.decode(), case.effects(tmp_path), state)
            assert done == wanted[case.name]
