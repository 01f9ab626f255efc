"""Types of the library that the pages do not print, as both type checkers see them.

tests/client/test_types.py has mypy and pyright check it strictly. A mistake that they have to find
is marked as ignored: a mark that ignores nothing is an error, too.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

import headgate.sync.django
import headgate.web.django
from headgate import Runs, sync

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    from headgate.records import Status
    from headgate.runs import Written

URL = "http://127.0.0.1:4437/v1/stream"
CHAT: Literal["ai-sdk"] = "ai-sdk"


async def authorization() -> str:
    return "Bearer TOKEN"


runs = Runs(f"{URL}/runs", orphan_after=30, authorization=authorization)
threads = sync.Runs(f"{URL}/runs", orphan_after=30, authorization=lambda: "Bearer TOKEN")


class Model:
    """An SDK's stream of events, which is only iterable."""

    def __aiter__(self) -> AsyncIterator[dict[str, str]]:
        return self.events()

    async def events(self) -> AsyncGenerator[dict[str, str]]:
        yield {"type": "text", "text": "Once"}


def answer(written: Written) -> Model:
    return Model()


async def come_back_by_django(request: HttpRequest, run: str) -> HttpResponseBase:
    return await headgate.web.django.resume(request, runs, run, wait=10)


def come_back_in_a_thread(request: HttpRequest, run: str) -> HttpResponseBase:
    return headgate.sync.django.resume(request, threads, run, only_active=False)


async def whole(run: str) -> tuple[bytes, Status | None]:
    try:
        there = await runs.follow(run, after=0)
        body = b"" if there is None else b"".join([piece async for piece in there.body])
    except headgate.Unavailable as error:
        await asyncio.sleep(error.retry_after)
        return b"", None
    found = await runs.take_over(run, answer, format=CHAT, only_orphaned=False)
    return body, None if found is None else found.status


def is_to_be_asked_again(status: Status) -> bool:
    match status:
        case "active" | "finished" | "stopped":
            return False
        case "failed" | "orphaned":
            return True


async def mistaken(run: str) -> bool:
    await runs.take_over(run, Model())  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await runs.start(run, Model(), format="ai_sdk")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await runs.start(run, "Once")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    threads.start(run, Model())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async with headgate.Worker(URL, "one", "two", concurrency=2) as worker:
        await worker.run(str)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    found = await runs.state(run)
    assert found is not None
    return found.status == "done"  # type: ignore[comparison-overlap]  # pyright: ignore[reportUnnecessaryComparison]
