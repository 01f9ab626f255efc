"""Work whose process is killed with SIGKILL: another one goes on, and readers have one text."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.runs import Runs, RunState

from tests.client.runs.killed import PATIENCE_S, Moment, ended, forked
from tests.support.ports import free_port
from tests.support.processes import NODE, ROOT
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.context import ForkServerProcess

    import pytest
    from headgate.runs import FormatName

LOOK_AGAIN_S = 0.1  # of many runs at once
WHOLE = Moment()  # nobody is killed
BETWEEN = Moment("write", "before")  # the step before is in the stream
SAVING = Moment("plan", "saving")  # LangGraph has what the step has written, and no checkpoint
COMMITTED = Moment("3", "committed")  # LangGraph has the step, the stream has not all of it
UNASKED = Moment("0", "committed")  # nothing has begun
ASKED = Moment("1", "committed")  # LangGraph has the question, or is about to
AMID = Moment("plan", "amid")  # the model has said a word
FIRST, AGAIN = "I look ", "(again) "
REST = "at the weather. It is sunny in Rome."


@dataclass
class Workers:
    """Processes that answer with a graph, killed at a moment until one comes to the end."""

    runs: Runs
    url: str
    folder: Path

    async def answer(
        self, name: str, moment: Moment, form: FormatName, options: dict[str, bool]
    ) -> tuple[bytes, list[str]]:
        """Return what a reader had who was there all the time, and what was done in the world."""
        effects = self.folder / f"{name}.txt"
        effects.touch()
        body = bytearray()
        reading = asyncio.create_task(_read(self.runs, name, body))
        first = self._work(name, moment, form, options)
        if moment == AMID:
            await until(lambda: "plan-begun" in effects.read_text(), within_s=PATIENCE_S)
            if options.get("live", True):
                await until(lambda: FIRST.encode() in body, within_s=PATIENCE_S)
            first.kill()
        assert await ended(first) == (0 if moment == WHOLE else -signal.SIGKILL)
        if moment != WHOLE:
            await asyncio.wait_for(self._orphaned(name), PATIENCE_S)
            assert not reading.done()
            assert await ended(self._work(name, WHOLE, form, options)) == 0
        await asyncio.wait_for(reading, PATIENCE_S)
        done = [line for line in effects.read_text().split() if not line.endswith("-begun")]
        return bytes(body).replace(name.encode(), b"RUN"), done

    def _work(
        self, name: str, moment: Moment, form: FormatName, options: dict[str, bool]
    ) -> ForkServerProcess:
        folder = str(self.folder)
        return forked("graph_worker", "work", self.url, name, folder, moment, form, options)

    async def _orphaned(self, name: str) -> None:
        """Wait until the run has no producer any more, or none has begun it."""
        while (state := await self.runs.state(name)) is not None and state.status == "active":
            await asyncio.sleep(LOOK_AGAIN_S)


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


async def test_a_graph_goes_on_at_its_checkpoint_and_readers_have_one_text(
    url: str, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    cases: dict[str, tuple[Moment, FormatName, dict[str, bool]]] = {
        "text-unasked": (UNASKED, "text", {}),
        "text-asked": (ASKED, "text", {}),
        "text-between": (BETWEEN, "text", {}),
        "text-amid": (AMID, "text", {}),
        "steps": (WHOLE, "ai-sdk", {"live": False}),
        "steps-amid": (AMID, "ai-sdk", {"live": False}),
        "chunks": (WHOLE, "ai-sdk", {}),
        "chunks-between": (BETWEEN, "ai-sdk", {}),
        "chunks-committed": (COMMITTED, "ai-sdk", {}),
        "chunks-saving": (SAVING, "ai-sdk", {}),
        "chunks-amid": (AMID, "ai-sdk", {}),
        "chunks-reset": (AMID, "ai-sdk", {"resets": True}),
    }
    async with Runs(url, orphan_after=1, takeover_within=60) as runs:
        workers = Workers(runs, url, tmp_path)
        answers = await asyncio.gather(
            *(workers.answer(name, *case) for name, case in cases.items())
        )
        states = await runs.states(cases)
    bodies = {name: body for name, (body, _) in zip(cases, answers, strict=True)}
    for name, (_, done) in zip(cases, answers, strict=True):
        with subtests.test(f"{name}: no step is done twice"):
            assert done == ["plan", "search", "write"]
        with subtests.test(f"{name}: the run has finished"):
            assert states[name] == RunState("finished")
    for name in ("text-unasked", "text-asked", "text-between"):
        with subtests.test(f"{name}: the text is that of a run that nobody killed"):
            assert bodies[name].decode() == FIRST + REST
    with subtests.test("text-amid: a step that was killed begins anew, behind what it has said"):
        assert bodies["text-amid"].decode() == FIRST + AGAIN + FIRST + REST
    with subtests.test("chunks-between: the bytes are those of a run that nobody killed"):
        assert bodies["chunks-between"] == bodies["chunks"]
    with subtests.test("steps-amid: of whole steps, nothing is told of one that was killed"):
        said = (AGAIN + FIRST).encode()
        assert bodies["steps-amid"] == bodies["steps"].replace(FIRST.encode(), said)
    names = ("chunks", "chunks-committed", "chunks-saving", "chunks-amid")
    (whole, committed, saving, amid), (reset,) = await asyncio.gather(
        messages_of(6, *(bodies[name] for name in names)), messages_of(7, bodies["chunks-reset"])
    )
    with subtests.test("chunks-committed: a page shows what it shows of a run nobody killed"):
        assert committed == whole
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


async def test_a_workflow_goes_on_at_its_activity_and_readers_have_one_text(
    url: str, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    # Each worker is killed at its moment: the last one is not.
    cases = {
        "between": [Moment("0", "written"), Moment("write", "before"), Moment()],
        "amid": [Moment("write", "amid"), Moment()],
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
                    worker = forked("temporal_worker", "work", *about)
                    if moment.where == "amid":
                        await until(lambda: b"It is " in body, within_s=PATIENCE_S)
                        worker.kill()
                    assert await ended(worker) == (-signal.SIGKILL if moment.step else 0)
                await asyncio.wait_for(reading, PATIENCE_S)
                return body.decode(), (folder / "effects.txt").read_text().split()

            answers = await asyncio.gather(*(answered(*case) for case in cases.items()))
            states = await runs.states(cases)
    texts = ["I look outside. It is sunny.", "I look outside. It is It is sunny."]
    for name, wanted, (told, done) in zip(cases, texts, answers, strict=True):
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
