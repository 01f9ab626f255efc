"""A watch for servers that lost commits which this gateway had acknowledged.

A Redis that loses writes loses its latest ones: those that were not on its disk, or not at the
replica that took over. So the commit that was acknowledged last stands for all before it. If that
commit is found again, nothing that this gateway acknowledged is lost. What others acknowledged,
they know.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Literal, NamedTuple

from headgate_gateway.errors import LogUnavailable, RecordDamaged
from headgate_gateway.logs.redis.replies import commit_state_in
from headgate_gateway.telemetry.health import Cause
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.logs.redis.primary import Primary
    from headgate_gateway.logs.redis.replies import CommitState
    from headgate_gateway.logs.redis.store import RedisStore
    from headgate_gateway.protocol.streams.state import Change, StreamState

Lost = Literal["no", "unknown", "yes"]
LOST: tuple[Lost, ...] = ("no", "unknown", "yes")  # from the best to the worst
PATIENCE_S = 60.0  # a server may come back and go again, but not for ever
AGAIN_S = 0.5
SHOWN_S = 3600.0  # of a loss: as long as its alert lasts in Prometheus
MOST_SERVERS = 1_000  # of a cluster, as Redis recommends; entries of replaced nodes remain


class LastCommit(NamedTuple):
    """The commit that a server acknowledged last."""

    state: StreamState
    version: int  # of the stream after the commit, or at its removal
    token: int  # see headgate.lua

    def is_lost(self, found: CommitState) -> Lost:
        """Return whether a server with this state of the path has lost the commit.

        That is "unknown" if another gateway removed the stream, or wrote to it, in a later history
        before the check.
        """
        if str(self.token).encode() in found.tokens:
            return "no"
        state = found.state
        if state is None or state.stream_id != self.state.stream_id:
            removed = found.removed_generation - self.state.generation
            if removed > 0:
                return "unknown"
            return "no" if removed == 0 and found.removed_version >= self.version else "yes"
        if state.history == self.state.history:
            return "no" if state.version >= self.version else "yes"
        for past in state.past_generations:
            if past.generation == self.state.generation and past.end < self.state.tail:
                return "yes"
        return "unknown"


class LossWatch:
    """A comparison of servers in a new history with what they had acknowledged before.

    `counts` has the number of new histories by whether something was lost, each once.
    """

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._last: dict[Primary, LastCommit] = {}
        # Of servers whose new history was reported by a commit before the first probe.
        self._checks: dict[Primary, list[asyncio.Task[Lost]]] = {}
        self._counting: set[asyncio.Task[None]] = set()
        self.counts: dict[Lost, int] = dict.fromkeys(LOST, 0)
        self._lost: tuple[float, str] | None = None  # when (monotonic), and which server

    def cause(self) -> Cause | None:
        """Return that a server lost acknowledged writes, for SHOWN_S after it was found."""
        if self._lost is None or monotonic() - self._lost[0] > SHOWN_S:
            return None
        return Cause("lost", {"server": self._lost[1]})

    async def close(self) -> None:
        """End all comparisons."""
        tasks = [*self._counting, *(task for tasks in self._checks.values() for task in tasks)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def acknowledged(self, primary: Primary, change: Change, token: int) -> None:
        """Remember a server's latest commit, and begin a comparison if its history is a new one."""
        state = change.state
        last = self._last.get(primary)
        if last is None and len(self._last) >= MOST_SERVERS:
            del self._last[next(iter(self._last))]
        elif last is not None and last.state.history != state.history:
            # At once: a stream remembers only the last four commits of this gateway.
            self._begin(primary, last)
        self._last[primary] = LastCommit(state, state.version + change.removes, token)

    def history_changed(self, primary: Primary) -> None:
        """Count a server's new history by whether something was lost, once that is known."""
        last = self._last.get(primary)
        if last is not None and last.state.history != primary.history:
            self._begin(primary, self._last.pop(primary))
        elif primary not in self._checks:
            for other in [*self._last]:  # one of them may be the server that this one has replaced
                key = self._store.names.meta(self._last[other].state.path)
                if other is not primary and self._store.servers.primary_of(key) is primary:
                    self._begin(primary, self._last.pop(other))
        checks = self._checks.pop(primary, [])
        counting = asyncio.get_running_loop().create_task(self._count(primary, checks))
        self._counting.add(counting)
        counting.add_done_callback(self._counting.discard)

    def _begin(self, primary: Primary, last: LastCommit) -> None:
        check = asyncio.get_running_loop().create_task(self._check(last))
        self._checks.setdefault(primary, []).append(check)

    async def _check(self, last: LastCommit) -> Lost:
        store, path = self._store, last.state.path
        key, load = store.names.meta(path), store.names.call("load", path)
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    try:
                        (reply,) = await store.execute(key, load, commits=True)
                        return last.is_lost(commit_state_in(reply, store.gateway))
                    except LogUnavailable:
                        await asyncio.sleep(AGAIN_S)
        except (TimeoutError, RecordDamaged):
            return "unknown"

    async def _count(self, primary: Primary, checks: Sequence[asyncio.Task[Lost]]) -> None:
        """Log the worst result of these checks, and count it."""
        history = primary.history
        lost = max(await asyncio.gather(*checks), key=LOST.index) if checks else "unknown"
        _report(lost, primary.name, history)
        self.counts[lost] += 1
        if lost == "yes":
            self._lost = monotonic(), primary.name


def _report(lost: Lost, server: str, history: int) -> None:
    if lost == "yes":
        log.error("log.writes_lost", server=server, history=history)
    elif lost == "no":
        log.info("log.nothing_lost", server=server, history=history)
    else:
        log.warning("log.loss_unknown", server=server, history=history)
