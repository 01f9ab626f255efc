"""Decide which web pages may write: a browser sends their requests with its user's rights."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.access.operations import SAFE
from gateway.errors import WebOriginRefused
from gateway.protocol import responses
from gateway.web.requests.request_head import is_own_page

if TYPE_CHECKING:
    from gateway.protocol.responses import Response
    from gateway.runtime.common_headers import CommonHeaders
    from gateway.web.operations import PageFields
    from gateway.web.requests.request import Request

_FIELD_NAME = re.compile(r"[a-z0-9-]{1,64}")
MOST_FIELDS = 64  # in a preflight's list; the SDKs of models send 15


def check(request: Request, lines: CommonHeaders, *, is_guarded: bool, has_token: bool) -> None:
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
    return is_own_page(request, origin)
