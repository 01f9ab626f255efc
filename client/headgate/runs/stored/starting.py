"""The start of a run, which leaves nothing behind when it fails or is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec

from headgate import records
from headgate.errors import Closed, Conflict, StreamError
from headgate.names import PRODUCER
from headgate.records import RunState
from headgate.runs.stored import places
from headgate.runs.stored.lease import Lease
from headgate.runs.stored.orphans import is_produced, settled
from headgate.runs.stored.production import CLOSE_TIMEOUT_S, Plan, Production
from headgate.runs.stored.progress import Written, how_it_ended, last_items, survey
from headgate.runs.stored.stops import is_wished
from headgate.sending.framing import JSON, json_array
from headgate.sending.writer import StreamWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate.runs.formats import Format
    from headgate.runs.stored.places import Place
    from headgate.runs.stored.production import RunRules
    from headgate.runs.stored.progress import StreamSurvey
    from headgate.stream_requests import Metadata

NEW_ID = "each run has an id of its own"
TAKE_OVER_SOONER = "it could be taken over for the takeover_within seconds of its start"
WITHDRAWN = RunState("failed", "it was taken over, and the start of its new producer failed")


class NotOrphaned(Exception):
    """Another producer has the run."""


class Start:
    """Starts a run, or takes it over, once.

    It goes on in a task of its own when whoever wants it is cancelled: only what the server has
    answered tells what there is to be withdrawn.
    """

    def __init__(  # noqa: PLR0913 - the options of `take_over`
        self,
        run: Place,
        form: Format,
        rules: RunRules,
        check: Callable[[], None],
        *,
        goes_on: bool = False,
        only_orphaned: bool = False,
        closes: bool = True,
    ) -> None:
        """`check` raises when nothing can be started any more.

        With `goes_on` it continues what an older producer has begun; else it writes after that.
        """
        self._run = run
        self._form = form
        self._rules = rules
        self._check_open = check
        self._goes_on = goes_on
        self._only_orphaned = only_orphaned
        self._closes = closes
        self.written = Written()  # by older producers, for one that goes on
        self._lease = Lease(run.lease, rules.orphan_after_s)
        self._wait = Lease(run.wait, rules.takeover_within_s)
        self._is_cancelled = False
        self._is_new = False  # the stream was made here
        self._epoch: int | None = None  # that was claimed

    async def begun(self, first: list[object], starts: set[asyncio.Task[Production]]) -> Production:
        """Return what produces the run, by a task among `starts`.

        When this is cancelled, the start is withdrawn.
        """
        task = asyncio.create_task(self.production(first))
        starts.add(task)
        task.add_done_callback(starts.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._is_cancelled = True
            # Whatever comes of it later, nobody waits for it.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            await asyncio.wait({task}, timeout=CLOSE_TIMEOUT_S)
            if task.done() and not task.cancelled() and task.exception() is None:
                await self.withdraw()  # it was cancelled as it came to its end
            raise

    async def production(self, first: list[object]) -> Production:
        """Claim the run, and return what produces it. `first` are the items before the source's."""
        try:
            return await self._claimed(first)
        except BaseException:
            await self.withdraw()
            raise

    async def withdraw(self) -> None:
        """Leave nothing that has no producer, if the server can be asked."""
        # Neither a server that is away nor a session that is closed can be.
        with contextlib.suppress(StreamError, TimeoutError, RuntimeError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._withdraw()

    async def _claimed(self, first: list[object]) -> Production:
        if self._only_orphaned and await is_produced(self._run):
            raise NotOrphaned
        if not await self._lease.take(only_free=self._only_orphaned):
            raise NotOrphaned
        if self._rules.takeover_within_s:
            await self._wait.take()
        metadata = await self._open()
        self._check()  # from the claim on an older producer is refused
        begins = self._is_new or not self._goes_on
        opening = [records.claim(), *map(msgspec.json.encode, first if begins else ())]
        epoch = self._epoch = await places.claim(self._run.items, opening)
        assert epoch is not None, "it is always wanted"
        before = await survey(self._run.items, completes=True) if epoch > 0 or not begins else None
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
        """Return what is to be done behind what was there before."""
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
        self._check_open()
        if self._is_cancelled:
            raise asyncio.CancelledError

    async def _open(self) -> Metadata:
        """Make the stream, or find that it holds a run of this format."""
        run = self._run
        opening = json_array([records.opening(self._form.name)])
        try:
            created = await run.items.create(
                content_type=JSON, ttl_s=self._rules.ttl_s, body=opening
            )
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
            if await is_wished(run.stop):
                await settled(run)
                raise Closed(f"run {run.id!r} is stopped: {NEW_ID}")
            found = await survey(run.items, until=lambda seen: seen.form is not None)
            if found.form is not self._form:
                raise ValueError(
                    f"run {run.id!r} is there, and not in the format {self._form.name}"
                )
        return created

    async def _withdraw(self) -> None:
        """Delete what was made here, unless somebody else has begun; end what was taken over."""
        items = self._run.items
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
        epoch = await places.claim(
            self._run.items,
            [records.end(WITHDRAWN)],
            is_closing=True,
            may_claim=self._lease.is_untouched,
        )
        return epoch is not None
