"""The streams in use: their latest committed state, and the one way to commit a change."""

from __future__ import annotations

import asyncio
import itertools
from functools import partial
from typing import TYPE_CHECKING

from gateway.protocol.lifecycle import present
from gateway.streams.active_stream import ActiveStream
from gateway.streams.deadlines import SharedDeadlines, SoleDeadlines
from gateway.streams.reload_queue import ReloadQueue
from gateway.streams.versions import follows_on, is_behind, is_rewritten, is_same
from gateway.telemetry.logs import log
from gateway.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.backends.contract import Loaded, Log
    from gateway.protocol.lifecycle import Place
    from gateway.protocol.state import Change, ProducerState, StreamState
    from gateway.streams.active_stream import Caches

MAX_HOT = 50_000  # states kept without a reader or writer, about 2 KiB each
MOST_TURNS = 8  # streams looked at to make room for one: more than one goes where many grew
LINGER_S = 10.0  # a stream's news go on for so long when nobody waits for them


class StreamTable:
    """All hot streams of one log, the least recently used dropped beyond a bound."""

    def __init__(
        self,
        log: Log,
        clock: Callable[[], float],
        caches: Caches,
        max_hot: int = MAX_HOT,
    ) -> None:
        self.log = log
        self.clock = clock
        self._caches = caches
        self._max_hot = max_hot
        log.listen(self)
        self.deadlines = (SharedDeadlines if log.shared else SoleDeadlines)(self, clock)
        self._streams: dict[str, ActiveStream] = {}
        self._catching_up = ReloadQueue(self._look)
        self.turns = Turns()

    def __len__(self) -> int:
        return len(self._streams)

    def get(self, path: str) -> ActiveStream:
        """The hot stream of a path, loaded or not; becomes the most recently used."""
        hot = self._streams.pop(path, None)
        if hot is None:
            hot = ActiveStream(path)
            self._make_room()
        self._streams[path] = hot
        return hot

    def peek(self, path: str) -> ActiveStream | None:
        """The hot stream of a path if there is one, without making it more recently used."""
        return self._streams.get(path)

    def _make_room(self) -> None:
        """Drop the least recently used; one that is in use gets another turn instead.

        When many in a row are in use the table grows: what is in use has bounds of its own.
        """
        for path in list(itertools.islice(self._streams, MOST_TURNS)):
            if len(self._streams) < self._max_hot:
                return
            hot = self._streams.pop(path)
            if not hot.idle:
                self._streams[path] = hot

    async def load(self, path: str) -> ActiveStream:
        """The hot stream as it stands now, whoever changed it; equal loads share one look-up.

        Of a shared log nothing counts that was asked before this call: the answer may be older
        than a change that the caller knows of.
        """
        hot = self.get(path)
        asked = hot.asked
        while True:
            state = hot.state
            if hot.told > asked and (state is not None or hot.absent):
                return hot
            if state is None:
                loading = self._begin_loading(hot)
                await asyncio.shield(loading)
                if hot.absent and not self.log.shared:
                    return hot
            elif await self._stands(hot, state):
                return hot

    async def _stands(self, hot: ActiveStream, state: StreamState) -> bool:
        """Whether what is remembered is what stands now; else it is forgotten."""
        if not self.log.shared:
            return True
        if await self.log.stands(state):
            return hot.state is not None  # or it was forgotten meanwhile
        if is_same(hot.state, state):
            self._forget(hot)
        return False

    def _begin_loading(self, hot: ActiveStream) -> asyncio.Task[None]:
        if hot.loading is None or hot.loading.done():
            hot.loading = asyncio.get_running_loop().create_task(self._load(hot))
        return hot.loading

    async def _load(self, hot: ActiveStream) -> None:
        try:
            while hot.state is None:
                hot.asked += 1
                epoch, question = hot.epoch, hot.asked
                loaded = await self.log.load(hot.path)
                if hot.epoch == epoch:  # else a commit or a lost race has overtaken it
                    hot.told = question
                    self._take(hot, loaded.place, loaded.producers)
                    return
        finally:
            hot.loading = None

    def _take(self, hot: ActiveStream, place: Place, producers: dict[str, ProducerState]) -> None:
        known, found = hot.known, place.state
        if found is not None and is_rewritten(known, found):
            self._caches.changed(found.stream_id, whole=True)
        if known is not None and (found is None or found.stream_id != known.stream_id):
            self._caches.changed(
                known.stream_id, whole=True
            )  # also by other hands than a gateway's
        hot.epoch += 1
        hot.retired, hot.reign = place.retired, place.reign
        hot.producers = producers
        hot.state = place.state
        hot.absent = place.state is None
        try:
            self.deadlines.loaded(hot)
            if hot.follower is not None:
                if place.state is None:
                    hot.follower.ended()
                else:
                    hot.follower.published(place.state, ())
        except BaseException:
            self._forget(hot)  # it is taken in half
            raise

    def present(self, hot: ActiveStream) -> StreamState:
        """The loaded stream's state as a client may use it; raises when it is gone."""
        if hot.follower is not None and hot.follower.has_readers:
            self.deadlines.touch(hot)  # a stream with live readers is in use (section 5.1)
        return present(hot.state, self.deadlines.now(hot))

    def commit(self, changes: Sequence[Change]) -> asyncio.Future[None]:
        """Commit to the log; the table, the caches and the followers know before the caller."""
        moments = [self._moment(change) for change in changes]
        try:
            future = self.log.commit(changes)
        except BaseException:  # who knows how far it came
            for change in changes:
                self._lose_sight(change)
            raise
        future.add_done_callback(partial(self._committed, changes, moments))
        return future

    def _moment(self, change: Change) -> tuple[ActiveStream | None, int]:
        """The same as long as nothing else is heard of the stream."""
        hot = self._streams.get(change.state.path)
        return hot, 0 if hot is None else hot.epoch

    def _committed(
        self,
        changes: Sequence[Change],
        moments: Sequence[tuple[ActiveStream | None, int]],
        done: asyncio.Future[None],
    ) -> None:
        if done.cancelled() or done.exception() is not None:
            return
        for change, moment in zip(changes, moments, strict=True):
            try:
                self._take_in(change, moment)
            except Exception:  # noqa: BLE001 - it stands in the log, where all is to be had anew
                log.exception("stream.lost_sight_of", path=change.state.path)
                self._lose_sight(change)

    def _take_in(self, change: Change, moment: tuple[ActiveStream | None, int]) -> None:
        if moment == self._moment(change) or not self.log.shared:
            self._apply(change)
        else:  # an answer may come late: what was heard meanwhile may be older or newer
            whole = change.removes or change.state.soft_deleted
            self._caches.changed(change.state.stream_id, whole=whole)
            self.heard(change)

    def _lose_sight(self, change: Change) -> None:
        """Know nothing of a stream any more, so that all is asked of the log."""
        self._caches.changed(change.state.stream_id, whole=True)
        self.missed(change.state.path)

    def _apply(self, change: Change) -> None:
        hot = self._streams.get(change.state.path)
        whole = change.removes or change.state.soft_deleted
        if self.log.shared:
            whole = whole or is_rewritten(None if hot is None else hot.known, change.state)
        self._caches.changed(change.state.stream_id, whole=whole)
        if hot is None:
            return
        hot.epoch += 1
        if change.removes:
            hot.state = None
            hot.producers = {}
            if hot.follower is not None:
                hot.follower.ended()
            return
        if (
            hot.state is not None or change.expected is None
        ):  # else it is not loaded: the log has it
            self._move(hot, change)
        if hot.follower is not None:
            hot.follower.published(change.state, change.records)

    def _is_old(self, hot: ActiveStream, change: Change) -> bool:
        """Whether the change was heard of before, or something later in its place."""
        known, state = hot.state, change.state
        return (
            known is not None
            and known.is_along(state)
            and known.version >= state.version + change.removes
        )

    def _move(self, hot: ActiveStream, change: Change) -> None:
        if change.expected is None:
            hot.producers = {}
        hot.state = self.deadlines.committed(hot, change.state)
        hot.absent = False
        for name in change.forgotten:
            hot.producers.pop(name, None)
        hot.producers.update(change.producers)

    def forget(self, path: str) -> None:
        """Load the stream anew when it is next needed: somebody else moved it."""
        hot = self._streams.get(path)
        if hot is not None:
            self._forget(hot)

    def _forget(self, hot: ActiveStream) -> None:
        if hot.state is not None:
            hot.before = hot.state
            self._caches.changed(hot.state.stream_id, whole=False)
        hot.epoch += 1
        hot.state = None
        hot.absent = False

    def lost(self, path: str, stands: Loaded | None) -> None:
        """A commit met another's: `stands` is what was there then, if that is known.

        Where others write, their changes are listened to for a while: who knows of them before it
        decides loses fewer races.
        """
        hot = self._streams.get(path)
        if hot is None:
            return
        if self.log.shared and not hot.followed:
            self.follow(hot)
            self.unfollow(hot)
        known = hot.known
        if stands is None or hot.loading is not None:  # what is being loaded may be newer
            self._forget(hot)
        elif known is not None and stands.place.reign < known.reign:
            self._forget(hot)  # an old answer, or a server whose clock is behind: it must be asked
        elif not is_behind(stands.place.state, known):
            self._forget(hot)
            self._take(hot, stands.place, stands.producers)

    # Of what other processes do

    def follow(self, hot: ActiveStream) -> None:
        """Hear of the stream's changes for as long as somebody follows it, and a little longer."""
        if not self.log.shared:
            return
        if not hot.followed:
            hot.followed = True
            self.log.follow(hot.path)
        self.deadlines.keep_alive(hot)

    def hears_of(self, hot: ActiveStream) -> bool:
        """Whether a change of the stream, whoever makes it, will be told."""
        return not self.log.shared or (hot.followed and self.log.trouble() is None)

    def unfollow(self, hot: ActiveStream) -> None:
        """Nobody follows the stream any more: who long-polls will be back soon, though."""
        if hot.followed:
            if hot.unfollowing is not None:
                hot.unfollowing.cancel()
            loop = asyncio.get_running_loop()
            hot.unfollowing = loop.call_later(LINGER_S, self._unfollow, hot)

    def _unfollow(self, hot: ActiveStream) -> None:
        hot.unfollowing = None
        if hot.followed and hot.follower is None:
            hot.followed = False
            self.log.unfollow(hot.path)

    def heard(self, change: Change) -> None:
        """A followed stream changed."""
        hot = self._streams.get(change.state.path)
        if hot is None or self._is_old(hot, change):
            return
        if follows_on(hot.state, change):
            self._apply(change)
        else:
            self.missed(hot.path)

    def gone(self, path: str, stream_id: int) -> None:
        """A stream was removed, followed or not."""
        self._caches.changed(stream_id, whole=True)
        hot = self._streams.get(path)
        if hot is not None and hot.state is not None and hot.state.stream_id == stream_id:
            self.missed(path)

    def missed(self, path: str) -> None:
        """A stream may have changed, or be gone: those who follow it must hear what it is now."""
        hot = self._streams.get(path)
        if hot is None:
            return
        self._forget(hot)
        if hot.follower is not None:
            self._catching_up.add(path)

    async def _look(self, path: str) -> None:
        hot = self._streams.get(path)
        if hot is not None and hot.follower is not None and hot.state is None:
            await self.load(path)

    def removals_missed(self) -> None:
        """Any stream may be gone: what is kept of it is not given out unasked."""
        self._caches.clear()

    def history_changed(self) -> None:
        """The log may have lost what it acknowledged: nothing that is remembered is certain."""
        self._caches.clear()
        for hot in list(self._streams.values()):
            self.missed(hot.path)
