"""Requests to the admin listener of a gateway, with bounded answers."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, TypeVar

import aiohttp
import msgspec

from headgate.errors import StreamError
from headgate.json_values import NOT_JSON, decoded_json
from headgate_gateway.tools.server.target import ANOTHER_SERVER
from headgate_gateway.tools.shell.failure import Failed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate.stream_requests import StreamRequests

# A page of 500 streams with names of 8 KiB, and metrics of 10,000 routes, fit.
LONGEST_ANSWER = 16 << 20
NO_API = {404, 405, 501}  # the statuses of a server that does not have the requested API
T = TypeVar("T")


class _Session(msgspec.Struct):
    csrf: Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9._~+/=-]{1,256}\Z")]


async def admin_answer(
    admin: StreamRequests, path: str, query: Mapping[str, str] | None = None
) -> bytes:
    """Return the answer to a GET of `path` below the URL of the admin listener.

    Raises Failed for an answer that is too long, and StreamError.
    """
    return await _answer(admin, "GET", path, query, {}, None)


async def admin_value(
    admin: StreamRequests, path: str, query: Mapping[str, str], kind: type[T]
) -> T:
    """Return the answer to a GET of `path` as a value of a type.

    Raises Failed if the server does not have this API, and StreamError.
    """
    try:
        return decoded(admin.shown, await admin_answer(admin, path, query), kind)
    except StreamError as refusal:
        if refusal.status in NO_API:
            raise another_server(admin.shown, f": {refusal.reason}") from None
        raise


def decoded(shown: str, answer: bytes, kind: type[T]) -> T:
    """Return an answer of the server at the URL `shown` as a value of a type.

    Raises Failed if it is not one, whatever it is.
    """
    try:
        return decoded_json(answer, msgspec.json.Decoder(kind).decode)
    except NOT_JSON as cause:
        raise another_server(shown) from cause


def another_server(shown: str, reason: str = "") -> Failed:
    """Return the failure of a command where another server answers at the URL `shown`."""
    url = shown.removesuffix("/api")
    return Failed(f"{url} {ANOTHER_SERVER}{reason}")


async def admin_change(
    admin: StreamRequests, method: str, path: str, query: Mapping[str, str], body: bytes
) -> bytes:
    """Return the answer to a request with a JSON body that changes something.

    Raises Failed for an answer that is too long, or from another server, and StreamError.
    """
    return await _answer(admin, method, path, query, await _headers_of_change(admin), body)


async def admin_deletion(admin: StreamRequests, path: str, query: Mapping[str, str]) -> None:
    """Delete what the query names, if it is there; an admin listener answers that with 204.

    Raises Failed if another server answers, and StreamError.
    """
    headers = await _headers_of_change(admin)
    request = admin.beside(_url(admin, path)).request(
        "DELETE", query=query, headers=headers, body=b""
    )
    async with request as answer:
        if answer.status != HTTPStatus.NO_CONTENT:
            raise another_server(admin.shown)


async def admin_outcome(admin: StreamRequests, path: str) -> tuple[int, bytes]:
    """Return the status and the whole body of the answer to a POST, also of a refusal.

    Raises Failed if another server answers, and StreamError.
    """
    headers = await _headers_of_change(admin)
    if isinstance(admin.authorization, str):
        await admin_answer(admin, "api/v1/session")  # whose refusal says what is wrong
        headers["Authorization"] = admin.authorization
    try:
        async with admin.session.post(_url(admin, path), headers=headers) as answer:
            return answer.status, await answer.content.read(LONGEST_ANSWER)
    except (aiohttp.ClientError, TimeoutError) as cause:
        raise Failed(f"{admin.shown}: the connection was lost") from cause


async def _headers_of_change(admin: StreamRequests) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    if admin.authorization is None:
        # Without tokens, this keeps web pages from making changes.
        session = await admin_value(admin, "api/v1/session", {}, _Session)
        headers["X-CSRF-Token"] = session.csrf
    return headers


def _url(admin: StreamRequests, path: str) -> str:
    return f"{admin.url.removesuffix('/api')}/{path}"


async def _answer(
    admin: StreamRequests,
    method: str,
    path: str,
    query: Mapping[str, str] | None,
    headers: Mapping[str, str],
    body: bytes | None,
) -> bytes:
    found = bytearray()
    request = admin.beside(_url(admin, path)).request(
        method, query=query, headers=headers, body=body
    )
    async with request as answer:
        async for piece in answer.content.iter_chunked(1 << 16):
            found += piece
            if len(found) > LONGEST_ANSWER:
                raise Failed(f"{admin.shown}: the answer is over {LONGEST_ANSWER >> 20} MiB")
    return bytes(found)
