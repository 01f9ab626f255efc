"""Requests to the admin listener of a gateway, with bounded answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeVar

import msgspec
from headgate.errors import RequestRefused

from gateway.tools.shell.failure import Failed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate.stream import Stream

# A page of 500 streams with names of 8 KiB, and metrics of 10,000 routes, fit.
LONGEST_ANSWER = 16 << 20
NO_API = {404, 405, 501}  # the statuses of a server that does not have the requested API

T = TypeVar("T")


async def admin_answer(admin: Stream, path: str, query: Mapping[str, str] | None = None) -> bytes:
    """Return the answer to a GET of `path` below the URL of the admin listener.

    Raises Failed for an answer that is too long, and RequestRefused.
    """
    return await _answer(admin, "GET", path, query, {}, None)


async def admin_value(
    admin: Stream, path: str, query: Mapping[str, str], kind: type[T], missing: str
) -> T:
    """Return the answer to a GET of `path` as a value of a type.

    Raises Failed with the sentence `missing` if the server does not have this API, and
    RequestRefused.
    """
    try:
        return msgspec.json.decode(await admin_answer(admin, path, query), type=kind)
    except msgspec.DecodeError as cause:
        raise Failed(f"{admin.shown}: {missing}") from cause
    except RequestRefused as refusal:
        if refusal.status in NO_API:  # it says nothing about a stream, so it is not passed on
            raise Failed(f"{admin.shown}: {missing}") from None
        raise


async def admin_change(
    admin: Stream, method: str, path: str, query: Mapping[str, str], body: bytes
) -> bytes:
    """Return the answer to a request with a JSON body that changes something.

    Raises Failed for an answer that is too long, and RequestRefused.
    """
    headers = {"Content-Type": "application/json"}
    if admin.authorization is None:
        # Without tokens, this keeps web pages from making changes.
        headers["X-CSRF-Token"] = json.loads(await admin_answer(admin, "api/v1/session"))["csrf"]
    return await _answer(admin, method, path, query, headers, body)


async def _answer(
    admin: Stream,
    method: str,
    path: str,
    query: Mapping[str, str] | None,
    headers: Mapping[str, str],
    body: bytes | None,
) -> bytes:
    found = bytearray()
    url = f"{admin.url.removesuffix('/api')}/{path}"
    request = admin.beside(url).request(method, query=query, headers=headers, body=body)
    async with request as answer:
        async for piece in answer.content.iter_chunked(1 << 16):
            found += piece
            if len(found) > LONGEST_ANSWER:
                raise Failed(f"{admin.shown}: the answer is over {LONGEST_ANSWER >> 20} MiB")
    return bytes(found)
