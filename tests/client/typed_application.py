"""An application that uses the library, as both type checkers see it.

`make check` has mypy check it strictly, and tests/client/test_types.py has pyright do so. A mistake
that they have to find is marked as ignored: a mark that ignores nothing is an error, too.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

import fastapi
import headgate
import headgate.sync.django
import headgate.sync.flask
import headgate.web.aiohttp
import headgate.web.django
from headgate import Runs, sync
from headgate.following import follow
from headgate.runs import Step, Written
from headgate.stream_requests import StreamRequests
from headgate.web.starlette import resume, send

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator

    import flask
    from aiohttp import web
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase
    from headgate.records import Status

URL = "http://127.0.0.1:4437/v1/stream"
CHAT: Literal["ai-sdk"] = "ai-sdk"


async def authorization() -> str:
    return "Bearer TOKEN"


app = fastapi.FastAPI()
runs = Runs(f"{URL}/runs", orphan_after=30, authorization=authorization)


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


async def go_on(run: str) -> Status | None:
    async with Runs(URL, takeover_within=60) as left:
        state = await left.take_over(run, steps, format=CHAT, only_orphaned=False, closes=False)
        await left.take_over(run, words)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    return None if state is None else state.status


async def words(run: str) -> AsyncIterator[str]:
    stopped = runs.stopped(run)
    for word in ("Once ", "upon ", "a time"):
        if stopped.is_set():
            return
        yield word


@app.post("/runs/{run}")
async def ask(run: str) -> fastapi.Response:
    return send(await runs.start(run, words(run), format=CHAT))


@app.get("/runs/{run}")
async def come_back(run: str, request: fastapi.Request) -> fastapi.Response:
    return await resume(request, runs, run, only_active=False, wait=10)


@app.get("/runs/{run}/state")
async def state(run: str) -> headgate.RunState | None:
    return await runs.state(run)


async def ask_by_aiohttp(request: web.Request) -> web.StreamResponse:
    answer = await runs.start(request.match_info["run"], Model())
    return headgate.web.aiohttp.send(answer)


async def come_back_by_aiohttp(request: web.Request) -> web.StreamResponse:
    return await headgate.web.aiohttp.resume(request, runs, request.match_info["run"])


async def ask_by_django(request: HttpRequest, run: str) -> HttpResponseBase:
    if request.method == "POST":
        return headgate.web.django.send(await runs.start(run, words(run)))
    return await headgate.web.django.resume(request, runs, run, wait=10)


async def may_use(request: HttpRequest, chat: str) -> object:
    user = await request.auser()
    return user.is_authenticated and chat.startswith(user.get_username())


urlpatterns = headgate.web.django.chat_router(
    headgate.Chats(runs), lambda turn: words(turn.run_id), authorize=may_use
)
threads = sync.Runs(f"{URL}/runs", orphan_after=30, authorization=lambda: "Bearer TOKEN")


def words_of_a_thread(run: str) -> Iterator[str]:
    stopped = threads.stopped(run)
    with sync.StreamWriter(f"{URL}/story") as writer:
        while not stopped.wait(1):
            writer.write("Once")
            yield "Once"


def ask_in_a_thread(request: HttpRequest, run: str) -> HttpResponseBase:
    if request.method == "POST":
        return headgate.sync.django.send(threads.start(run, words_of_a_thread(run), format=CHAT))
    return headgate.sync.django.resume(request, threads, run, only_active=False)


def may_use_in_a_thread(request: flask.Request, chat: str) -> bool:
    return chat.startswith(request.headers["Name"])


chat_blueprint = headgate.sync.flask.chat_router(
    sync.Chats(threads),
    lambda turn: words_of_a_thread(turn.run_id),
    authorize=may_use_in_a_thread,
)


def ask_by_flask(request: flask.Request, run: str) -> flask.Response:
    if request.method == "POST":
        return headgate.sync.flask.send(threads.start(run, ["Once"]))
    return headgate.sync.flask.resume(request, threads, run)


def produced(run: str) -> tuple[bytes, Status | None]:
    """Work off a run, as a worker does, and read it."""
    state = threads.take_over(run, lambda _: words_of_a_thread(run))
    answer = threads.follow(run)
    body = b"" if answer is None else b"".join(answer.body)
    return body, None if state is None else state.status


async def whole(run: str) -> tuple[bytes, Status | None]:
    """Read a run that this process may not have started."""
    try:
        answer = await runs.follow(run, after=0)
        body = b"" if answer is None else b"".join([piece async for piece in answer.body])
    except headgate.Unavailable as error:
        await asyncio.sleep(error.retry_after)
        return b"", None
    found = await runs.state(run)
    return body, None if found is None else found.status


def is_to_be_asked_again(status: Status) -> bool:
    match status:
        case "active" | "finished" | "stopped":
            return False
        case "failed" | "orphaned":
            return True


async def written(source: AsyncIterable[str]) -> str | None:
    async with StreamRequests(f"{URL}/story") as story:
        await story.create(content_type="text/plain")
        async with headgate.StreamWriter(story) as writer:
            async for part in source:
                await writer.write(part)
        async for batch in follow(story, "-1"):
            return b"".join(batch.bodies).decode()
    return None


async def resumed(streams: headgate.ResumableStreams) -> str:
    text = await streams.resume("story", 3)
    if text is None:
        try:
            text = await streams.create("story", lambda: words("story"))
        except headgate.Conflict:
            return ""
    return "".join([part async for part in text])


async def mistaken(run: str) -> bool:
    await runs.start(run, words(run), format="ai_sdk")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await runs.start(run, "Once")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    threads.start(run, words(run))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    found = await runs.state(run)
    assert found is not None
    return found.status == "done"  # type: ignore[comparison-overlap]  # pyright: ignore[reportUnnecessaryComparison]


heard: list[tuple[str, object]] = []


async def work(job: headgate.Job) -> None:
    for stream in job.pending:
        async for message in stream.messages():
            heard.append((stream.name, message))
        await stream.ack()


async def workers() -> None:
    async with headgate.Worker(URL, "one", "two", concurrency=2) as worker:
        async for job in worker:
            async with job:
                await work(job)
        await worker.run(work)
        await worker.run(str)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def webhook(wake: dict[str, object]) -> None:
    async with headgate.Client(URL) as client, client.job(wake, lease_ttl=60) as job:
        await work(job)


def work_in_threads() -> None:
    with sync.Worker(URL, "one") as worker:
        for job in worker:
            with job:
                heard.extend((it.name, message) for it in job.pending for message in it.messages())
