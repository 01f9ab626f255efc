"""The provider's responses: their heads as clients get them, and which of them are stored."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
from multidict import CIMultiDict

from headgate_gateway.features.errors import AnswerTooLong
from headgate_gateway.features.models.provider.client import ProvidedBody, body_parts
from headgate_gateway.features.models.record import ResponseEntry
from headgate_gateway.protocol import http1
from headgate_gateway.protocol.http import cache_status
from headgate_gateway.protocol.http.forwarding import without_commands
from headgate_gateway.protocol.http.repeated_fields import join_lines
from headgate_gateway.protocol.responses import Facts, Response
from headgate_gateway.routes.answers import RouteAnswer
from headgate_gateway.rules.directives import again_s

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from headgate_gateway.features.models.provider.client import (
        ProviderResponse,
    )
    from headgate_gateway.routes.answers import BodySource

# A response that is not a stream of events is kept whole, for all who wait for it.
LONGEST_WHOLE = 16 << 20
# A cookie is the first client's. Which pages may read is decided by the gateway's settings.
_NOT_STORED = frozenset(
    {
        "set-cookie",
        *("access-control-allow-origin", "access-control-allow-credentials"),
        "access-control-expose-headers",
        # A provider that is another gateway has streams of its own.
        *("stream-url", "stream-next-offset", "stream-closed"),
    }
)
# X-Request-Id is the id by which the access log names a request.
_RENAMED = {"x-request-id": "X-Provider-Request-Id"}


def head_of(response: ProviderResponse) -> ResponseEntry:
    """Return the head of a provider's response as clients get it."""
    fields = without_commands(response.headers, _NOT_STORED)
    join_lines(fields)
    lines = tuple(
        (_RENAMED.get(name.lower(), str(name)), value)
        for name, value in fields.items()
        if _is_text(value)
    )
    return ResponseEntry(response.status, lines)


def relayed(
    head: ResponseEntry,
    added: Iterable[tuple[str, str]],
    body: bytes | BodySource,
    length: int | None,
) -> RouteAnswer:
    """Return a provider's response with some header fields added."""
    fields = {name.lower(): value for name, value in (*head.fields, *added)}
    next_offset = fields.get("stream-next-offset", "")
    return RouteAnswer(
        head.status,
        http1.field_lines((*head.fields, *added)),
        body,
        cache_status.OTHER_METHOD,
        Facts(next_offset, again_s=again_s(CIMultiDict(fields))),
        is_relayed=True,
        has_date="date" in fields,
        length=length,
    )


def relayed_response(
    response: ProviderResponse, on_end: Callable[[], None] | None = None
) -> RouteAnswer:
    """Return a provider's response whose body is passed on while it comes, with `on_end` after."""
    length = http1.content_length(response.headers.get("Content-Length"))
    return relayed(head_of(response), (), ProvidedBody(response, on_end), length)


def _is_text(value: str) -> bool:
    """Return whether the bytes of a field's value were UTF-8: others cannot be recorded."""
    return not any("\udc80" <= character <= "\udcff" for character in value)


def is_storable(response: ProviderResponse) -> bool:
    """Return whether a response is a completion, in bytes that every client understands."""
    return response.status == HTTPStatus.OK and response.headers.getall(
        "Content-Encoding", ["identity"]
    ) == ["identity"]


async def whole_body(response: ProviderResponse) -> bytes:
    """Return the body of a response. Raises AnswerTooLong, OriginTimeout or OriginBroken."""
    parts, size = [], 0
    async for part in body_parts(response):
        parts.append(part)
        size += len(part)
        if size > LONGEST_WHOLE:
            raise AnswerTooLong(LONGEST_WHOLE)
    return b"".join(parts)


def with_sdk_error(problem: Response) -> Response:
    """Return a problem document with `error` as well, where the SDKs look for its sentence."""
    document = msgspec.json.decode(problem.body)
    is_of_client = problem.status < HTTPStatus.INTERNAL_SERVER_ERROR
    document["error"] = {
        "message": document["detail"],
        "type": "invalid_request_error" if is_of_client else "api_error",
        "code": document["code"],
    }
    return Response(problem.status, problem.fields, msgspec.json.encode(document))
