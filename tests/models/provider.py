"""A provider double: it gives recorded answers, event by event, and remembers its requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.models import tool_answers
from tests.models.answers import chat_completion, interaction, message, response
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

CHAT = "/v1/chat/completions"
ANSWERS = {
    CHAT: chat_completion,
    "/v1/completions": tool_answers.text_completion,
    "/v1/responses": response,
    "/v1/messages": message,
    "/v1beta/interactions": interaction,
}
INTERACTION = "/v1beta/interactions/v1_abc"
RETRIEVED = "/v1/responses/resp_1"
HEAD = {"Content-Type": "text/event-stream; charset=utf-8", "X-Provider-Id": "req_7"}
ELSE = {"id": "of the provider", "object": "list", "data": []}  # the response to all else
FLOOD_BYTES = 64 << 10
FLOOD = b"data: " + b"f" * (FLOOD_BYTES - 8) + b"\n\n"
PLAIN = "m"
TOOLS = "tools"  # the model whose answers have tool calls and reasoning
WHOLE_CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1741569952,
    "model": "gpt-4o-mini",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello!"},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29},
}
WHOLE = {
    "/v1/chat/completions": WHOLE_CHAT,
    "/v1/responses": tool_answers.whole_response(),
    "/v1/messages": tool_answers.whole_message(),
}


class Provider:
    """The double: each event of an answer waits until `allowed` lets it go."""

    def __init__(self) -> None:
        self.port = free_port()
        self.requests: list[web.BaseRequest] = []
        self.left = 0  # requests whose client was gone before the end of the answer
        self.has_left = asyncio.Event()  # once one was
        self.statuses: list[int] = []  # of the next requests, instead of an answer
        self.refusal = "try later"  # the sentence of these refusals
        self.refusal_fields: dict[str, str] = {}  # of these refusals
        self.breaks_before_head = False
        self.lingers: asyncio.Event | None = None  # awaited before the end of an answer
        self.amid: asyncio.Event | None = None  # awaited in the middle of the second event
        self.cuts_after: int | None = None  # events, then it breaks the connection
        self.cuts: list[int] = []  # the same of the next responses, each in bytes
        self.flood = 0  # events of FLOOD_BYTES, as fast as they are taken, instead of an answer
        self.sent = 0  # of these
        self.skips = 0  # events that are missing where it resumes; below 0, that are doubled
        self._heads = asyncio.Event()  # awaited before a head
        self._heads.set()
        self._allowed: asyncio.Semaphore | None = None  # None: all of them

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def hold(self) -> None:
        """Let no more events go, until `allow`."""
        self._allowed = asyncio.Semaphore(0)

    def hold_heads(self) -> None:
        """Begin no more answers."""
        self._heads.clear()

    def allow_heads(self) -> None:
        """Begin answers again."""
        self._heads.set()

    def allow(self, events: int = 1_000_000) -> None:
        """Let so many more events go."""
        assert self._allowed is not None, "nothing is held"
        for _ in range(min(events, 1000)):
            self._allowed.release()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        if self.breaks_before_head:
            assert request.transport is not None
            request.transport.abort()
        if self.statuses:
            await self._heads.wait()
            refusal = {"error": {"message": self.refusal, "type": "server_error"}}
            status = self.statuses.pop(0)
            return web.json_response(refusal, status=status, headers=self.refusal_fields)
        is_retrieved = request.path.endswith(RETRIEVED.removeprefix("/v1"))
        if is_retrieved and request.query.get("stream") == "true":
            first = int(request.query["starting_after"]) + 1 + self.skips
            return await self._stream(request, response()[first:])
        if request.path == INTERACTION and request.query.get("stream") == "true":
            last = request.query["last_event_id"].encode()
            events = interaction()
            at = next(number for number, it in enumerate(events) if b'"%b"' % last in it)
            return await self._stream(request, events[at + 1 :])
        if request.path not in ANSWERS:
            await self._heads.wait()
            return web.json_response(ELSE)
        body = json.loads(await request.read())
        if not body.get("stream"):
            return await self._whole(request)
        recorded = tool_answers.RECORDED if body.get("model") == TOOLS else ANSWERS
        if _has_results(body):
            recorded = {**ANSWERS, CHAT: tool_answers.plain_chat}
        return await self._stream(request, recorded[request.path]())

    async def _whole(self, request: web.BaseRequest) -> web.Response:
        try:
            if self.lingers is not None:
                await self.lingers.wait()
        except asyncio.CancelledError:
            self.left += 1
            raise
        return web.json_response(WHOLE[request.path])

    async def _flooded(self, answer: web.StreamResponse) -> web.StreamResponse:
        for _ in range(self.flood):
            await answer.write(FLOOD)
            self.sent += 1
        return answer

    async def _write(self, answer: web.StreamResponse, event: bytes, *, is_second: bool) -> None:
        if is_second and self.amid is not None:
            await answer.write(event[:9])
            await self.amid.wait()
            event = event[9:]
        await answer.write(event)

    async def _stream(
        self, request: web.BaseRequest, events: Sequence[bytes]
    ) -> web.StreamResponse:
        await self._heads.wait()
        answer = web.StreamResponse(headers=HEAD)
        await answer.prepare(request)
        if self.flood:
            return await self._flooded(answer)
        assert request.transport is not None
        left = self.cuts.pop(0) if self.cuts else None
        try:
            for number, one in enumerate(events):
                if self._allowed is not None:
                    await self._allowed.acquire()
                if number == self.cuts_after:
                    request.transport.abort()
                    break
                await self._write(answer, one[:left], is_second=number == 1)
                if left is not None and (left := left - len(one)) <= 0:
                    request.transport.close()  # behind what was written, amid the body
                    break
            if self.lingers is not None:
                await self.lingers.wait()
        except (ConnectionError, asyncio.CancelledError):
            self.left += 1
            self.has_left.set()
            raise
        return answer


def _has_results(body: dict[str, Any]) -> bool:
    """Return whether a request has the results of tools, by either API of OpenAI."""
    sent = [*body.get("messages", ()), *body.get("input", ())]
    kinds = [it.get("type", it.get("role")) for it in sent if isinstance(it, dict)]
    return "tool" in kinds or "function_call_output" in kinds


@contextlib.asynccontextmanager
async def providing() -> AsyncIterator[Provider]:
    """Serve a provider on a free port."""
    provider = Provider()
    server = web.Server(provider.handle, handler_cancellation=True)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", provider.port).start()
    try:
        yield provider
    finally:
        await runner.cleanup()
