"""An origin's answer that was received whole, and the interfaces to wait for one without a task.

The raw way makes these answers; polls, fetches of the cache and forwarded requests use them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol

from msgspec import Struct
from multidict import CIMultiDict, CIMultiDictProxy
from typing_extensions import override

from gateway.errors import OriginBroken
from gateway.origin.in_step import ConnectionHistory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import TypeAlias

    from gateway.errors import HeadgateError
    from gateway.origin.response import OriginAnswer

    AnyAnswer: TypeAlias = "OriginAnswer | WholeAnswer"

# Fields with another value in each answer of a kind; what follows from them is not cached.
VOLATILE = frozenset(
    {
        "age",
        "content-length",
        "content-location",
        "date",
        "etag",
        "last-modified",
        "location",
        "producer-seq",
        "stream-cursor",
        "stream-next-offset",
        "x-cache-hits",
        "x-request-id",
    }
)


class WholeAnswer(Struct, eq=False):
    """An answer in memory; its connection is free for other requests.

    Its head was checked like that of an OriginAnswer. `head` has the received bytes. If the body
    was chunked, `headers` and `volatile` have its Content-Length instead (RFC 9112, section 7.1.3).

    `stable` identifies all answers that differ only in VOLATILE fields, so that what follows from
    one head is computed once. It has the status line and the field lines in order, but only the
    names of VOLATILE ones. It is None where that is not worth the memory. `volatile` has the values
    of those fields, by name in lower case.
    """

    complete_by_length: ClassVar[bool] = True  # as of an OriginAnswer: its end was seen
    is_repetition: ClassVar[bool] = False  # its request was sent once

    status: int
    head: bytes
    body: bytes
    server: str  # its base URL
    stable: Hashable | None
    volatile: Mapping[str, str]
    history: ConnectionHistory | None = None  # the history of the answer's connection
    _headers: CIMultiDictProxy[str] | None = None

    @override
    def __repr__(self) -> str:
        return f"WholeAnswer({self.status}, {len(self.body)} bytes, {self.server!r})"

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """The fields, with names as the origin spells them; parsed at the first use."""
        if self._headers is None:
            fields: CIMultiDict[str] = CIMultiDict()
            for line in self.head.decode("utf-8", "surrogateescape").split("\r\n")[1:-2]:
                name, _, value = line.partition(":")
                fields.add(name, value.strip(" \t"))
            if "Transfer-Encoding" in fields:
                del fields["Transfer-Encoding"]
                fields["Content-Length"] = str(len(self.body))
            self._headers = CIMultiDictProxy(fields)
        return self._headers

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the body, if there is any, as an OriginAnswer does."""
        if self.body:
            yield self.body

    async def read(self, limit: int) -> bytes:
        """Return the body. Raises OriginBroken beyond the limit."""
        if len(self.body) > limit:
            raise OriginBroken(f"the origin's answer is over {limit} bytes")
        return self.body

    def release(self) -> None:
        """Do nothing: there is no connection to release."""


class AnswerReceiver(Protocol):
    """The receiver of a request's result: one method is called, once, after `send` has returned."""

    def on_answer(self, answer: WholeAnswer) -> None:
        """Use the whole response."""

    def on_partial_answer(self, answer: OriginAnswer) -> None:
        """Use a response of which only the head has come; the receiver has to release it."""

    def on_failure(self, error: HeadgateError) -> None:
        """Handle OriginUnreachable (nothing was sent), OriginTimeout or OriginBroken."""


class PendingRequest(Protocol):
    """A request that was sent, and can be abandoned."""

    def abandon(self) -> None:
        """Abandon the request: its AnswerReceiver is not called any more."""
