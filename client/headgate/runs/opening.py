"""The starts, tasks, readers and connections of `Runs`, from its first call until it is closed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import secrets
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakSet

import msgspec

from headgate import records
from headgate.endpoint import close_soon, unlimited_session
from headgate.errors import ABSENT, Closed, Conflict, ProtocolError, StreamError, Unavailable
from headgate.misuse import check_session
from headgate.names import PRODUCER
from headgate.records import RunState
from headgate.retries import Retries
from headgate.runs.stored import places
from headgate.runs.stored.orphans import is_produced, settled
from headgate.runs.stored.places import Lease
from headgate.runs.stored.production import CLOSE_TIMEOUT_S, SHUT_DOWN, Plan, Production
from headgate.runs.stored.progress import Written, how_it_ended, last_items, survey
from headgate.runs.stored.reading import READERS_END_S, Reading, end_readings
from headgate.runs.stored.stops import is_wished
from headgate.sending.framing import JSON, json_array
from headgate.sending.writer import StreamWriter
from headgate.shielding import shielded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import aiohttp

    from headgate.runs.formats import Format
    from headgate.runs.stored.places import Place
    from headgate.runs.stored.production import RunRules
    from headgate.runs.stored.progress import StreamSurvey
    from headgate.stream_requests import Metadata

T = TypeVar("T")

log = logging.getLogger("headgate.runs")

WAITS_S = (0.1, 0.5)  # before a step of a start is made again
MOST_REPEATS = 2  # of each step of a start, as of a client's requests
CLOSED = (
    "no run is started or read once Runs is closed: "
    "`async with` opens it again, such as in the lifespan of the application"
)
ELSEWHERE = (
    "Runs belongs to the event loop that first used it: "
    "make another, or close it there, and enter it here by `async with`"
)
NEW_ID = "each run has an id of its own"
TAKE_OVER_SOONER = "it could be taken over for the takeover_within seconds of its start"
WITHDRAWN = RunState("failed", "it was taken over, and the start of its new producer failed")
SESSION_CLOSED = "the session that Runs was given is closed: without one, it makes its own"


class Opening:
    """The tasks, readers and connections of one `Runs`, in one event loop.

    Args:
        session: The session of the requests; None for one that is made, and closed, here.
        rules: The settings of all runs.
    """

    def __init__(self, session: aiohttp.ClientSession | None, rules: RunRules) -> None:
        check_session(session)
        self.rules = rules
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
        """Raise RuntimeError once it or its session is closed, and in another event loop."""
        if self.closing.is_set():
            raise RuntimeError(CLOSED)
        if self._session is not None and self._session.closed:
            raise RuntimeError(SESSION_CLOSED)
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise RuntimeError(ELSEWHERE)

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
            await shielded(task)
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


class NotOrphaned(Exception):
    """The refusal to take over a run that another producer has."""


class Start:
    """The start of a run, or a takeover, which is made once.

    It goes on in a task of its own when its caller is cancelled: only the responses of the server
    say what there is to be withdrawn.
    """

    def __init__(
        self,
        run: Place,
        form: Format,
        opening: Opening,
        *,
        goes_on: bool = False,
        only_orphaned: bool = False,
        closes: bool = True,
    ) -> None:
        """With `goes_on`, continue what an older producer has begun; else write after that."""
        self._run = run
        self._form = form
        self._opening = opening
        self._rules = rules = opening.rules
        self._goes_on = goes_on
        self._only_orphaned = only_orphaned
        self._closes = closes
        self.written = Written()  # by older producers, for one that goes on
        self._lease = Lease(run.lease, rules.orphan_after_s)
        self._wait = Lease(run.wait, rules.takeover_within_s)
        self._is_cancelled = False
        self._id = secrets.token_hex(8)
        self._is_new = False  # the stream was made here
        self._may_be_new = False  # what the server answered to its creation was lost
        self._epoch: int | None = None  # that was claimed

    async def begun(self, first: list[object]) -> Production:
        """Return what produces the run; `first` are the items before those of its source.

        When this is cancelled, the start is withdrawn.
        """
        task = asyncio.create_task(self._production(first))
        self._opening.starts.add(task)
        task.add_done_callback(self._opening.starts.discard)
        try:
            return await shielded(task)
        except asyncio.CancelledError:
            self._is_cancelled = True
            # Whatever comes of it later, nobody waits for it.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            await asyncio.wait({task}, timeout=CLOSE_TIMEOUT_S)
            if task.done() and not task.cancelled() and task.exception() is None:
                await self.withdraw()  # it was cancelled as it came to its end
            raise

    async def _production(self, first: list[object]) -> Production:
        try:
            return await self._claimed(first)
        except BaseException:
            await self.withdraw()
            raise

    async def withdraw(self) -> None:
        """Leave nothing that has no producer, if the server can be asked."""
        # Neither a server that stays away nor a session that is closed can be.
        with contextlib.suppress(StreamError, TimeoutError, RuntimeError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                time_s = 0.0 if self._is_cancelled else CLOSE_TIMEOUT_S
                await self._retries(time_s).run(self._withdraw)

    def _retries(self, time_s: float, most: float = math.inf) -> Retries:
        return Retries(time_s, WAITS_S, log.info, most=most)

    async def _repeated(self, step: Callable[[], Awaitable[T]]) -> T:
        """Make a step that may be made twice; repeat it as a client repeats its requests."""

        async def attempt() -> T:
            self._check()
            return await step()

        time_s = min(self._rules.retry_for_s, CLOSE_TIMEOUT_S)
        return await self._retries(time_s, MOST_REPEATS).run(attempt)

    async def _claimed(self, first: list[object]) -> Production:
        if self._only_orphaned and await is_produced(self._run):
            raise NotOrphaned
        if not self._only_orphaned:
            await self._repeated(self._lease.take)
        elif not await self._lease.take(only_free=True):
            raise NotOrphaned
        if self._rules.takeover_within_s:
            await self._repeated(self._wait.take)
        metadata = await self._repeated(lambda: self._open(first))
        claim = [records.claim()]
        if not (self._is_new or self._goes_on):
            claim += map(msgspec.json.encode, first)
        # From the claim on an older producer is refused.
        epoch = self._epoch = await self._repeated(lambda: places.claim(self._run.items, claim))
        assert epoch is not None, "it is always wanted"
        before = None
        if epoch > 0 or not self._is_new:
            before = await self._repeated(lambda: survey(self._run.items, completes=True))
        self._check()
        plan = self._plan(first, before)
        writer = StreamWriter(
            self._run.items,
            content_type=JSON,
            metadata=metadata,
            producer_id=PRODUCER,
            epoch=epoch,
            retry_for=self._rules.retry_for_s,
        )
        writer._producer.seq = 1  # the claim was the first append of its epoch
        return Production(self._run, self._lease, epoch, writer, self._form, self._rules, plan)

    def _plan(self, first: list[object], before: StreamSurvey | None) -> Plan:
        """Return what is to be written after what is there."""
        if before is None:
            return Plan([], closes=self._closes, count=len(first))
        if not self._goes_on:
            return Plan(before.completion.closing(), count=before.count)
        self.written = before.written()
        return Plan(
            [] if before.count else first,
            before.completion,
            has_items=bool(self.written.half or self.written.steps),
            closes=self._closes,
            count=before.count,
            step_bytes=before.step_bytes,
        )

    def _check(self) -> None:
        self._opening.check()
        if self._is_cancelled:
            raise asyncio.CancelledError

    async def _open(self, first: list[object]) -> Metadata:
        """Make the stream, which holds `first`, or find that it holds a run of this format."""
        run = self._run
        opening = json_array(
            [records.opening(self._form.name, self._id), *map(msgspec.json.encode, first)]
        )
        try:
            created = await run.items.create(
                content_type=JSON, ttl_s=self._rules.ttl_s, body=opening
            )
        except Unavailable as lost:
            self._may_be_new |= not lost.is_unsent
            raise
        except Conflict as conflict:
            if not (await run.items.head()).is_closed:
                raise
            end = await how_it_ended(run)
            is_late = self._goes_on and end.status == "orphaned"
            what = TAKE_OVER_SOONER if is_late else NEW_ID
            reason = f"run {run.id!r} has ended ({end.status}): {what}"
            raise Closed(
                reason, stream=conflict.stream, status=conflict.status, headers=conflict.headers
            ) from conflict
        self._is_new = created.is_new
        if not created.is_new:
            await self._check_found()
        return created

    async def _check_found(self) -> None:
        """Raise the reason for which the run that is there cannot go on here."""
        run, found = self._run, await self._found()
        if self._is_new:
            return
        if await is_wished(run.stop):
            await settled(run)
            raise Closed(f"run {run.id!r} is stopped: {NEW_ID}")
        if found.form is None:
            raise ProtocolError("this stream is not a run", stream=run.items.shown)
        if found.form is not self._form:
            raise ValueError(
                f"run {run.id!r} is there in the format {found.form.name}, not in "
                f"{self._form.name}: pass format={found.form.name!r}, or take another id"
            )

    async def _found(self) -> StreamSurvey:
        """Read the first record of the stream that is there, and whether it was made here."""
        found = await survey(self._run.items, until=lambda seen: seen.form is not None)
        self._is_new = found.start == self._id
        return found

    async def _withdraw(self) -> None:
        """Delete what was made here, unless somebody else has begun; end what was taken over."""
        items = self._run.items
        if self._may_be_new and not self._is_new:
            with contextlib.suppress(*ABSENT):
                await self._found()
        if self._is_new and await self._closed():
            await items.delete()
        elif self._epoch is not None and self._rules.takeover_within_s:
            await self._lease.delete()  # another one may go on
        elif self._epoch is not None:
            end = await last_items(self._run, WITHDRAWN)
            if await places.end(items, self._epoch, end, self._rules.retry_for_s):
                await self._lease.delete()
        await self._lease.delete_if_unused()
        await self._wait.delete_if_unused()

    async def _closed(self) -> bool:
        """Close the stream unless somebody else has begun, and return whether it was closed.

        Nobody can begin then: what is deleted afterwards is nobody else's.
        """
        try:
            epoch = await places.claim(
                self._run.items,
                [records.end(WITHDRAWN)],
                is_closing=True,
                may_claim=self._lease.is_untouched,
            )
        except Closed:  # perhaps by an attempt whose response was lost
            return await how_it_ended(self._run) == WITHDRAWN
        return epoch is not None
