"""A chat whose answers outlive their readers: `python app.py`, then http://127.0.0.1:8000."""

import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, RedirectResponse
from model import answer
from routed import RoutedModel

from headgate.chats import Chats, Turn
from headgate.runs import Runs
from headgate.web.starlette import chat_router

# Everything is kept in streams below this URL; the app itself keeps nothing.
STREAMS = os.environ.get("CHAT_STREAMS", "http://127.0.0.1:4437/v1/stream/chat")
PORT = int(os.environ.get("CHAT_PORT", "8000"))
PAGE = Path(__file__).with_name("page.html")
# When the app is stopped, its readers go on at the next process, and it writes its answers out.
READERS_LEAVE_S, ANSWERS_END_S = 1, 30.0

# The base URL of a model route, which the model is then asked through: answers go on after a kill.
MODEL_ROUTE = os.environ.get("CHAT_MODEL_ROUTE")
GO_ON_WITHIN_S = 3600 if MODEL_ROUTE else 0

# Each answer is a run, which is an orphan 5 s after a crash. Chats are kept until they are deleted.
runs = Runs(STREAMS, ttl=None, orphan_after=5, takeover_within=GO_ON_WITHIN_S)
chats = Chats(runs)
routed = RoutedModel(MODEL_ROUTE, chats) if MODEL_ROUTE else None


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    """Let the answers that are being written come to their ends before the process does."""
    async with runs:
        yield
        if routed:
            await routed.close()
        await runs.aclose(wait=ANSWERS_END_S)


async def said(turn: Turn) -> AsyncIterator[str]:
    """Have the model answer the question of a turn."""
    question = "".join(part.get("text", "") for part in turn.messages[-1]["parts"])
    async for token in routed.answer(question, turn.run_id) if routed else answer(question):
        yield token


def may_use(_request: Request, chat: str) -> bool:
    """Let in whoever knows the URL of a chat."""
    if routed:
        routed.watch(chat)
    return True


app = FastAPI(title="Chat", lifespan=lifespan)
app.routes.extend(chat_router(chats, said, authorize=may_use))


@app.get("/")
async def new_chat() -> RedirectResponse:
    """Send the browser to a new chat, whose URL is the chat: a reload is back in it."""
    return RedirectResponse(f"/chats/{secrets.token_urlsafe(12)}", status_code=303)


@app.get("/chats/{chat}")
async def page() -> FileResponse:
    """Return the page, which is the same for all chats."""
    return FileResponse(PAGE)


if __name__ == "__main__":
    uvicorn.run(app, port=PORT, timeout_graceful_shutdown=READERS_LEAVE_S)
