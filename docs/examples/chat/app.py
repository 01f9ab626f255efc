"""A chat whose answers outlive their readers: `python app.py`, then http://127.0.0.1:8000."""

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import headgate
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse
from headgate.runs.starlette import resume
from model import answer
from pydantic import BaseModel, StringConstraints

# Ids are parts of URLs, here and at Headgate.
Id = Annotated[str, StringConstraints(pattern="^[A-Za-z0-9_-]{1,64}$")]
# Everything is kept in streams below this URL; the app itself keeps nothing.
STREAMS = os.environ.get("CHAT_STREAMS", "http://127.0.0.1:4437/v1/stream/chat")
PORT = int(os.environ.get("CHAT_PORT", "8000"))
PAGE = Path(__file__).with_name("page.html")
LOOK_AGAIN_S = 0.5  # for the first question of a chat
LONGEST_WAIT_S = 20.0  # less than proxies wait for an answer
# When the app is stopped, its readers go on at the next process, and it writes its answers out.
READERS_LEAVE_S, ANSWERS_END_S = 1, 30.0

# An answer is a run. It is kept as long as its question, and has an end 5 s after a crash.
runs = headgate.Runs(f"{STREAMS}/answers", ttl=None, orphan_after=5)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Let the answers that are being written come to their ends before the process does."""
    yield
    await runs.close(wait=ANSWERS_END_S)


app = FastAPI(title="Chat", lifespan=lifespan)


class Asked(BaseModel):
    """What somebody wants to know."""

    question: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)
    ]


def questions_of(chat: str) -> headgate.Stream:
    """The stream of a chat's questions; each names the run that is its answer."""
    return headgate.Stream(f"{STREAMS}/questions/{chat}")


@app.get("/")
async def new_chat() -> RedirectResponse:
    """A chat is a URL: to reload it, or to open it once more, is to be back in it."""
    return RedirectResponse(f"/chats/{secrets.token_urlsafe(12)}", status_code=303)


@app.get("/chats/{chat}")
async def page() -> FileResponse:
    """The page, which is the same for all chats."""
    return FileResponse(PAGE)


@app.post("/chats/{chat}/questions", status_code=204)
async def ask(chat: Id, asked: Asked) -> None:
    """Have the question answered, whoever reads it; then show both to all who are in the chat."""
    run = secrets.token_urlsafe(12)
    await runs.start(run, answer(asked.question), format="sse")
    entry = json.dumps({"question": asked.question, "run": run}).encode()
    async with questions_of(chat) as stream:
        await stream.create(content_type="application/json")
        await stream.append(entry, content_type="application/json")


@app.get("/chats/{chat}/questions")
async def questions(chat: Id, after: str = "-1") -> dict[str, Any]:
    """The questions after an offset, as soon as there are any; none after a while without one."""
    try:
        return await asyncio.wait_for(next_questions(chat, after), LONGEST_WAIT_S)
    except TimeoutError:
        return {"questions": [], "after": after}


async def next_questions(chat: str, after: str) -> dict[str, Any]:
    """Wait for questions in any tab; a chat begins with the first."""
    while True:
        try:
            async with questions_of(chat) as stream, aclosing(stream.follow(after)) as batches:
                async for batch in batches:
                    if batch.bodies:
                        found = [entry for body in batch.bodies for entry in json.loads(body)]
                        return {"questions": found, "after": batch.position.offset}
            raise headgate.StreamError("somebody has closed the chat")
        except headgate.StreamGone:
            await asyncio.sleep(LOOK_AGAIN_S)


@app.get("/answers/{run}")
async def read(run: Id, request: Request) -> Response:
    """The answer after the events that the page has, and on to its end."""
    return await resume(request, runs, run, only_active=False)


@app.post("/answers/{run}/stop", status_code=204)
async def stop(run: Id) -> None:
    """Stop the answer, also when another process of this app writes it."""
    await runs.stop(run)


@app.exception_handler(headgate.StreamError)
async def unavailable(_: Request, error: headgate.StreamError) -> JSONResponse:
    """Headgate cannot be asked: pages try again."""
    return JSONResponse({"detail": str(error)}, status_code=503)


if __name__ == "__main__":
    uvicorn.run(app, port=PORT, timeout_graceful_shutdown=READERS_LEAVE_S)
