"""The contract of a route: what the listener and the console need of every kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec
from multidict import MultiMapping

from gateway.access.principal import Principal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.access.contract import Guard
    from gateway.access.reader_keys import ReaderKeys
    from gateway.live.contract import Parkable
    from gateway.protocol.http.identity import IdentityHeaders
    from gateway.protocol.requests import LongPoll, Read
    from gateway.runtime.context import Context
    from gateway.runtime.writes import Write
    from gateway.telemetry.inspection import (
        ListRuns,
        ListStreams,
        RunPage,
        StreamDescription,
        StreamPage,
    )
    from gateway.telemetry.metrics import Sample
    from gateway.telemetry.traffic import Hits, Traffic

    KeptAnswer = tuple[bytes, bytes, Hits]  # head and body, and where it is counted
    Checks = Mapping[str, str | None]  # by name: None where all is well, else what is wrong


class PlainGet(msgspec.Struct, frozen=True):
    """A GET that needs no answer of its own. Equal heads, byte for byte, are equal requests."""

    target: str
    headers: MultiMapping[str]
    key: tuple[str, str]  # host and target, under which an answer of an HTTP origin is cached
    connection: bytes  # the line that tells what becomes of it
    is_last: bool  # the connection ends with the answer
    principal: Principal | None = None  # whom the route's guard has admitted, if not anybody
    conceals: bool = False  # a 404 of its route is always the same
    reader_key: str | None = None  # which its URL has beside what is in `key`
    is_poll: bool = False  # it was a long-poll that had to wait
    # What each request has of its own, beside the headers that it shares with others:
    request_id: str | None = None
    tag: str | None = None  # its If-None-Match

    @property
    def has_own(self) -> bool:
        """True if the request has an id or a tag of its own."""
        return self.request_id is not None or self.tag is not None

    @property
    def id_line(self) -> bytes:
        """The header line that tells the request's id, if it has one."""
        return b"" if self.request_id is None else f"X-Request-Id: {self.request_id}\r\n".encode()


class RouteAccess(NamedTuple):
    """The access to a route: open to all without a guard. With `conceals` others get a 404.

    Answers of a private one are for no cache that is shared, but those to URLs with one of the
    `reader_keys`, where there are any.
    """

    guard: Guard | None = None
    is_private: bool = False
    conceals: bool = False
    reader_keys: ReaderKeys | None = None


OPEN = RouteAccess()


class RunsLike(Protocol):
    """The runs of a route, for the dashboard and the metrics."""

    async def page(self, question: ListRuns, /) -> RunPage:
        """Return a page of them. Raises HeadgateError."""

    def samples(self) -> Iterable[Sample]:
        """Return their numbers as they are now."""

    async def close(self) -> None:
        """End what is under way."""


class StreamRoute(Protocol):
    """The streams below one prefix. Whoever adds a kind of route keeps this, in a package."""

    prefix: str
    access: RouteAccess
    clock: Callable[[], float]  # epoch seconds
    identity: IdentityHeaders
    traffic: Traffic
    keeps_order: bool  # of writes that are begun one after the other

    @property
    def runs(self) -> RunsLike | None:
        """The runs below it; None where its settings say of none."""

    def checked(self, name: str) -> str:
        """Return the name of a stream; raises HeadgateError where it cannot be one."""

    def parse(self, target: str) -> Read:
        """Parse the target of a GET as a read; raises HeadgateError."""

    # Without a request object or a task. Who answers False or None has done nothing.

    @staticmethod
    def cached_answer(shared: Context, get: PlainGet, now: float) -> KeptAnswer | None:
        """Return the response if some route of this kind has it fresh in the cache.

        All routes share one cache, so the route of the target need not be found.
        """

    def park(
        self, connection: Parkable, name: str, read: LongPoll, headers: MultiMapping[str], /
    ) -> bool:
        """Let a long-poll at the tail wait, or answer it at once."""

    # Among other parts of the process

    def invalidate(self, write: Write) -> None:
        """Forget what a write made old that has passed through this worker or another one."""

    def invalidate_all(self) -> None:
        """Treat everything outside the cache as old: writes through other workers were missed."""

    def readiness(self) -> Checks:
        """Return the checks that readiness depends on."""

    def notes(self) -> Checks:
        """Return the checks for operators that readiness does not depend on."""

    def samples(self) -> Iterable[Sample]:
        """Return the route's metrics as they are now."""

    # For the dashboard. Each raises HeadgateError

    async def list_streams(self, question: ListStreams) -> StreamPage:
        """Return a page of the route's streams."""

    async def describe(self, name: str) -> StreamDescription:
        """Return a stream, its producers, and its readers in this process."""

    async def share_figures(self, instance: str, told: str) -> Mapping[str, str]:
        """Leave a gateway's figures for the others that share the log; theirs, by instance."""

    async def open(self) -> None:
        """Make ready to serve; raises StartError."""

    async def drain(self) -> None:
        """Let every live reader go, and wait for what was begun."""

    async def close(self) -> None:
        """Release everything. Nobody asks any more."""
