"""The operations on the routes of one kind, and which pages of other web origins may use them.

A browser sends a page's requests with its user's rights, so a page of another web origin may write
only if it is allowed to.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from headgate_gateway.access.operations import SAFE
from headgate_gateway.errors import WebOriginRefused
from headgate_gateway.protocol import responses
from headgate_gateway.protocol.responses import HEADGATE_FIELDS, METHODS, REQUEST_HEADERS
from headgate_gateway.web.requests.request_head import is_same_host

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from multidict import MultiMapping

    from headgate_gateway.errors import HeadgateError
    from headgate_gateway.later import Later
    from headgate_gateway.protocol.responses import Response
    from headgate_gateway.routes.answers import RouteAnswer
    from headgate_gateway.runtime.common_headers import CommonHeaders
    from headgate_gateway.web.requests.request import Request


class PageFields(NamedTuple):
    """The header fields that pages of other web origins may send to a route.

    `families` are beginnings of further names, and `tokens` the names of fields with a token of
    this server; both are in lower case. A token that `may_be_signed` into the URL is in no field.
    `methods` are those of writes.
    """

    names: str = REQUEST_HEADERS
    families: tuple[str, ...] = (HEADGATE_FIELDS,)
    tokens: frozenset[str] = frozenset({"authorization"})
    may_be_signed: bool = False
    methods: str = METHODS


OF_STREAMS = PageFields()


class RouteOperations:
    """The operations on routes of one kind, which overrides what is different for its clients."""

    def operate(
        self,
        request: Request,
        target: str,
        route: Any,  # noqa: ANN401 - of the kind that is served
        name: str,
    ) -> RouteAnswer | Later[RouteAnswer] | Coroutine[Any, Any, RouteAnswer | None]:
        """Return the outcome of a request, or what to wait for. An outcome of None: handed over."""
        raise NotImplementedError

    def page_fields(self, _route: Any) -> PageFields:  # noqa: ANN401 - as above
        """Return the fields that pages may send to a route."""
        return OF_STREAMS

    def has_token(
        self,
        _route: Any,  # noqa: ANN401 - as above
        _headers: MultiMapping[str],
        bearer: str | None,
    ) -> bool:
        """Return whether a request with this bearer token has a token that no browser adds."""
        return bearer is not None

    def note_failure(self, _route: Any, _error: HeadgateError, _request: Request) -> None:  # noqa: ANN401 - as above
        """Note an error that a request to a route has met, for operators."""

    def error_response(self, _error: HeadgateError, problem: Response) -> Response:
        """Return the response for an error, of which `problem` is the usual one."""
        return problem


_FIELD_NAME = re.compile(r"[a-z0-9-]{1,64}")
MOST_FIELDS = 64  # in a preflight's list; the SDKs of models send 15


def check_web_origin(
    request: Request, lines: CommonHeaders, *, is_guarded: bool, has_token: bool
) -> None:
    """Refuse a write by a page of another origin: forms can write without a CORS preflight.

    `has_token` says that a guard has accepted a token in a header field: a page that can set it
    knows the token, and does not depend on credentials that the browser adds.
    """
    origin = request.fields.origin
    if origin is None or request.method in SAFE:
        return
    if not _may_write(request, lines, origin, has_token=has_token):
        raise WebOriginRefused(origin, is_guarded=is_guarded, has_token=has_token)


def preflight(
    request: Request, lines: CommonHeaders, page_fields: PageFields, *, is_guarded: bool
) -> Response:
    """Return the response to a CORS preflight; `is_guarded` if the route accepts tokens."""
    origin = request.headers.get("Origin", "")
    requested = request.headers.get("Access-Control-Request-Headers", "").lower()
    names = requested.replace(" ", "").split(",")[:MOST_FIELDS]
    has_token = is_guarded and (
        page_fields.may_be_signed or not page_fields.tokens.isdisjoint(names)
    )
    added = [
        it for it in names if it.startswith(page_fields.families) and _FIELD_NAME.fullmatch(it)
    ]
    writes = _may_write(request, lines, origin, has_token=has_token)
    fields = ", ".join((page_fields.names, *added))
    return responses.preflight(writes=writes, fields=fields, methods=page_fields.methods)


def _may_write(request: Request, lines: CommonHeaders, origin: str, *, has_token: bool) -> bool:
    if lines.lets_write(origin) or (has_token and lines.names(origin)):
        return True
    return is_same_host(request, origin)
