"""The page on workers: its program works as it says."""

from __future__ import annotations

import asyncio
import inspect
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
    from tests.support.processes import Headgate

PAGE = (ROOT / "docs/client/worker.md").read_text()
URL = "http://127.0.0.1:4437/v1/stream"
PROGRAM = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
BLOCKS = re.findall(r"^async with job:\n(?:    .*\n)+", PAGE, re.MULTILINE)
(SYNC_BLOCK,) = re.findall(
    r"```python\n(import signal\n\nimport headgate\.sync.*?)```", PAGE, re.DOTALL
)
SYNC_PROGRAM = PROGRAM.partition("async def main")[0].replace("async ", "") + SYNC_BLOCK.replace(
    "(url,", f'("{URL}",'
)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("program", [PROGRAM, SYNC_PROGRAM], ids=["asyncio", "threads"])
async def test_the_documented_worker_prints_an_order_and_ends_by_sigterm(
    program: str, server: Headgate, work: Pool
) -> None:
    made = Pool(server.streams, work.session, f"{work.name}-page", folder="shop")
    await made.subscribe()
    program = program.replace(URL, made.streams).replace('"confirmations"', f'"{made.name}"')
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        await made.append("anna", {"item": "tea"})
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


async def handled(work: Pool, number: int, **names: Any) -> list[str]:
    """Handle a job by a block of the page, and return what it has confirmed."""
    confirmed: list[str] = []

    async def confirm(customer: str, order: dict[str, str]) -> None:
        confirmed.append(f"{customer}: {order['item']}")

    names |= {"confirm": confirm, "logging": logging}
    exec(f"async def handle(job):\n{textwrap.indent(BLOCKS[number], '    ')}", names)
    async with work.worker() as worker, asyncio.timeout(SERVER_PATIENCE_S):
        await names["handle"](await anext(aiter(worker)))
    return sorted(confirmed)


async def test_a_message_that_the_shown_block_cannot_take_becomes_a_letter_and_all_are_acknowledged(
    work: Pool,
) -> None:
    async with Client(work.streams, session=work.session) as client:
        dead = await client.create(f"dead/{work.name}", json=True)
    bad = await work.append("a", {"item": "salt"}, {"no": "item"}, {"item": "rice"})
    end = await work.append("b", {"item": "tea"})
    a, b = work.path("a"), work.path("b")
    assert await handled(work, 0, dead=dead) == sorted([f"{a}: rice", f"{a}: salt", f"{b}: tea"])
    assert (await work.cursor("a"), await work.cursor("b")) == (bad, end)
    letters = [letter.value async for letter in dead.read()]
    assert letters == [{"stream": a, "message": {"no": "item"}, "reason": "KeyError('item')"}]


async def test_no_letter_is_lost_when_the_dead_letter_stream_takes_none(work: Pool) -> None:
    dead = Client(work.streams, session=work.session).stream(f"dead/{work.name}")  # is not there
    await work.append("a", {"no": "item"})
    assert await handled(work, 0, dead=dead) == []
    assert await work.cursor("a") == "-1"
    assert (await work.description())["status"] == "active"


async def test_a_message_that_the_shown_block_stops_at_keeps_no_other_stream_pending(
    work: Pool,
) -> None:
    await work.append("a", {"no": "item"})
    end = await work.append("b", {"item": "tea"})
    assert await handled(work, 1) == [f"{work.path('b')}: tea"]
    assert (await work.cursor("a"), await work.cursor("b")) == ("-1", end)
