"""Appends in order: those that wait for one stream are folded into one commit."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from gateway.backends.base import Conflict
from gateway.errors import HeadgateError, LimitReached, LogUnavailable, StreamNotFound
from gateway.protocol.appends import Appended, Fold
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.protocol.requests import Append
    from gateway.streams.table import HotStream, StreamTable

    Done = Callable[[Appended | HeadgateError], None]
    Decided = list[tuple[Append, Done, Appended | HeadgateError]]

MAX_FOLD = 1024  # appends of one stream in one commit
MAX_FOLD_BYTES = 4 * 1024 * 1024  # so that one busy stream does not hold up the others' group
LONGEST_GATHER_S = 0.002  # appends never wait longer than this for others to join their commit
MAX_CONFLICTS = 20  # lost races in a row on one stream before its writers are told to come back


class Appender:
    """Decides waiting appends on the latest state and commits them, one commit a stream a time."""

    def __init__(self, table: StreamTable, max_pending_bytes: int) -> None:
        self._table = table
        self._max_pending_bytes = max_pending_bytes
        self._dirty: list[HotStream] = []
        self._submitted = 0
        self.idle = asyncio.Event()  # set while no append is under way
        self.idle.set()
        self.pending_bytes = 0
        self.pending = 0
        self.refused_for_room = 0

    def submit(self, path: str, append: Append, done: Done) -> None:
        """Take one append; `done` gets its outcome, in a later pass of the loop."""
        if self.pending_bytes + len(append.body) > self._max_pending_bytes:
            self.refused_for_room += 1
            refusal = LimitReached("max_pending_appends is reached: the log is behind, try again")
            asyncio.get_running_loop().call_soon(done, refusal)
            return
        self.pending_bytes += len(append.body)
        self.pending += 1
        self._submitted += 1
        if self.pending == 1:
            self.idle.clear()
        hot = self._table.get(path)
        hot.waiting.append((append, done))
        if not hot.committing and len(hot.waiting) == 1:
            self._later(hot)

    def _later(self, hot: HotStream) -> None:
        """Advance as soon as a pass of the loop brings no further append.

        Writers who were answered together come back together: what they bring is one commit, not
        one of the first few and one of the others.
        """
        self._dirty.append(hot)
        if len(self._dirty) == 1:
            loop = asyncio.get_running_loop()
            loop.call_soon(self._gather, loop, self._submitted, loop.time() + LONGEST_GATHER_S)

    def _gather(self, loop: asyncio.AbstractEventLoop, seen: int, until: float) -> None:
        if self._submitted == seen or loop.time() >= until:
            dirty, self._dirty = self._dirty, []
            for hot in dirty:
                self._advance(hot)
        else:
            loop.call_soon(self._gather, loop, self._submitted, until)

    def _advance(self, hot: HotStream) -> None:
        if hot.committing or not hot.waiting:
            return
        if hot.state is None:
            hot.committing = True
            loading = asyncio.get_running_loop().create_task(self._table.load(hot.path))
            loading.add_done_callback(partial(self._loaded, hot))
            return
        try:
            state = self._table.present(hot)
        except HeadgateError as refusal:
            self._refuse_all(hot, refusal)
            return
        fold = Fold(state, hot.producers, self._table.clock())
        decided: Decided = []
        while hot.waiting and len(decided) < MAX_FOLD and fold.size < MAX_FOLD_BYTES:
            append, done = hot.waiting.popleft()
            decided.append((append, done, fold.decide(append)))
        change = fold.change()
        if change is None:
            self._answer(decided)
            self._advance(hot)
            return
        hot.committing = True
        self._table.commit((change,)).add_done_callback(partial(self._committed, hot, decided))

    def _loaded(self, hot: HotStream, loading: asyncio.Task[HotStream]) -> None:
        hot.committing = False
        error = loading.exception()
        if isinstance(error, HeadgateError):
            self._refuse_all(hot, error)
        elif error is not None:
            self._refuse_all(hot, LogUnavailable("the log could not be read"))
            raise error
        elif hot.absent:
            self._refuse_all(hot, StreamNotFound("there is no stream at this path"))
        else:
            self._advance(hot)

    def _committed(self, hot: HotStream, decided: Decided, committed: asyncio.Future[None]) -> None:
        hot.committing = False
        error = committed.exception()
        if error is None:
            hot.conflicts = 0
            self._answer(decided)
        elif isinstance(error, Conflict) and hot.conflicts < MAX_CONFLICTS:
            hot.conflicts += 1
            self._table.forget(hot.path)
            hot.waiting.extendleft((append, done) for append, done, _ in reversed(decided))
        else:
            hot.conflicts = 0
            self._refuse(decided, error)
        if hot.waiting:
            self._later(hot)

    def _refuse(self, decided: Decided, error: BaseException) -> None:
        """Whatever was decided together with a failed append rests on it, and is refused too."""
        refusal = (
            error
            if isinstance(error, HeadgateError)
            else LogUnavailable("too many writers met on this stream: nothing was stored")
        )
        self._answer([(append, done, refusal) for append, done, _ in decided])

    def _refuse_all(self, hot: HotStream, refusal: HeadgateError) -> None:
        waiting = list(hot.waiting)
        hot.waiting.clear()
        self._answer([(append, done, refusal) for append, done in waiting])

    def _answer(self, decided: Decided) -> None:
        for append, done, outcome in decided:
            self.pending_bytes -= len(append.body)
            self.pending -= 1
            try:
                done(outcome)
            except Exception:  # noqa: BLE001 - the others of the group must get their answers
                log.exception("append.unanswered")
        if not self.pending:
            self.idle.set()
