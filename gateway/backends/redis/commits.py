"""Commits of one log in Redis: one call each, acknowledged once enough replicas have it."""

from __future__ import annotations

import itertools
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from gateway.backends.commit_histograms import CommitHistograms
from gateway.backends.contract import Conflict
from gateway.backends.redis.commands import found_instead
from gateway.backends.redis.servers.call import AT_RISK, RedisCall
from gateway.errors import LogUnavailable, RecordDamaged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from gateway.backends.redis.commands import Commands, IndexNote
    from gateway.backends.redis.connection import Packed, Reply
    from gateway.backends.redis.deadline_index import DeadlineIndex
    from gateway.backends.redis.path_index import PathIndex
    from gateway.backends.redis.servers.call import CallReplies
    from gateway.backends.redis.servers.losses import LossWatch
    from gateway.backends.redis.servers.primaries import Primaries
    from gateway.backends.redis.servers.primary import Primary
    from gateway.protocol.streams.state import Change

    Done: TypeAlias = Callable[[CallReplies | LogUnavailable], None]
    Settle: TypeAlias = Callable[[Exception | None], object]


class RedisCommits:
    """The commits of one gateway, and their histograms."""

    def __init__(  # noqa: PLR0913 - the parts of a log that a commit changes
        self,
        commands: Commands,
        primaries: Primaries,
        together: Callable[[Sequence[str]], bool],
        deadlines: DeadlineIndex,
        paths: PathIndex,
        losses: LossWatch,
        wait_replicas: int,
    ) -> None:
        """`together` returns whether one server has all these keys."""
        self._commands = commands
        self._primaries = primaries
        self._together = together
        self._deadlines = deadlines
        self._paths = paths
        self._losses = losses
        self._wait_replicas = wait_replicas
        self._tokens = itertools.count()
        self.histograms = CommitHistograms()
        self.stored = 0
        self.conflicts = 0

    def commit(self, change: Change, settle: Settle) -> None:
        """Commit one change, and note before it where its stream is to be looked for.

        `settle` gets the error with which it failed, or None, in a later pass of the loop.
        """
        key = self._commands.names.meta(change.state.path)
        token = next(self._tokens)
        commit = self._commands.commit(change, token)
        committed = partial(self._committed, change, token, settle, monotonic())
        notes = [*self._deadlines.notes(change), *self._paths.notes(change)]
        beside = [one for one in notes if self._together([key, one.key])]
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
            self._write(self._commands.names.meta(change.state.path), calls, done)
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
        RedisCall(self._primaries, key, calls, done, commits=True).go()

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
        replies, replicas, primary = answer
        self._follow_up(change, replies[-1])
        self._observe(primary, requested_at)
        wanted = self._wait_replicas
        if replies[-1][0] == 0:
            self.conflicts += 1
            settle(_conflict(replies[-1]))
        elif wanted and not (isinstance(replicas, int) and replicas >= wanted):
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
        if reply == [1, 1]:
            key = self._commands.names.meta(change.state.path)
            self._write(key, [self._commands.tidy(change)], lambda _: None)
        if reply[0] != 1:
            return
        self.histograms.stored([change])
        if change.removes:
            self._paths.drop(change.state.path)
        elif change.expected is None:
            note = self._commands.add_paths([change.state.path])
            self._write(self._commands.names.paths, [note], lambda _: None)

    def _observe(self, primary: Primary, requested_at: float) -> None:
        """Observe how long a commit waited, and how long the server and the network took."""
        sent_at = max(requested_at, primary.commits.answered_sent_at)
        self.histograms.queue.observe(sent_at - requested_at)
        self.histograms.write.observe(monotonic() - sent_at)


def _conflict(reply: Reply) -> Conflict | RecordDamaged:
    try:
        return Conflict(found_instead(reply))
    except RecordDamaged as damage:
        return damage
