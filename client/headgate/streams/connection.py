"""The connections of a client: the requests, readings and producers that share them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from yarl import URL

from headgate.endpoint import close_soon, unlimited_session
from headgate.names import shown
from headgate.retries import Retries
from headgate.sending.producer import Producer
from headgate.stream_requests import StreamRequests
from headgate.streams.messages import StreamIterator

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    import aiohttp

    from headgate.endpoint import Credential
    from headgate.runs import Runs
    from headgate.workers import Job

log = logging.getLogger("headgate")
T = TypeVar("T")

# Streams with a producer, the last ones that were appended to: others begin with a new one.
MOST_PRODUCERS = 1_000
FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 8.0  # before a request is repeated
MOST_RETRY_AFTER_S = 60.0  # a caller waits no longer than this for one repetition
_open: WeakSet[LoopConnections] = WeakSet()


class LoopConnections:
    """The session, readings, jobs, runs and producers of a client in one event loop."""

    def __init__(
        self, session: aiohttp.ClientSession | None, loop: asyncio.AbstractEventLoop
    ) -> None:
        if session is not None and session.closed:
            raise RuntimeError("the session of the client is closed: without one, it makes its own")
        self.session = session or unlimited_session()
        self._ending = _closing(self.session) if session is None else None
        self.loop = loop
        self.pid = os.getpid()
        self.readings: WeakSet[StreamIterator[Any]] = WeakSet()
        self.runs: Runs | None = None
        self.jobs: set[Job] = set()  # those of webhooks that have not ended
        self.producers: dict[str, Producer] = {}  # the oldest first
        _open.add(self)

    async def close(self) -> None:
        """End the readings, jobs and runs, and close the session if it is the client's own."""
        readings = list(self.readings)
        for reading in readings:  # at once: another request would open the client again
            reading._stop()
        try:
            for reading in readings:
                await reading.aclose()
            for job in list(self.jobs):
                await job._give_back()
            if self.runs is not None:
                await self.runs.aclose()
        finally:  # also when this is cancelled
            if self._ending is not None:
                with contextlib.suppress(RuntimeError):  # its event loop closes it at this moment
                    await self._ending.aclose()


def _closing(session: aiohttp.ClientSession) -> AsyncGenerator[None]:
    """Return a generator that closes the session as it ends: by `aclose`, or with its event loop.

    Whatever ends a loop properly, such as `asyncio.run`, ends the generators that have begun in it.
    """

    async def closing() -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await session.close()

    generator = closing()
    with contextlib.suppress(StopIteration):  # with what it yields
        anext(generator).send(None)
    return generator


@dataclass(eq=False)
class ClientConnections:
    """The connections of a client: opened at its first use, and again at one after `aclose`.

    The options are those of `Client`.
    """

    base_url: str  # of the server that gets the credential
    credential: Credential | None
    headers: Mapping[str, str]
    timeout: float
    live_timeout: float | None
    retries: int
    session: aiohttp.ClientSession | None  # None: it makes its own
    _connections: LoopConnections | None = None

    def in_this_loop(self) -> LoopConnections:
        """Open the connections of this process and event loop, or return those that are open.

        Raises RuntimeError without an event loop, and if the client is open in another one.
        """
        loop, connections = asyncio._get_running_loop(), self._connections
        if loop is None:
            raise RuntimeError(
                "headgate.Client is for asyncio: use it in an async function that asyncio.run "
                "runs, and read with async for; or use headgate.sync"
            )
        if connections is not None and connections.pid != os.getpid():
            connections = None
        if connections is not None and connections.loop.is_closed():
            self._leave(connections)
            connections = None
        if connections is None or connections.session.closed:
            connections = self._connections = LoopConnections(self.session, loop)
        if connections.loop is not loop:
            raise RuntimeError(
                "this client is open in another event loop: close it there, or make another"
            )
        return connections

    def requests(self, url: str) -> StreamRequests:
        """Return the requests to a URL; the credential is for the server of the base URL alone."""
        is_ours = origin_of(url) == origin_of(self.base_url)
        return StreamRequests(
            url,
            authorization=self.credential if is_ours else None,
            session=self.in_this_loop().session,
            headers=self.headers,
            timeout=self.timeout,
            live_timeout=self.live_timeout,
        )

    def waits(self) -> Retries:
        """Return the retries of one operation."""
        waits = FIRST_WAIT_S, LONGEST_WAIT_S
        return Retries(MOST_RETRY_AFTER_S, waits, log.info, most=self.retries)

    def producer(self, url: str) -> Producer:
        """Return the producer of a stream, whose appends are numbered from its first one on."""
        producers = self.in_this_loop().producers
        producer = producers.pop(url, None)
        producer = producer or Producer(self.requests(url), self.waits(), stands_alone=True)
        too_many = len(producers) + 1 - MOST_PRODUCERS
        if too_many > 0:  # forget the streams that were appended to the longest ago, but none now
            idle = [other for other, each in producers.items() if not each.turn.locked()]
            for other in idle[:too_many]:
                del producers[other]
        producers[url] = producer  # now the newest
        return producer

    def reading(self, url: str, parts: AsyncGenerator[list[T]]) -> StreamIterator[T]:
        """Return a reading of a stream, which ends with the connection."""
        readings = self.in_this_loop().readings
        reading = StreamIterator(parts, shown(url))
        readings.add(reading)
        return reading

    async def aclose(self) -> None:
        """End what is open in this process."""
        connections, self._connections = self._connections, None
        if connections is not None and connections.pid == os.getpid():
            await connections.close()

    def __del__(self) -> None:
        connections = self._connections
        # In a loop that runs, the end of its `_ending` closes it.
        if connections is not None and not connections.loop.is_running():
            self._leave(connections)

    def _leave(self, connections: LoopConnections) -> None:
        """Leave connections that nothing has closed, and whose event loop does not run."""
        is_own = self.session is None and connections.pid == os.getpid()
        if is_own and not connections.session.closed:
            use = "use it in `async with`, or call its `aclose`"
            warn = f"Client({shown(self.base_url)!r}) was not closed: {use}"
            log.warning(warn)
            warnings.warn(warn, ResourceWarning, stacklevel=3)
            close_soon(connections.session, connections.loop)


def origin_of(url: str) -> URL:
    """Return the scheme, host and port of a URL."""
    return URL(url, encoded=True).origin()


def _leave_to_parent() -> None:
    """Have the event loops of the parent process, in a forked one, hold what is open in them.

    Closed here, even as this process exits, their sockets would leave the parent's event loop. The
    loop of `headgate.sync` is never finalized in a forked process.
    """
    for connections in _open:
        getattr(connections.loop, "__dict__", {}).setdefault("_of_parent", []).append(connections)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
