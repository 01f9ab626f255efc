"""The page on workers: its program works as it says."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import re
import signal
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
from headgate import Worker
from headgate.streams.client import Client

from tests.client.workers.pools import Pool
from tests.support.processes import ROOT
from tests.support.waiting import SERVER_PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headgate import Job

    from tests.support.processes import Headgate

PAGE = (ROOT / "docs/client/worker.md").read_text()


@pytest.mark.usefixtures("processes")
async def test_the_documented_worker_prints_an_order_and_ends_by_sigterm(
    server: Headgate, work: Pool
) -> None:
    made = Pool(server.streams, work.session, "confirmations")
    await made.subscribe(pattern="shop/*")
    program = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
    program = program.replace("http://127.0.0.1:4437", server.url)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        anna = made.stream("shop/anna")
        await anna.create(content_type="application/json", body=b'{"item": "tea"}')
        printed = await asyncio.wait_for(process.stdout.readline(), 30)
        assert f"{printed.decode()}```" in PAGE
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()


def test_the_page_shows_the_parameters_and_defaults_of_a_worker() -> None:
    (shown,) = re.findall(r"`Worker\((.*?)\)`:", PAGE)
    parameters = inspect.signature(Worker).parameters.values()
    assert shown == ", ".join(str(it.replace(annotation=it.empty)) for it in parameters)


class ShownHandler:
    """A block of a job on the page, as a handler, and what it has confirmed."""

    def __init__(self, number: int, **names: Any) -> None:
        self.confirmed: list[str] = []
        blocks = re.findall(r"^async with job:\n(?:    .*\n)+", PAGE, re.MULTILINE)
        names |= {"confirm": self._confirm, "logging": logging, "json": json}
        exec(f"async def handle(job):\n{textwrap.indent(blocks[number], '    ')}", names)
        self._handle: Callable[[Job], Awaitable[None]] = names["handle"]

    async def _confirm(self, customer: str, order: dict[str, str]) -> None:
        await asyncio.sleep(0)
        self.confirmed.append(f"{customer}: {order['item']}")

    async def run_once(self, work: Pool) -> None:
        """Handle one job."""
        async with work.worker() as worker, asyncio.timeout(SERVER_PATIENCE_S):
            async for job in worker:
                await self._handle(job)
                break


async def test_a_message_that_the_shown_block_cannot_take_becomes_a_letter_and_all_are_acknowledged(
    work: Pool,
) -> None:
    async with Client(work.streams, session=work.session) as client:
        dead = await client.create(f"dead/{work.name}", json=True)
    shown = ShownHandler(0, dead=dead)
    bad = await work.append("a", {"item": "salt"}, {"no": "item"}, {"item": "rice"})
    end = await work.append("b", {"item": "tea"})
    await shown.run_once(work)
    assert (await work.cursor("a"), await work.cursor("b")) == (bad, end)
    assert sorted(shown.confirmed) == [
        *(f"{work.path('a')}: {item}" for item in ("rice", "salt")),
        f"{work.path('b')}: tea",
    ]
    letters = [letter.value async for letter in dead.read()]
    assert letters == [
        {"stream": work.path("a"), "message": {"no": "item"}, "reason": "KeyError('item')"}
    ]


async def test_no_letter_is_lost_when_the_dead_letter_stream_takes_none(work: Pool) -> None:
    dead = Client(work.streams, session=work.session).stream(f"dead/{work.name}")  # is not there
    await work.append("a", {"no": "item"})
    await ShownHandler(0, dead=dead).run_once(work)
    assert await work.cursor("a") == "-1"
    assert (await work.description())["status"] == "active"


async def test_a_message_that_the_shown_block_stops_at_keeps_no_other_stream_pending(
    work: Pool,
) -> None:
    shown = ShownHandler(1)
    await work.append("a", {"no": "item"})
    end = await work.append("b", {"item": "tea"})
    await shown.run_once(work)
    assert (await work.cursor("a"), await work.cursor("b")) == ("-1", end)
    assert shown.confirmed == [f"{work.path('b')}: tea"]
