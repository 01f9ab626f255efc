"""An origin's answer that has come whole, and who waits for one, without a task."""

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

# What differs from one answer to the next of the same kind: to remember what it means is no use.
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
    """An answer whose head was checked as that of an OriginAnswer is; its connection is free again.

    `head` is as it came. What came in chunks is told as by its length (RFC 9112, section 7.1.3):
    `headers` and `volatile` have a Content-Length.

    `stable` is the status line and all field lines in their order, of those that are VOLATILE only
    the names: what is known of one such answer is known of all that are equal in it. It is None
    where that is not worth the memory. `volatile` has the values of the others, each of which came
    once, by name in lower case.
    """

    complete_by_length: ClassVar[bool] = True  # as an OriginAnswer says it
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
        """The fields, names as they are written; made when they are first asked for."""
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
    """Takes what becomes of a request: one method is called, once, after the request is out."""

    def answered(self, answer: WholeAnswer) -> None:
        """Take the whole response."""

    def began(self, answer: OriginAnswer) -> None:
        """Accept a response of which only the head is here; its reader releases it."""

    def failed(self, error: HeadgateError) -> None:
        """Accept a failure: OriginUnreachable (nothing was sent), OriginTimeout or OriginBroken."""


class PendingRequest(Protocol):
    """A request that is out, and can be given up."""

    def abandon(self) -> None:
        """Give the request up: nobody waits any more, and its AnswerReceiver is not called."""
