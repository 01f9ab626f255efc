"""The API and its description by OpenAPI 3.1, made from its operations and their types."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from headgate_admin import cdn
from headgate_admin.access.check import NEEDS
from headgate_admin.api import live, sessions
from headgate_admin.api.calls import handler, reply
from headgate_admin.console import CONSOLE
from headgate_admin.operation import OPERATIONS

if TYPE_CHECKING:
    from aiohttp import web

    from headgate_admin.operation import Operation

REFERENCE = "#/components/schemas/{name}"
JSON, PROBLEM, EVENTS = "application/json", "application/problem+json", "text/event-stream"

__all__ = ["OPERATIONS", "add_api", "document"]

MODULES = (cdn, live, sessions)  # each adds its operations, as the console does
Json = dict[str, object]
OfType = dict[type[msgspec.Struct], Json]


class Problem(msgspec.Struct, frozen=True):
    """A description of what went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str
    detail: str


def add_api(router: web.UrlDispatcher) -> None:
    """Add the API, and the description of it."""
    router.add_get("/api/v1/openapi.json", _describe)
    for operation in OPERATIONS:
        router.add_route(operation.method, operation.path, handler(operation))


async def _describe(request: web.Request) -> web.Response:
    return reply(document(request.app[CONSOLE].about().versions["headgate"]))


def document(version: str) -> Json:
    """Return the OpenAPI description for this version of Headgate."""
    types: list[type[msgspec.Struct]] = [Problem, *_types()]
    schemas, components = msgspec.json.schema_components(types, ref_template=REFERENCE)
    of_type: OfType = dict(zip(types, schemas, strict=True))
    paths: dict[str, Json] = {}
    for operation in OPERATIONS:
        described = _operation(operation, of_type, components)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Headgate console",
            "version": version,
            "summary": "Everything that the pages of the admin listener show and do.",
        },
        "security": [{"token": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "headgate_session"},
            },
        },
    }


def _types() -> list[type[msgspec.Struct]]:
    named = (it for one in OPERATIONS for it in (one.query, one.body, one.answer))
    return list(dict.fromkeys(it for it in named if it is not None))


def _operation(operation: Operation, of_type: OfType, components: Json) -> Json:
    described: Json = {
        "summary": operation.summary,
        "operationId": _identity(operation),
        "responses": {**_success(operation, of_type), "default": _problem(of_type)},
    }
    if NEEDS.get((operation.method, operation.path)) == "nothing":
        described["security"] = []
    if operation.query is not None:
        described["parameters"] = _parameters(operation.query, components)
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {JSON: {"schema": of_type[operation.body]}},
        }
    return described


def _identity(operation: Operation) -> str:
    words = operation.path.removeprefix("/api/v1/").split("/")
    return operation.method.lower() + "".join(word.capitalize() for word in words)


def _success(operation: Operation, of_type: OfType) -> Json:
    if operation.answer is None:
        return {"204": {"description": HTTPStatus.NO_CONTENT.phrase}}
    schema = of_type[operation.answer]
    if operation.events:
        description = "Server-sent events, the data of each as in x-event-data."
        content: Json = {EVENTS: {"schema": {"type": "string"}, "x-event-data": schema}}
        return {"200": {"description": description, "content": content}}
    return {"200": {"description": HTTPStatus.OK.phrase, "content": {JSON: {"schema": schema}}}}


def _problem(of_type: OfType) -> Json:
    return {
        "description": "What went wrong (RFC 9457).",
        "content": {PROBLEM: {"schema": of_type[Problem]}},
    }


def _parameters(query: type[msgspec.Struct], components: Json) -> list[Json]:
    """Return each field of the query as a parameter."""
    schema = components[query.__name__]
    assert isinstance(schema, dict), "a struct is an object"
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": field}
        for name, field in schema["properties"].items()
    ]
