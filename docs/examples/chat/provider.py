"""A provider of the simulated model, which speaks OpenAI's protocol: `python provider.py`."""

import json
import os
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from model import answer

PORT = int(os.environ.get("CHAT_PROVIDER_PORT", "8001"))

app = FastAPI(title="Provider")


@app.post("/v1/chat/completions")
async def complete(request: Request) -> StreamingResponse:
    """Return a chat completion as a stream of chunks."""
    question = (await request.json())["messages"][-1]["content"]
    return StreamingResponse(events(question), media_type="text/event-stream")


async def events(question: str) -> AsyncIterator[str]:
    """Yield the events of a completion."""
    async for token in answer(question):
        yield event({"role": "assistant", "content": token}, None)
    yield event({}, "stop")
    yield "data: [DONE]\n\n"


def event(delta: dict[str, str], reason: str | None) -> str:
    """Return the event of a chunk."""
    choice: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": reason}
    chunk = {
        "id": "chatcmpl-simulated",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "simulated",
        "choices": [choice],
    }
    return f"data: {json.dumps(chunk)}\n\n"


if __name__ == "__main__":
    uvicorn.run(app, port=PORT)
