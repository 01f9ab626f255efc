"""Several readers at once, each behind a proxy of its own that cuts its connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.cutting_proxy import CuttingProxy
from tests.support.unmodified_clients import Mode, Reading

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.support.processes import Headgate

Read = Callable[[str, Mode], Awaitable[Reading]]

# Many times what a reader needs, so that only one that is stuck meets it.
READING_TIMEOUT_S = 200


@dataclass(frozen=True, slots=True)
class Run:
    """One reader at work, and the proxy that it reads through."""

    mode: Mode
    proxy: CuttingProxy
    task: asyncio.Task[Reading]

    def __str__(self) -> str:
        return f"{self.task.get_name()} through {self.proxy}"


@contextlib.asynccontextmanager
async def reading(
    server: Headgate, stream: str, readers: Sequence[tuple[Read, Mode]], *, seed: int, at_most: int
) -> AsyncIterator[list[Run]]:
    """Start every reader and wait until each asks in its mode; the block ends when all are done.

    A client that has not asked live by the end of the stream never does.
    """
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        runs = []
        for number, (read, mode) in enumerate(readers):
            words = b"GET " if mode == "catch-up" else b"live="
            proxy = CuttingProxy(server.port, seed=seed + number, at_most=at_most, words=words)
            await stack.enter_async_context(proxy)
            url = f"http://127.0.0.1:{proxy.port}/v1/stream/{stream}"
            task = tasks.create_task(_read(read, url, mode, proxy), name=f"{read.__name__} {mode}")
            runs.append(Run(mode, proxy, task))
        for run in runs:
            await run.proxy.asked.wait()
        yield runs


async def _read(read: Read, url: str, mode: Mode, proxy: CuttingProxy) -> Reading:
    try:
        async with asyncio.timeout(READING_TIMEOUT_S):
            return await read(url, mode)
    except TimeoutError as cause:
        raise AssertionError(f"{read.__name__} {mode} is stuck behind {proxy}") from cause


def assert_received(run: Run, expected: bytes) -> None:
    """The reader got every byte once and in order, saw the end, and never left its mode."""
    result = run.task.result()
    assert result.text == expected, f"{run}: {_first_difference(expected, result.text)}"
    assert result.closed, f"{run}: did not see the stream closed"
    # A client that gives its mode up asks in another one.
    assert run.mode in result.requests, f"{run}: {result.requests}"
    assert result.requests.keys() <= {"catch-up", run.mode}, f"{run}: {result.requests}"


def _first_difference(expected: bytes, actual: bytes) -> str:
    position = next(
        (i for i, (one, other) in enumerate(zip(expected, actual, strict=False)) if one != other),
        min(len(expected), len(actual)),
    )
    around = slice(max(position - 40, 0), position + 40)
    return (
        f"at byte {position} of {len(expected)}, of {len(actual)} received, "
        f"{expected[around]!r} became {actual[around]!r}"
    )
