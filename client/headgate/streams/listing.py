"""Headgate's list of streams, a page at a time."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from headgate.errors import ProtocolError
from headgate.json_values import NOT_JSON

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from headgate.retries import Retries
    from headgate.stream_requests import StreamRequests

PAGE = 1_000  # the most that Headgate sends at once
MOST_BYTES = 8 << 20  # of a page: four times that of 1,000 of the longest names


class _Page(msgspec.Struct, frozen=True):
    streams: list[str]
    next: str | None


_decode = msgspec.json.Decoder(_Page).decode


async def names(
    requests: StreamRequests, retries: Retries, begins: str, name_of: Callable[[str], str]
) -> AsyncGenerator[list[str]]:
    """Yield pages of the names that begin with `begins`, each as `name_of` returns it.

    Raises StreamError.
    """
    after: str | None = ""
    while after is not None:
        query = {"begins": begins, "after": after, "limit": str(PAGE)}
        page = await retries.run(partial(_page, requests, query))
        if page.next is not None and page.next <= after:
            raise ProtocolError("the list of streams leads to an earlier page")
        after = page.next
        if page.streams:
            yield [name_of(name) for name in page.streams]


async def _page(requests: StreamRequests, query: dict[str, str]) -> _Page:
    body = bytearray()
    async with requests.request("GET", query=query) as answer:
        async for part in answer.content.iter_any():
            body += part
            if len(body) > MOST_BYTES:
                raise _no_list(requests)
    try:
        return _decode(body)
    except NOT_JSON as cause:
        raise _no_list(requests) from cause


def _no_list(requests: StreamRequests) -> ProtocolError:
    return ProtocolError("this is not a list of streams", stream=requests.shown)
