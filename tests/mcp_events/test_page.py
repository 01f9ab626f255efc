"""The program of the page for hosts, as it stands there."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import TYPE_CHECKING

import pytest

from tests.mcp_events.hosts import offering
from tests.support.processes import ROOT
from tests.support.serving import PREFIX, post, put

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("processes")
@pytest.mark.smoke
async def test_the_program_of_the_page_prints_events_as_they_come(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/mcp-events.md").read_text(), re.S)
    (tmp_path / "poll.py").write_text(
        program.replace('"nextPollMs"] / 1000', '"nextPollMs"] / 50000')
    )
    async with offering() as gateway:
        await gateway.ask(put("orders", content_type="application/json"))
        url = f"http://127.0.0.1:{gateway.port}{PREFIX}/mcp"
        running = await asyncio.create_subprocess_exec(
            sys.executable,
            "-u",
            tmp_path / "poll.py",
            url,
            "orders",
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert running.stdout is not None
            printing = asyncio.create_task(running.stdout.readline())
            number = 0
            while not printing.done():  # the first poll begins at some time, and tells later events
                number += 1
                body = b'{"number": %d}' % number
                await gateway.ask(post("orders", body, content_type="application/json"))
                await asyncio.wait([printing], timeout=0.2)
            line = (await printing).decode()
        finally:
            running.kill()
            await running.wait()
    assert re.fullmatch(r"evt_\S+ \{'stream': 'orders', .*'message': \{'number': \d+\}\}\n", line)
