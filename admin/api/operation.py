"""Operations of the JSON API: functions whose types say what each takes and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar, get_type_hints

import msgspec
from aiohttp import web

from admin.bodies import body_of
from admin.errors import ConsoleError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    Call = Callable[..., Awaitable[Any]]

F = TypeVar("F", bound="Call")
StructType = type[msgspec.Struct]


class Operation(NamedTuple):
    """An operation of the API: it answers a value, events of it, or 204 with none of these."""

    method: str
    path: str
    summary: str
    call: Call
    query: StructType | None = None
    body: StructType | None = None
    answer: StructType | None = None
    events: bool = False


OPERATIONS: list[Operation] = []


def operation(
    method: str, path: str, *, answer: StructType | None = None, events: StructType | None = None
) -> Callable[[F], F]:
    """Make a function an operation of the API. Its parameters and its result are of these types.

    It takes the request, and if it has parameters of these names, the `query` and the `body`. One
    that makes its response itself names the `answer` in it, or the value of its `events`.
    """

    def add(call: F) -> F:
        hints = get_type_hints(call)
        result = hints["return"]
        is_value = isinstance(result, type) and issubclass(result, msgspec.Struct)
        value = result if is_value else answer or events
        summary = (call.__doc__ or "").partition("\n")[0]
        query, body = hints.get("query"), hints.get("body")
        OPERATIONS.append(
            Operation(method, path, summary, call, query, body, value, events is not None)
        )
        return call

    return add


def handler(operation: Operation) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return what reads the query and the body of a request, and calls the operation with them."""

    async def handle(request: web.Request) -> web.StreamResponse:
        values: dict[str, msgspec.Struct] = {}
        try:
            _check_query(request, operation)
            if operation.query is not None:
                values["query"] = msgspec.convert(
                    dict(request.query), operation.query, strict=False
                )
            if operation.body is not None:
                body = await body_of(request)
                values["body"] = msgspec.json.decode(body, type=operation.body)
        except msgspec.DecodeError as refusal:
            raise ConsoleError(400, f"{refusal}") from refusal
        except (UnicodeDecodeError, RecursionError) as refusal:
            raise ConsoleError(400, "the body is not UTF-8, or is nested too deeply") from refusal
        answer = await operation.call(request, **values)
        if isinstance(answer, web.StreamResponse):
            return answer
        return reply(answer)

    return handle


def _check_query(request: web.Request, operation: Operation) -> None:
    """Raise ConsoleError for unknown parameters of the query, perhaps mistyped."""
    if operation.query is None:
        return
    known = {field.encode_name for field in msgspec.structs.fields(operation.query)}
    unknown = sorted(set(request.query) - known)
    if unknown:
        raise ConsoleError(400, f"the query has {unknown[0][:64]!r}, and may have {sorted(known)}")


def reply(value: object) -> web.Response:
    """Return a value as a line of JSON, None as 204."""
    if value is None:
        return web.Response(status=204)
    return web.Response(body=msgspec.json.encode(value) + b"\n", content_type="application/json")
