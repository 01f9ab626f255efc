"""The responses of a proxy: its errors as the protocol spells them, and its streams."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from headgate_gateway import errors
from headgate_gateway.features.errors import SignatureRefused
from headgate_gateway.protocol import cache_headers, http1, responses
from headgate_gateway.protocol.http import cache_status
from headgate_gateway.protocol.responses import RESPONSE_HEADERS, SECURITY, Response
from headgate_gateway.routes.answers import RouteAnswer

if TYPE_CHECKING:
    from headgate_gateway.errors import HeadgateError
    from headgate_gateway.features.models.completion import WholeResponse

CONTENT_TYPE, OUTCOME, STATUS = "Upstream-Content-Type", "Upstream-Outcome", "Upstream-Status"
# Errors of this server by the codes of the protocol; all others have their own codes in capitals.
_CODES: dict[type[HeadgateError], tuple[int, str]] = {
    errors.DestinationRefused: (403, "UPSTREAM_NOT_ALLOWED"),
    errors.OriginUnreachable: (502, "UPSTREAM_ERROR"),
    errors.OriginBroken: (502, "UPSTREAM_ERROR"),
    errors.OriginTimeout: (504, "UPSTREAM_TIMEOUT"),
    errors.LogUnavailable: (502, "STORAGE_ERROR"),
    errors.LogFull: (502, "STORAGE_ERROR"),
}
# Lines of a stream's response that let others store it, or find it later without a signature.
_NOT_PASSED_ON = frozenset(
    {
        *("cache-control", "cdn-cache-control", "surrogate-control", "vary"),
        *("surrogate-key", "cache-tag", "cdn-tag", "stream-reader-key"),
    }
)
# `*` would do for browsers; clients that look for a name find it here.
_ANY_PAGE = (
    f"Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: {RESPONSE_HEADERS}\r\n"
)


def refusal(status: int, code: str, message: str, fields: str = "") -> Response:
    """Return an error in the protocol's form, with further header lines."""
    document = {"error": {"code": code, "message": message.encode(errors="replace").decode()}}
    lines = f"{SECURITY}{cache_headers.NO_STORE}Content-Type: application/json\r\n{fields}"
    return Response(status, lines, msgspec.json.encode(document))


def error_response(error: HeadgateError, problem: Response) -> Response:
    """Return an error of this server in the protocol's form; `problem` is its usual response."""
    if isinstance(error, SignatureRefused):
        status, code = problem.status, error.why
    elif isinstance(error, errors.Unauthenticated):
        code = "INVALID_SECRET" if error.is_refused else "MISSING_SECRET"
        status = problem.status
    else:
        status, code = _CODES.get(type(error), (problem.status, error.code.upper()))
    lines, again_s = responses.explanation(error), problem.facts.again_s
    if again_s is not None:
        lines += responses.again_line(again_s)
    return refusal(status, code, error.detail, lines)


def of_upstream(whole: WholeResponse) -> RouteAnswer:
    """Return the response where the upstream gave one that is not stored."""
    status = whole.head.status
    line = f"{STATUS}: {status}\r\n"
    if status < HTTPStatus.MULTIPLE_CHOICES:
        sentence = "the upstream has sent what was not asked for, such as a compressed response"
        answer = refusal(502, "UPSTREAM_ERROR", sentence, line)
        return RouteAnswer.of(answer, cache_status.OTHER_METHOD)
    if status < HTTPStatus.BAD_REQUEST:
        sentence = "the upstream answers with a redirect, which is not followed"
        answer = refusal(400, "REDIRECT_NOT_ALLOWED", sentence, line)
        return RouteAnswer.of(answer, cache_status.OTHER_METHOD)
    content_type = dict(whole.head.fields)["Content-Type"]
    fields = (
        f"{SECURITY}{cache_headers.NO_STORE}Content-Type: {content_type}\r\n"
        f"{CONTENT_TYPE}: {content_type}\r\n{line}"
    )
    lines, length = fields.encode("latin-1"), len(whole.body)
    use = cache_status.OTHER_METHOD
    return RouteAnswer(502, lines, whole.body, use, is_relayed=True, length=length)


def created(location: str, content_type: str) -> Response:
    """Return the 201 to a request whose response is being stored."""
    return Response(
        201,
        f"{SECURITY}{cache_headers.NO_STORE}Location: {location}\r\n"
        f"{CONTENT_TYPE}: {content_type}\r\n",
    )


def of_stream(answered: RouteAnswer, lines: str, *, is_for_any_page: bool) -> RouteAnswer:
    """Return a stream's response with further lines, for its reader alone."""
    if answered.is_relayed:
        return answered
    named = cache_headers.fields(answered.lines.decode())
    kept = [it for it in named if it[0].lower() not in _NOT_PASSED_ON]
    fields = http1.field_lines(kept) + f"{cache_headers.PRIVATE_NO_STORE}{lines}".encode()
    if not is_for_any_page:
        return replace(answered, lines=fields)
    facts = replace(answered.facts, has_cors=True)
    return replace(answered, lines=fields + _ANY_PAGE.encode(), facts=facts)
