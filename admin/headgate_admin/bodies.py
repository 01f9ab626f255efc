"""The bodies of requests to the admin listener: read when a handler wants one, within bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from aiohttp import web

from headgate_admin.errors import ConsoleError
from headgate_gateway.errors import BodyTooLarge, CodingNotSupported

if TYPE_CHECKING:
    from headgate_gateway.features.questions.process_source import ClientBounds

FORM = "application/x-www-form-urlencoded"
MOST_FIELDS = 64  # the largest form of the console has five
BOUNDS: web.AppKey[ClientBounds] = web.AppKey("bounds")
_BODY: web.RequestKey[bytes] = web.RequestKey("body", bytes)


async def body_of(request: web.Request) -> bytes:
    """Return the body, which is received at the first call.

    Raises ConsoleError for one that is too long or compressed, HeadgateError for one that is too
    slow or not HTTP, and ConnectionError when the client leaves before its end.
    """
    if _BODY not in request:
        try:
            request[_BODY] = await request.app[BOUNDS].body(request)
        except BodyTooLarge as error:
            reason = f"the admin listener takes bodies of up to {error.limit:,} bytes"
            raise ConsoleError(413, reason) from error
        except CodingNotSupported as error:
            raise ConsoleError(415, error.detail) from error
    return request[_BODY]


async def fields(request: web.Request) -> dict[str, str]:
    """Return the fields of a form. Raises ConsoleError for anything else."""
    if request.content_type != FORM:
        raise _not_a_form(request, f"send the form as {FORM}")
    received = await body_of(request)
    try:
        text = received.decode(request.charset or "utf-8")
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except (ValueError, LookupError) as cause:  # such as a charset that does not fit, or is none
        raise _not_a_form(request, "the form cannot be read: send it as UTF-8") from cause


def _not_a_form(request: web.Request, reason: str) -> ConsoleError:
    request.app[BOUNDS].log_refusal(reason, request.remote)
    return ConsoleError(400, reason)
