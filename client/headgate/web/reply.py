"""The reply to a request of a client, whatever web framework it came by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from headgate.runs.cursors import cursor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Mapping

    from headgate.runs.cursors import Cursor, Fields

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

    def position(self, *, only_active: bool) -> tuple[int | Cursor | None, bool]:
        """Return where the client goes on, and whether an ended run is of no use to it.

        `only_active` is for clients without a cursor. Raises ValueError for an invalid cursor.
        """
        after = cursor(self.query, self.headers)
        return after, only_active and after is None


@dataclass(frozen=True, slots=True)
class Reply:
    """A response with a complete body; one that comes in pieces is an `Answer`."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


async def once(body: bytes) -> AsyncGenerator[bytes]:
    """Yield a body of which at most MOST_BODY_BYTES, and one byte more, were read."""
    yield body


def sentence(status: int, words: object, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a reply for people: its text is the `error.message` of `useChat`, so no line ends."""
    kind = {"Content-Type": "text/plain; charset=utf-8"}
    return Reply(status, f"{words}".encode(), {**kind, **(headers or {})})
