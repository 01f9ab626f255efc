"""The tasks, readers and connections of `Runs`, from its first call until it is closed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakSet

from headgate.endpoint import close_soon, unlimited_session
from headgate.runs.stored.production import CLOSE_TIMEOUT_S, SHUT_DOWN
from headgate.runs.stored.reading import READERS_END_S, Reading, end_readings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from headgate.runs.stored.production import Production

CLOSED = (
    "no run is started or read once Runs is closed: "
    "`async with` opens it again, such as in the lifespan of the application"
)
ELSEWHERE = (
    "Runs belongs to the event loop that first used it: "
    "make another, or close it there, and enter it here by `async with`"
)
SESSION_CLOSED = "the session that Runs was given is closed: without one, it makes its own"


class Opening:
    """The tasks, readers and connections of one `Runs`, in one event loop.

    Args:
        session: The session of the requests; None for one that is made, and closed, here.
    """

    def __init__(self, session: aiohttp.ClientSession | None) -> None:
        self.produced: dict[str, Production] = {}  # the newest of each run, by its id
        self.starts: set[asyncio.Task[Production]] = set()
        self.readings: WeakSet[Reading] = WeakSet()
        self.closing = asyncio.Event()
        self.own_session: aiohttp.ClientSession | None = None
        self._tasks: dict[asyncio.Task[None], Production] = {}
        self._session = session
        self._loop: asyncio.AbstractEventLoop | None = None

    def is_over(self) -> bool:
        """Return whether it was closed, or its event loop was."""
        return self.closing.is_set() or (self._loop is not None and self._loop.is_closed())

    def check(self) -> None:
        """Raise RuntimeError once it is closed, and in another event loop than the first."""
        if self.closing.is_set():
            raise RuntimeError(CLOSED)
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise RuntimeError(ELSEWHERE)

    def check_session(self) -> None:
        """Raise RuntimeError if the session is somebody else's, who has closed it."""
        if self._session is not None and self._session.closed:
            raise RuntimeError(SESSION_CLOSED)

    @property
    def session(self) -> aiohttp.ClientSession:
        """The session of the requests."""
        session = self._session or self.own_session
        if session is None:
            session = self.own_session = unlimited_session()
        return session

    def produce(
        self, run_id: str, production: Production, items: AsyncIterator[object], owner: object
    ) -> asyncio.Task[None]:
        """Produce a run from its source, in a task of its own; an older one of the run is replaced.

        `owner`, whose session the production uses, stays in memory until that has ended.
        """

        def forget(task: asyncio.Task[None], _owner: object = owner) -> None:
            del self._tasks[task]
            if self.produced.get(run_id) is production:
                del self.produced[run_id]

        self.produced[run_id] = production
        task = asyncio.create_task(production.run(items), name=f"run {run_id}")
        self._tasks[task] = production
        task.add_done_callback(forget)
        return task

    async def produce_to_end(
        self, run_id: str, production: Production, items: AsyncIterator[object], owner: object
    ) -> None:
        """Produce a run and wait for its end; shut it down if the caller is cancelled."""
        task = self.produce(run_id, production, items, owner)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            production.end(SHUT_DOWN)
            await asyncio.wait({task}, timeout=CLOSE_TIMEOUT_S)
            raise

    async def close(self, wait_s: float) -> None:
        """Let the productions end within `wait_s`, then end them, and disconnect the readers."""
        self.closing.set()
        if self.starts:
            await asyncio.wait(set(self.starts), timeout=CLOSE_TIMEOUT_S)
        grace_s = READERS_END_S if self._tasks else 0.0
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=wait_s)
        for production in self._tasks.values():
            production.end(SHUT_DOWN)
        if self._tasks:
            await asyncio.wait(list(self._tasks))
        await end_readings(list(self.readings), grace_s)
        own, self.own_session = self.own_session, None
        if own is not None:
            await own.close()

    def abandon(self) -> bool:
        """Close the connections soon; return False if none is open."""
        if self.own_session is None or self.own_session.closed or self._loop is None:
            return False
        close_soon(self.own_session, self._loop)
        return True
