"""An operation of the JSON API, and its handler."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
from aiohttp import web

from admin.bodies import body_of
from admin.errors import NotTold

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any


class Operation(NamedTuple):
    """An operation of the API: a value, events of it, or 204 with none of these."""

    method: str
    path: str
    summary: str
    call: Callable[[web.Request, Any, Any], Awaitable[Any]]
    query: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None
    answer: type[msgspec.Struct] | None = None
    events: bool = False


def handler(operation: Operation) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return what reads the query and the body of a request, and calls the operation with them."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            query = _query(request, operation)
            body = None
            if operation.body is not None:
                body = msgspec.json.decode(await body_of(request), type=operation.body)
        except msgspec.DecodeError as refusal:
            raise NotTold(400, f"{refusal}") from refusal
        except (UnicodeDecodeError, RecursionError) as refusal:
            raise NotTold(400, "the body is no UTF-8, or is nested too deeply") from refusal
        answer = await operation.call(request, query, body)
        if isinstance(answer, web.StreamResponse):
            return answer
        return reply(answer)

    return handle


def _query(request: web.Request, operation: Operation) -> msgspec.Struct | None:
    """Return the query as a value. Raises NotTold for unknown parameters, perhaps mistyped."""
    if operation.query is None:
        return None
    known = {field.encode_name for field in msgspec.structs.fields(operation.query)}
    unknown = sorted(set(request.query) - known)
    if unknown:
        raise NotTold(400, f"the query has {unknown[0][:64]!r}, and may have {sorted(known)}")
    return msgspec.convert(dict(request.query), operation.query, strict=False)


def reply(value: object) -> web.Response:
    """Return a value as a line of JSON, None as 204."""
    if value is None:
        return web.Response(status=204)
    return web.Response(body=msgspec.json.encode(value) + b"\n", content_type="application/json")
