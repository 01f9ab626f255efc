"""Requests to the API as calls of its operations."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from headgate_admin.access.check import VIEWER
from headgate_admin.bodies import body_of
from headgate_admin.console import CONSOLE
from headgate_admin.errors import ConsoleError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headgate_admin.console import Console
    from headgate_admin.operation import Operation

# The attributes of the console that have the parts, by their classes.
PARTS = {
    "ConsoleChanges": "changes",
    "ConsoleCredentials": "credentials",
    "ConsoleDeletions": "deletions",
    "ConsoleReaders": "readers",
    "ConsoleReloads": "reloads",
    "ConsoleSubscriptions": "subscriptions",
    "Refusals": "refusals",
}


def handler(operation: Operation) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return the handler that calls an operation with the query and the body of a request."""
    parameters = operation.types.keys()

    async def handle(request: web.Request) -> web.StreamResponse:
        console = request.app[CONSOLE]
        values = {
            "request": request,
            "console": console,
            "viewer": request.get(VIEWER),
            **await _sent(request, operation),
        }
        call = _bound(operation, console)
        answer = call(**{name: value for name, value in values.items() if name in parameters})
        if inspect.isawaitable(answer):
            answer = await answer
        return answer if isinstance(answer, web.StreamResponse) else reply(answer)

    return handle


def _bound(operation: Operation, console: Console) -> Callable[..., Any]:
    """Return the function of an operation, or its method of the console or of a part of it."""
    owner, _, name = operation.call.__qualname__.rpartition(".")
    if not owner:
        return operation.call
    part = getattr(console, PARTS[owner]) if owner in PARTS else console
    method: Callable[..., Any] = getattr(part, name)
    return method


async def _sent(request: web.Request, operation: Operation) -> dict[str, msgspec.Struct]:
    """Return the query and the body of a request. Raises ConsoleError."""
    values: dict[str, msgspec.Struct] = {}
    try:
        if operation.query is not None:
            _check_query(request, operation.query)
            values["query"] = msgspec.convert(dict(request.query), operation.query, strict=False)
        if operation.body is not None:
            values["body"] = msgspec.json.decode(await body_of(request), type=operation.body)
    except msgspec.DecodeError as refusal:
        raise ConsoleError(400, f"{refusal}") from refusal
    except (UnicodeDecodeError, RecursionError) as refusal:
        raise ConsoleError(400, "the body is not UTF-8, or is nested too deeply") from refusal
    return values


def _check_query(request: web.Request, query: type[msgspec.Struct]) -> None:
    """Raise ConsoleError for unknown parameters of the query, perhaps mistyped."""
    known = {field.encode_name for field in msgspec.structs.fields(query)}
    unknown = sorted(set(request.query) - known)
    if unknown:
        raise ConsoleError(400, f"the query has {unknown[0][:64]!r}, and may have {sorted(known)}")


def reply(value: object) -> web.Response:
    """Return a value as a line of JSON, None as 204."""
    if value is None:
        return web.Response(status=204)
    return web.Response(body=msgspec.json.encode(value) + b"\n", content_type="application/json")
