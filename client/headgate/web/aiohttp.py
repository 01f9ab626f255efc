"""Runs and chats in aiohttp."""

from aiohttp import web
from typing_extensions import override

from headgate.runs import Answer
from headgate.web.adapter import Adapter, write
from headgate.web.chat_requests import NOTHING, Incoming, Reply


class _Streamed(web.StreamResponse):
    """A response that is written as its answer comes, after the middlewares have seen it."""

    answer: Answer

    @override
    async def write_eof(self, data: bytes = b"") -> None:
        await write(self.answer.body, self.write)
        await super().write_eof(data)


def send(answer: Answer | Reply | None) -> web.StreamResponse:
    """Send an answer of a run as it comes; None as 204, so that the client stops asking."""
    reply = answer or NOTHING
    if isinstance(reply, Reply):
        return web.Response(status=reply.status, body=reply.body or None, headers=reply.headers)
    response = _Streamed(status=reply.status, headers=reply.headers)
    response.answer = reply
    return response


def _incoming(request: web.Request) -> Incoming[web.Request]:
    chat, body = request.match_info.get("chat", ""), request.content.iter_any()
    return Incoming(request, request.method, chat, request.query, request.headers, body)


_adapter = Adapter(_incoming, send, lambda views: [web.route("*", at, it) for at, _, it in views])
resume = _adapter.resume
chat_router = _adapter.chat_router
