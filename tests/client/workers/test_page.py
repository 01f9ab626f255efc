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
from headgate import Job, JobStream, WebhookReceiver, Worker

from tests.client.sync.test_twins import INTERNAL
from tests.client.workers.pools import Pool
from tests.support.processes import ROOT
from tests.support.waiting import SERVER_PATIENCE_S

if TYPE_CHECKING:
    from tests.support.processes import Headgate

PAGE = (ROOT / "docs/client/worker.md").read_text()


async def test_the_documented_worker_prints_an_order_and_ends_by_sigterm(
    server: Headgate, work: Pool
) -> None:
    made = Pool(server.streams, work.session, "confirmations")
    await made.subscribe(pattern="orders/*")
    program = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
    program = program.replace("http://127.0.0.1:4437", server.url)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        anna = made.stream("orders/anna")
        await anna.create(content_type="application/json", body=b'{"item": "tea"}')
        printed = await asyncio.wait_for(process.stdout.readline(), 30)
        assert f"{printed.decode()}```" in PAGE
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()


@pytest.mark.parametrize("kind", [Worker, WebhookReceiver])
def test_the_page_shows_the_parameters_and_defaults_of_each_class(kind: type) -> None:
    (shown,) = re.findall(rf"`{kind.__name__}\((.*?)\)`:", PAGE)
    parameters = inspect.signature(kind).parameters.values()
    bare = [
        it.replace(annotation=it.empty, kind=it.kind)
        for it in parameters
        if it.name not in {"self", "note"}
    ]
    texts = [str(it) for it in bare]
    assert shown == ", ".join(texts)


@pytest.mark.parametrize("kind", [Worker, Job, JobStream, WebhookReceiver])
def test_the_page_names_every_method_and_property(kind: type) -> None:
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", PAGE))))
    public = {name for name in vars(kind) if not name.startswith("_")} - INTERNAL
    assert public <= named


async def test_a_message_that_the_shown_block_cannot_take_keeps_no_other_stream_pending(
    work: Pool,
) -> None:
    (block,) = re.findall(r"```python\n(async with job:\n.*?)```", PAGE, re.DOTALL)
    confirmed: list[str] = []

    async def confirm(customer: str, order: dict[str, str]) -> None:
        await asyncio.sleep(0)
        confirmed.append(f"{customer}: {order['item']}")

    names: dict[str, Any] = {"confirm": confirm, "logging": logging}
    exec(f"async def handle(job):\n{textwrap.indent(block, '    ')}", names)
    await work.append("a", {"no": "item"})
    end = (await work.append("b", {"item": "tea"})).next_offset
    async with work.worker() as worker, asyncio.timeout(SERVER_PATIENCE_S):
        async for job in worker:
            await names["handle"](job)
            break
    await work.acknowledged("b", end)
    assert await work.cursor("a") == "-1"
    assert confirmed == [f"{work.path('b')}: tea"]
