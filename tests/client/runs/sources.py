"""Sources of runs, and readers of their answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headgate import Runs, SourceFailed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headgate.runs import Answer
    from headgate.runs.formats import FormatName

WITHIN_S = 60  # in which a run that was left may be taken over


async def of(*items: object) -> AsyncGenerator[object]:
    """Gives these, one after the other."""
    for item in items:
        yield item


class Feed:
    """A source that gives what the test gives it, when it does; an exception is raised."""

    def __init__(self, *items: object) -> None:
        self.closed = asyncio.Event()
        self._items: asyncio.Queue[object] = asyncio.Queue()
        self.give(*items)

    def give(self, *items: object) -> None:
        for item in items:
            self._items.put_nowait(item)

    def end(self) -> None:
        self._items.put_nowait(StopAsyncIteration)

    async def source(self) -> AsyncGenerator[object]:
        try:
            while (item := await self._items.get()) is not StopAsyncIteration:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self.closed.set()


async def left(url: str, run_id: str, *given: object, form: FormatName = "text") -> None:
    """Have a replica of the application give these items of a run, and then be shut down."""
    feed = Feed(*given)
    async with Runs(url, orphan_after=1, takeover_within=WITHIN_S) as replica:
        answer = await replica.start(run_id, feed.source(), format=form)
        (*_, last) = (item for item in given if isinstance(item, str))
        await read_to(answer, last.encode())
        await replica.aclose(wait=0)


async def die(run_id: str) -> None:
    """End a producer as a SIGKILL does: it tells nobody."""
    (task,) = (task for task in asyncio.all_tasks() if task.get_name() == f"run {run_id}")
    task.cancel()
    await asyncio.wait({task})


async def read(answer: Answer | None) -> bytes:
    """The whole body."""
    assert answer is not None, "there is nothing to be read"
    return b"".join([piece async for piece in answer.body])


async def read_failed(answer: Answer | None) -> bytes:
    """The body of a run that failed: where its format cannot say so, it raises at its end."""
    assert answer is not None, "there is nothing to be read"
    pieces = []
    try:
        async for piece in answer.body:
            pieces.append(piece)
    except SourceFailed:
        assert answer.headers["Content-Type"].startswith("text/plain")
    else:
        assert not answer.headers["Content-Type"].startswith("text/plain"), "it ends as if whole"
    return b"".join(pieces)


async def read_to(answer: Answer | None, last: bytes) -> bytes:
    """The body up to a piece with these bytes; the answer stays open."""
    assert answer is not None, "there is nothing to be read"
    body = b""
    while last not in body:
        body += await anext(answer.body)
    return body


def is_produced(runs: Runs, run_id: str) -> bool:
    """Whether the run is produced by these."""
    try:
        runs.stopped(run_id)
    except LookupError:
        return False
    return True
