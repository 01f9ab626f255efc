"""The streams that the gateways of a log change: each reports its own, and the owner reads them.

The owner reads the present state of a reported stream, so reports may come in any order and more
than once. A killed gateway may have reported less than it has changed, messages may be lost with a
connection, and a gateway that stood still may take itself or a former owner for the owner. So the
owner compares all streams in the background, at once when any of these is noticed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate_gateway.background import Background
from headgate_gateway.errors import LogUnavailable
from headgate_gateway.features.subscriptions.shared import mail
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from headgate_gateway.features.subscriptions.shared.lease import WorkSharing
    from headgate_gateway.features.subscriptions.shared.owned import OwnedLoader
    from headgate_gateway.protocol.streams.state import Change


Notes = dict[str, bool]  # the streams that have changed, and whether each is new
AT_ONCE = 500  # streams that are reported in one message, or read together
MOST_WAITING = 100_000  # streams that wait to be reported: beyond it, all are compared
# Between two reports of a busy gateway: what changes meanwhile shares the cost of the second, and a
# wake may be late by as much. With 5 ms, an append cost 4 % more.
GATHER_S = 0.02
RETRY_S = 0.1  # while no owner listens, or the log cannot be reached
COMPARE_S = 60.0  # between two comparisons, if there is no reason for one


class ReportedChanges(Background):
    """The streams that changed, until they are reported to the owner, or read by it."""

    def __init__(
        self,
        sharing: WorkSharing,
        loader: OwnedLoader,
        schedule_comparison: Callable[[], None],
        most: int = MOST_WAITING,
    ) -> None:
        """Call `schedule_comparison` where the owner itself has forgotten what changed.

        Of `most` streams each is reported; beyond that, all streams are compared.
        """
        self.is_active = False  # there are subscriptions
        self.overflows = 0  # times that more have changed
        self._most = most
        self._schedule_comparison = schedule_comparison
        self._sharing = sharing
        self._loader = loader
        self._lease = loader.lease
        self._paths: Notes = {}
        self._compare = False
        self._wakened = asyncio.Event()

    def on_commit(self, change: Change, is_certain: bool) -> None:
        """Take a change that this gateway has committed, or may have."""
        if not self.is_active:
            return
        engine = self._loader.engine if is_certain and self._lease.is_certain else None
        if engine is None or not engine.take_commit(change):
            self.note(change.state.path, is_new=change.expected is None)

    def note(self, path: str, *, is_new: bool) -> None:
        """Take a stream that has changed."""
        if path not in self._paths and len(self._paths) >= self._most:
            self.overflows += 1
            self._paths.clear()
            self._compare = True
        self._paths[path] = is_new or self._paths.get(path, False)
        self._wakened.set()

    def add(self, changed: mail.ChangeReport) -> None:
        """Take the streams that another gateway has reported."""
        for path, is_new in changed.paths.items():
            self.note(path, is_new=is_new)

    def compare(self) -> None:
        """Have all streams compared: what has changed here is not known."""
        self._compare = True
        self._wakened.set()

    @override
    async def _run(self) -> None:
        while True:
            await self._wakened.wait()
            try:
                is_done = await self._work()
            except LogUnavailable:
                is_done = False
            except Exception:  # noqa: BLE001 - the task must outlive any error
                log.exception("subscription.changes_not_reported")
                is_done = False
            await asyncio.sleep(self._pause_s() if is_done else RETRY_S)

    def _pause_s(self) -> float:
        """Return how long changes are gathered: not at all where a whole message of them waits."""
        return 0.0 if len(self._paths) >= AT_ONCE else GATHER_S

    async def flush(self) -> None:
        """Report what waits, as far as the log can be reached at once."""
        while self._paths and self._loader.engine is None:
            try:
                if not await self._work():
                    return
            except LogUnavailable:
                return

    async def _work(self) -> bool:
        """Report some streams, or read them; return whether that was possible."""
        if self._compare and not await self._ask_to_compare():
            return False
        names = list(self._paths)[:AT_ONCE]
        if not names:
            self._wakened.clear()
            return True
        batch = {name: self._paths.pop(name) for name in names}
        done: Collection[str] = ()
        try:
            done = await self._pass_on(batch)
        finally:
            for path, is_new in batch.items():
                if path not in done:
                    self.note(path, is_new=is_new)
        return len(done) == len(batch)

    async def _pass_on(self, batch: Notes) -> Collection[str]:
        """Return the paths that were taken here, or reported to the owner."""
        if self._lease.is_ours and not self._lease.is_certain:
            await self._lease.confirm()  # a claim at another gateway may wait for this report
        engine = self._loader.engine
        if engine is None:
            return batch.keys() if await self._send(mail.ChangeReport(batch)) else ()
        taken = await engine.apply_notes(batch)
        return taken if self._loader.engine is engine else ()

    async def _ask_to_compare(self) -> bool:
        if self._loader.engine is not None:
            self._schedule_comparison()
        elif not await self._send(mail.ComparisonRequest()):
            return False
        self._compare = False
        return True

    async def _send(self, message: mail.Mail) -> bool:
        owner = self._lease.other_owner
        return bool(owner) and await self._sharing.mailboxes.send(owner, mail.encode(message))


class TailComparisons(Background):
    """Comparisons of all streams with what the owner knows of them."""

    def __init__(self, loader: OwnedLoader, changed: ReportedChanges) -> None:
        self._loader = loader
        self._changed = changed
        self.made = 0  # comparisons, from the beginning to the end
        self._reason = asyncio.Event()
        self._later: asyncio.TimerHandle | None = None

    def schedule(self, after_s: float = 0.0) -> None:
        """Compare soon."""
        if not after_s:
            self._reason.set()
            return
        if self._later is not None:
            self._later.cancel()
        self._later = asyncio.get_running_loop().call_later(after_s, self._reason.set)

    @override
    async def stop(self) -> None:
        if self._later is not None:
            self._later.cancel()
        await super().stop()

    @override
    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(COMPARE_S):
                    await self._reason.wait()
            except TimeoutError:
                pass
            self._reason.clear()
            try:
                await self._compare()
            except LogUnavailable:
                self._reason.set()
                await asyncio.sleep(RETRY_S)
            except Exception:  # noqa: BLE001 - the task must outlive any error
                log.exception("subscription.streams_not_compared")

    async def _compare(self) -> None:
        engine = self._loader.engine
        if engine is None or not engine.by_id:
            return
        async for path, is_new in engine.changed_streams():
            self._changed.note(path, is_new=is_new)
        self.made += 1
