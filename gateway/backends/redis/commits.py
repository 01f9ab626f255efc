"""Commits of one log in Redis: one call each, acknowledged once enough replicas have it."""

from __future__ import annotations

import itertools
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from gateway.backends.contract import Conflict
from gateway.backends.counts import CommitHistograms
from gateway.backends.redis.commands import decode_stream
from gateway.backends.redis.servers.call import AT_RISK, RedisCall
from gateway.errors import LogUnavailable, RecordDamaged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from gateway.backends.redis.connection import Packed, Reply
    from gateway.backends.redis.indexes import DeadlineIndex, IndexNote, PathIndex
    from gateway.backends.redis.servers.call import CallReplies
    from gateway.backends.redis.servers.losses import LossWatch
    from gateway.backends.redis.servers.primary import Primary
    from gateway.backends.redis.store import RedisStore
    from gateway.protocol.streams.state import Change

    Done: TypeAlias = Callable[[CallReplies | LogUnavailable], None]
    Settle: TypeAlias = Callable[[Exception | None], object]


class RedisCommits:
    """The commits of one gateway, and their histograms."""

    def __init__(
        self, store: RedisStore, deadlines: DeadlineIndex, paths: PathIndex, losses: LossWatch
    ) -> None:
        self._store = store
        self._meta = store.names.meta
        self._deadlines = deadlines
        self._paths = paths
        self._losses = losses
        self._tokens = itertools.count()
        self.histograms = CommitHistograms()
        self.stored = 0
        self.conflicts = 0

    def commit(self, change: Change, settle: Settle) -> None:
        """Commit one change, and note before it where its stream is to be looked for.

        `settle` gets the error with which it failed, or None, in a later pass of the loop.
        """
        key = self._meta(change.state.path)
        token = next(self._tokens)
        commit = self._store.commands.commit(change, token)
        committed = partial(self._committed, change, token, settle, monotonic())
        notes = [*self._deadlines.notes(change), *self._paths.notes(change)]
        beside = [one for one in notes if self._store.servers.together([key, one.key])]
        elsewhere = [one for one in notes if one not in beside]
        self._write_after(elsewhere, change, [*(one.call for one in beside), commit], committed)

    def _write_after(
        self, notes: Sequence[IndexNote], change: Change, calls: list[Packed], done: Done
    ) -> None:
        """Write once the servers of other keys have replied to the notes.

        A stream is not created while one of them is refused: nothing else would list the stream, or
        end it. Other changes do not wait for the server of the deadlines.
        """
        if not notes:
            self._write(self._meta(change.state.path), calls, done)
            return
        note, *others = notes

        def noted(answer: CallReplies | LogUnavailable) -> None:
            if isinstance(answer, LogUnavailable):
                if change.expected is None:
                    done(answer)
                    return
                self._deadlines.note_later(change.state.path, note)
            self._write_after(others, change, calls, done)

        self._write(note.key, [note.call], noted)

    def _write(self, key: str, calls: list[Packed], done: Done) -> None:
        RedisCall(self._store.servers, key, calls, done, commits=True).go()

    def _committed(
        self,
        change: Change,
        token: int,
        settle: Settle,
        requested_at: float,
        answer: CallReplies | LogUnavailable,
    ) -> None:
        if isinstance(answer, LogUnavailable):
            settle(answer)
            return
        reply, primary = answer.replies[-1], answer.primary
        self._follow_up(change, reply)
        self._observe(primary, requested_at)
        if reply[0] == 0:
            self.conflicts += 1
            settle(_conflict(reply))
        elif answer.is_at_risk(self._store.wait_replicas):
            primary.look()
            settle(LogUnavailable(AT_RISK))
        else:
            self.stored += 1
            self._losses.acknowledged(primary, change, token)
            settle(None)

    def _follow_up(self, change: Change, reply: Reply) -> None:
        """Delete what a commit left over, count it, and correct the list of paths.

        A new stream is listed once more: a removal of its predecessor, or a page, may have dropped
        its path just before it was there.
        """
        path = change.state.path
        if reply == [1, 1]:
            self._write(self._meta(path), [self._store.commands.tidy(change)], lambda _: None)
        if reply[0] != 1:
            return
        self.histograms.stored([change])
        if change.removes:
            self._paths.drop(path)
        elif change.expected is None:
            note = self._paths.note([path])
            self._write(note.key, [note.call], lambda _: None)

    def _observe(self, primary: Primary, requested_at: float) -> None:
        """Observe how long a commit waited, and how long the server and the network took."""
        sent_at = max(requested_at, primary.commits.answered_sent_at)
        self.histograms.queue.observe(sent_at - requested_at)
        self.histograms.write.observe(monotonic() - sent_at)


def _conflict(reply: Reply) -> Conflict | RecordDamaged:
    """Return the refusal of a commit, with the stream that it found instead if the reply has it."""
    _, history, (fields, retired) = reply
    try:
        return Conflict(None if fields is None else decode_stream((history, fields, retired)))
    except RecordDamaged as damage:
        return damage
