"""The programs of the pages for threads that need no server of a framework."""

from __future__ import annotations

import asyncio
import os
import queue
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from headgate import RunState, sync

from tests.client.printed_urls import with_url
from tests.client.runs import model
from tests.client.sync.applications import programs
from tests.client.sync.feeds import read, read_to
from tests.support.processes import AT_ONCE, ROOT

PAGE = (ROOT / "docs/client/sync.md").read_text()
CLIENT, FIRST, WATCHING, WRITING = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("program", "printed"),
    [
        pytest.param(CLIENT, "{'id': 1} 0000000000000000_0000000000000008\n", id="client"),
        pytest.param(WRITING, "Once upon a time\n", id="writer"),
        pytest.param(FIRST, "You asked: why? finished\n", id="runs"),
    ],
)
def test_a_documented_sync_program_reads_what_it_wrote(
    program: str, printed: str, url: str
) -> None:
    program = with_url(program, url)
    command = [sys.executable, "-W", "error", "-c", program]
    environment = {**os.environ, **AT_ONCE}
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment)
    assert (done.stderr, done.stdout) == ("", printed)


def test_the_documented_sync_source_ends_when_its_run_is_stopped(runs: sync.Runs) -> None:
    jobs: queue.Queue[str] = queue.Queue()
    jobs.put("Once ")
    names: dict[str, Any] = {"runs": runs, "queue": queue}
    exec(WATCHING, names)
    read_to(runs.start("a", names["produce"]("a", jobs)), b"Once ")
    assert runs.stop("a")
    assert read(runs.follow("a")) == b"Once "
    assert runs.state("a") == RunState("stopped")


async def given(source: AsyncIterator[object] | Iterator[object]) -> list[Any]:
    """Return what a source gives, without holding up the model, which is in this loop."""
    if isinstance(source, AsyncIterator):
        return [item async for item in source]
    return await asyncio.to_thread(list, source)


@pytest.mark.parametrize(
    ("page", "heading"),
    [("django.md", ["ASGI"]), ("django.md", ["WSGI"]), ("flask.md", []), ("celery-and-rq.md", [])],
)
async def test_the_documented_model_of_each_framework_yields_sdk_events(
    page: str, heading: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = programs(page, *heading)
    (program,) = [text for name, text in files.items() if name.endswith("model.py")]
    names: dict[str, Any] = {}
    async with model.served() as model_url:
        monkeypatch.setenv("OPENAI_BASE_URL", model_url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        exec(program, names)
        events = await given(names["produce"]("Once upon"))
        closed = names["model"].close()
        if closed is not None:
            await closed
    assert [event.choices[0].delta.content for event in events] == ["Once ", "upon "]
