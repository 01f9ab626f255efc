"""Work whose process is killed with SIGKILL: another one goes on, and readers have one text."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from headgate import SourceFailed
from headgate.runs import Runs, RunState

from tests.client.runs.killed import PATIENCE_S, Moment, ended, forked
from tests.support.ports import free_port
from tests.support.processes import NODE, ROOT
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from headgate.runs.formats import FormatName

LOOK_AGAIN_S = 0.1  # of many runs at once
WHOLE = Moment()  # nobody is killed
BETWEEN = Moment("write", "before")  # the step before is in the stream
SAVING = Moment("plan", "saving")  # LangGraph has what the step has written, and no checkpoint
ASKED = Moment("0", "committed")  # nothing has begun
ASKED = Moment("1", "committed")  # LangGraph has the question, or is about to
AMID = Moment("plan", "amid")  # the model has said a word
FIRST, AGAIN = "I look ", "(again) "
REST = "at the weather. It is sunny in Rome."


async def states_of(runs: Runs, names: Iterable[str]) -> dict[str, RunState | None]:
    return {name: await runs.state(name) for name in names}


@dataclass
class Case:
    """An answer of a graph whose process is killed at a moment."""

    name: str
    moment: Moment
    form: FormatName
    options: dict[str, bool] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)  # what its reader has

    async def read(self, runs: Runs) -> None:
        """Read along from before the run begins, and on to its end."""
        answer = await runs.follow(self.name, wait=PATIENCE_S)
        assert answer is not None
        async for piece in answer.body:
            self.body += piece

    async def killed(self, runs: Runs, url: str, folder: Path) -> None:
        """Begin the work in a process that is killed, and wait until it is known to be gone."""
        effects = folder / f"{self.name}.txt"
        effects.touch()
        if self.moment == WHOLE:
            return
        about = (url, self.name, str(folder), self.moment, self.form, self.options)
        process = await forked("graph_worker", "work", *about)
        if self.moment == AMID:
            await until(lambda: "plan-begun" in effects.read_text(), within_s=PATIENCE_S)
            if self.options.get("live", True):
                await until(lambda: FIRST.encode() in self.body, within_s=PATIENCE_S)
            process.kill()
        assert await ended(process) == -signal.SIGKILL
        while (state := await runs.state(self.name)) is not None and state.status == "active":
            await asyncio.sleep(LOOK_AGAIN_S)

    def effects(self, folder: Path) -> list[str]:
        """Return which steps were done in the world."""
        lines = (folder / f"{self.name}.txt").read_text().split()
        return [line for line in lines if not line.endswith("-begun")]


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
        Case("text-asked", ASKED, "text"),
        Case("text-between", BETWEEN, "text"),
        Case("text-amid", AMID, "text"),
        Case("steps", WHOLE, "ai-sdk", {"live": False}),
        Case("steps-amid", AMID, "ai-sdk", {"live": False}),
        Case("chunks", WHOLE, "ai-sdk"),
        Case("chunks-saving", SAVING, "ai-sdk"),
        Case("chunks-amid", AMID, "ai-sdk"),
        Case("chunks-reset", AMID, "ai-sdk", {"resets": True}),
    ]
    assert await ended(await forked("killed", "nothing")) == 0
    async with Runs(url, orphan_after=1, takeover_within=60) as runs:
        reading = asyncio.gather(*(case.read(runs) for case in cases))
        await asyncio.gather(*(case.killed(runs, url, tmp_path) for case in cases))
        left = [(case.name, case.form, case.options) for case in cases]
        assert await ended(await forked("graph_worker", "work_on", url, str(tmp_path), left)) == 0
        await asyncio.wait_for(reading, PATIENCE_S)
        states = await states_of(runs, [case.name for case in cases])
    assert set(states.values()) == {RunState("finished")}
    bodies = {case.name: bytes(case.body).replace(case.name.encode(), b"RUN") for case in cases}
    for case in cases:
        with subtests.test(f"{case.name}: no step is done twice"):
            assert case.effects(tmp_path) == ["plan", "search", "write"]
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
    # Each worker is killed at its moment: the last one is not.
    cases = {
        "between": [Moment("0", "written"), Moment("write", "before"), Moment()],
        "amid": [Moment("write", "amid"), Moment()],
        "failing": [Moment("write", "failing")],
    }
    with temporal() as server:
        async with Runs(url) as runs:

            async def answered(name: str, moments: list[Moment]) -> tuple[str, list[str]]:
                folder = tmp_path / name
                folder.mkdir()
                body = bytearray()
                reading = asyncio.create_task(_read(runs, name, body))
                for number, moment in enumerate(moments):
                    about = (url, name, str(folder), server, moment, number == 0)
                    worker = await forked("temporal_worker", "work", *about)
                    if moment.where == "amid":
                        await until(lambda: b"It is " in body, within_s=PATIENCE_S)
                        worker.kill()
                    is_killed = number < len(moments) - 1
                    assert await ended(worker) == (-signal.SIGKILL if is_killed else 0)
                with contextlib.suppress(SourceFailed):
                    await asyncio.wait_for(reading, PATIENCE_S)
                return body.decode(), (folder / "effects.txt").read_text().split()

            answers = await asyncio.gather(*(answered(*case) for case in cases.items()))
            states = await states_of(runs, cases)
    (*_, (told, done)) = answers
    with subtests.test("failing: what has failed too often ends the run"):
        assert (told, done) == ("I look outside. ", ["plan-begun", "plan"])
        assert states.pop("failing") == RunState("failed", "the source failed: RuntimeError")
    texts = ["I look outside. It is sunny.", "I look outside. It is It is sunny."]
    for name, wanted, (told, done) in zip(states, texts, answers[:2], strict=True):
        with subtests.test(f"{name}: the text"):
            assert told == wanted
        with subtests.test(f"{name}: no step is done twice"):
            assert [step for step in done if not step.endswith("-begun")] == ["plan", "write"]
        with subtests.test(f"{name}: the run has finished"):
            assert states[name] == RunState("finished")


async def _read(runs: Runs, name: str, body: bytearray) -> None:
    answer = await runs.follow(name, wait=PATIENCE_S)
    assert answer is not None
    async for piece in answer.body:
        body += piece
