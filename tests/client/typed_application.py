"""What the pages do not print of the library's types, as both type checkers see it.

tests/client/test_types.py has mypy and pyright check it strictly. A mistake that they have to find
is marked as ignored: a mark that ignores nothing is an error, too.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

import headgate.sync.django
import headgate.sync.flask
import headgate.web.aiohttp
import headgate.web.django
from headgate import Runs, sync
from headgate.runs import Step, Written

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    import flask
    from aiohttp import web
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase
    from headgate.records import Status

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


async def steps(written: Written) -> AsyncIterator[object]:
    for key in ("plan", "write"):
        if key not in written.steps:
            yield written.text
            yield Step(key, {"done": True}, items=["Once"])


async def words(run: str) -> AsyncIterator[str]:
    stopped = runs.stopped(run)
    for word in ("Once ", "upon ", "a time"):
        if stopped.is_set():
            return
        yield word


def words_of_a_thread(run: str) -> Iterator[str]:
    stopped = threads.stopped(run)
    while not stopped.wait(1):
        yield "Once"


async def ask_by_aiohttp(request: web.Request) -> web.StreamResponse:
    answer = await runs.start(request.match_info["run"], Model())
    return headgate.web.aiohttp.send(answer)


async def come_back_by_django(request: HttpRequest, run: str) -> HttpResponseBase:
    return await headgate.web.django.resume(request, runs, run, wait=10)


def come_back_in_a_thread(request: HttpRequest, run: str) -> HttpResponseBase:
    return headgate.sync.django.resume(request, threads, run, only_active=False)


def may_use_in_a_thread(request: flask.Request, chat: str) -> bool:
    return chat.startswith(request.headers["Name"])


chat_blueprint = headgate.sync.flask.chat_router(
    sync.Chats(threads),
    lambda turn: words_of_a_thread(turn.run_id),
    authorize=may_use_in_a_thread,
)


async def whole(run: str) -> tuple[bytes, Status | None]:
    try:
        answer = await runs.follow(run, after=0)
        body = b"" if answer is None else b"".join([piece async for piece in answer.body])
    except headgate.Unavailable as error:
        await asyncio.sleep(error.retry_after)
        return b"", None
    found = await runs.take_over(run, steps, format=CHAT, only_orphaned=False, closes=False)
    return body, None if found is None else found.status


def is_to_be_asked_again(status: Status) -> bool:
    match status:
        case "active" | "finished" | "stopped":
            return False
        case "failed" | "orphaned":
            return True


async def mistaken(run: str) -> bool:
    await runs.take_over(run, words)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await runs.start(run, words(run), format="ai_sdk")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await runs.start(run, "Once")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    threads.start(run, words(run))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async with headgate.Worker(URL, "one", "two", concurrency=2) as worker:
        await worker.run(str)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    found = await runs.state(run)
    assert found is not None
    return found.status == "done"  # type: ignore[comparison-overlap]  # pyright: ignore[reportUnnecessaryComparison]
