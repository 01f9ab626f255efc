"""A process of an application that produces runs: `python -m tests.client.runs.producer`.

It reads the names of runs from its stdin, a line each, and produces them until it is killed or its
stdin ends. A run counts: its items are the numbers from 0 on, one by one or in steps.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import sys
from typing import TYPE_CHECKING, Any

from headgate import Closed
from headgate.chats import Chats
from headgate.errors import Unavailable
from headgate.runs import Runs, Step, Written

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STEP = 5  # numbers
STOP_GRACE_S = 1.0
LONGEST_PAUSES_S = (0.05, 0.5, 4.0)  # of a source: some are silent for longer than a heartbeat
ASK_AGAIN_S = 0.1  # as a page does whose request fails


def question(number: int) -> dict[str, Any]:
    """Return a message of a user."""
    return {"id": f"{number}", "role": "user", "parts": [{"type": "text", "text": "Tell."}]}


async def numbers(written: Written, is_over: asyncio.Event) -> AsyncIterator[object]:
    """Count on from what is written, one by one and in steps, until it is over."""
    # The numbers of a step are in the stream with it, or not at all.
    assert not any(item["is_of_step"] for item in written.half)
    number, longest_s = written.items, random.choice(LONGEST_PAUSES_S)
    while not is_over.is_set():
        if random.random() < 0.2:
            items = [{"n": n, "is_of_step": True} for n in range(number, number + STEP)]
            number += STEP
            yield Step(f"{number}", items=items)
        else:
            yield {"n": number, "is_of_step": False}
            number += 1
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(is_over.wait(), random.uniform(0, longest_s))
    yield {"n": number, "is_of_step": False, "is_last": True}


async def words(is_over: asyncio.Event) -> AsyncIterator[object]:
    """Say a word now and then."""
    yield "Once "
    while not is_over.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(is_over.wait(), random.choice(LONGEST_PAUSES_S))
        yield "upon "


async def produce(url: str, orphan_after: int) -> None:
    """Produce the runs that are named on stdin, until that ends or the process is killed."""
    is_over = asyncio.Event()
    lines = asyncio.get_running_loop()
    settings: Any = {"orphan_after": orphan_after, "stop_grace": STOP_GRACE_S, "ttl": None}
    async with (
        Runs(url, retry_for=120, **settings) as runs,
        Runs(url, retry_for=120, takeover_within=120, **settings) as lasting,
        asyncio.TaskGroup() as group,
    ):

        async def take_over(run_id: str) -> None:
            while True:
                with contextlib.suppress(Closed):  # it was stopped
                    try:
                        await lasting.take_over(
                            run_id,
                            lambda written: numbers(written, is_over),
                            format="sse",
                            only_orphaned=False,
                        )
                    except Unavailable:
                        await asyncio.sleep(ASK_AGAIN_S)
                        continue
                return

        while line := (await lines.run_in_executor(None, sys.stdin.readline)).strip():
            if line.startswith("chat"):
                await Chats(runs).send(line, question(0), lambda _: words(is_over))
            elif line.startswith("left"):
                await runs.start(line, numbers(Written(), is_over), format="sse")
            else:
                group.create_task(take_over(line))
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
        is_over.set()


if __name__ == "__main__":
    logging.getLogger("headgate").setLevel(logging.CRITICAL)  # servers are away here, often
    asyncio.run(produce(sys.argv[1], int(sys.argv[2])))
