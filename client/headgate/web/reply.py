"""The reply to a request of a client, whatever web framework it came by."""

from __future__ import annotations

import logging
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from headgate.errors import StreamError
from headgate.runs.cursors import cursor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Mapping

    from headgate.runs.answer import Answer
    from headgate.runs.cursors import Fields
    from headgate.runs.runs import Runs

log = logging.getLogger("headgate.runs")

# `useChat` sends all messages each time, with the files in them. One of them is stored, for which
# the server has its own bound.
MOST_BODY_BYTES = 16 << 20

_Request = TypeVar("_Request")


@dataclass(frozen=True, slots=True)
class Incoming(Generic[_Request]):
    """A request as the rules of runs and chats see it; its `body` is read once."""

    request: _Request  # of the framework, for `authorize`
    method: str
    chat: str  # of the path; empty where there is none
    query: Mapping[str, str]
    headers: Fields
    body: AsyncIterable[bytes]


@dataclass(frozen=True, slots=True)
class Reply:
    """A response with a complete body; one that comes in pieces is an `Answer`."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


NOTHING = Reply(204)  # so that the client stops asking


async def pieces(body: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Yield a body as it comes, and close it in any case; an error of it counts as a disconnect.

    So the client sees that its response is cut, and the server logs no failure of its own.
    """
    async with aclosing(body):
        try:
            async for piece in body:
                yield piece
        except StreamError as error:
            log.info("a response is cut: %s", error)
            raise ConnectionResetError from error


async def once(body: bytes) -> AsyncGenerator[bytes]:
    """Yield a body of which at most MOST_BODY_BYTES, and one byte more, were read."""
    yield body


def sentence(status: int, words: object, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a reply for people: its text is the `error.message` of `useChat`, so no line ends."""
    kind = {"Content-Type": "text/plain; charset=utf-8"}
    return Reply(status, f"{words}".encode(), {**kind, **(headers or {})})


async def resumed(
    runs: Runs, incoming: Incoming[_Request], run_id: str, *, only_active: bool, wait: float
) -> Answer | Reply:
    """Return the reply to a client that comes back, as `Adapter.resume` does."""
    try:
        after = cursor(incoming.query, incoming.headers)
        only_active = only_active and after is None
        answer = await runs.follow(run_id, after, only_active=only_active, wait=wait)
    except ValueError as error:
        return sentence(400, error)
    return answer or NOTHING
