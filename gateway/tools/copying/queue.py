"""Copy all streams of a place, several at once, in one round or repeatedly."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from headgate.errors import NotAuthorized, RequestRefused, Unavailable

from gateway.errors import HeadgateError, LogFull, LogUnavailable
from gateway.tools.copying.by_content import ContentCopy
from gateway.tools.copying.by_log import LogCopy
from gateway.tools.copying.contract import StreamRefused, name_of
from gateway.tools.copying.log_place import LogPlace
from gateway.tools.shell.failure import FAILURES, Failed
from gateway.tools.shell.output import note
from gateway.tools.shell.progress import Progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.tools.copying.contract import CopyOutcome, CopyPlace, CopyProgress, StreamEntry
    from gateway.tools.copying.files import OffsetMap

# Streams that are copied at once, each with two pages in memory: some MiB altogether. That hides
# the round trips to a distant server, and lets a log commit several streams together.
AT_ONCE = 8
ROUND_S = 1.0  # from one look for new streams and appends to the next
# Streams whose progress is remembered, 400 bytes each. Further ones are compared again in each
# round, until one of these is gone.
MAX_KNOWN = 100_000
FULL = (
    f"headgate: FROM has more than {MAX_KNOWN:,} streams: those beyond are compared in each round, "
    "which takes longer; --prefix divides them among several commands."
)
MOST_SAID = 100  # streams that could not be copied and are named; more are counted


class _KnownStream(NamedTuple):
    """A stream as it was copied last, in this process."""

    mark: object | None = None
    progress: CopyProgress | None = None
    is_refused: bool = False


NEW = _KnownStream()


class _RoundCount:
    """The number of streams beyond MAX_KNOWN: the highest of all rounds."""

    def __init__(self) -> None:
        self.most = self._now = 0

    def begin(self) -> None:
        """Begin a round, in which the same streams come again."""
        self._now = 0

    def add(self) -> bool:
        """Count a stream of this round; return whether no earlier round had so many."""
        self._now += 1
        is_more = self._now > self.most
        self.most = max(self.most, self._now)
        return is_more

    def move(self) -> bool:
        """Note that a stream is remembered; return False if it was one of those counted here."""
        is_more = self.most == 0
        self.most = max(0, self.most - 1)
        return is_more


class CopyQueue:
    """The copy of a place to another, which goes on where an earlier one ended."""

    def __init__(
        self,
        source: CopyPlace,
        target: CopyPlace,
        streams: Callable[[], AsyncIterator[StreamEntry]],
        offset_map: OffsetMap,
    ) -> None:
        """`streams` returns a new list of the streams to copy, for each round."""
        self._source = source
        self._target = target
        self._streams = streams
        self._offset_map = offset_map
        self._known: OrderedDict[str, _KnownStream] = OrderedDict()  # last those of this round
        self._seen = 0  # of the known, in this round
        self._copied_beyond, self._refused_beyond = _RoundCount(), _RoundCount()
        self._progress = Progress()
        self.streams = self.changed = self.gone = self.refused = self.bytes = 0

    async def run(self, *, follows: bool) -> None:
        """Copy all streams, and with `follows` what is appended and created until cancelled."""
        loop = asyncio.get_running_loop()
        is_full = False
        try:
            while True:
                begins = loop.time()
                await self._round()
                if not follows:
                    return
                if not is_full and (self._copied_beyond.most or self._refused_beyond.most):
                    is_full = True
                    self._progress.clear()
                    note(FULL)
                await asyncio.sleep(max(0.0, begins + ROUND_S - loop.time()))
        except asyncio.CancelledError:
            self._progress.clear()
            note(f"Interrupted: {self.so_far()}; the same command goes on.")
            raise
        except (*FAILURES, HeadgateError) as failure:
            raise ended_by(failure, self.so_far(), self._source, self._target) from failure
        finally:
            self._progress.clear()

    def so_far(self) -> str:
        """Return how much is copied, in words."""
        streams = f"{self.streams:,} stream{'' if self.streams == 1 else 's'}"
        return f"{streams} copied or compared, {self.bytes:,} bytes appended"

    async def _round(self) -> None:
        """Copy each listed stream once. The first failure of a place ends it."""
        listed = self._streams()
        turn = asyncio.Lock()
        self._seen = 0
        self._copied_beyond.begin()
        self._refused_beyond.begin()
        workers = [asyncio.create_task(self._work(listed, turn)) for _ in range(AT_ONCE)]
        try:
            await asyncio.gather(*workers)
            while len(self._known) > self._seen:  # forget streams that are not listed any more
                self._known.popitem(last=False)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, listed: AsyncIterator[StreamEntry], turn: asyncio.Lock) -> None:
        while True:
            async with turn:
                one = await anext(listed, None)
            if one is None:
                return
            known = self._known.get(one.path, NEW)
            if known is not NEW:
                self._known.move_to_end(one.path)
                self._seen += 1
            if one.mark is None or known.mark != one.mark:
                self._note(one, known, await self._copy(one.path, known))
            self._progress.show(self.so_far)

    async def _copy(self, path: str, known: _KnownStream) -> CopyOutcome | None:
        """Copy a stream; None if that is refused, and the others go on."""
        try:
            return await self._copied(path, known.progress)
        except StreamRefused as refusal:
            self._refuse(path, known, str(refusal))
        except HeadgateError as failure:
            if isinstance(failure, LogUnavailable | LogFull):
                raise
            self._refuse(path, known, failure.detail)
        except RequestRefused as refusal:
            if refusal.is_passing or isinstance(refusal, NotAuthorized):
                raise
            self._refuse(path, known, str(refusal))
        return None

    def _note(self, one: StreamEntry, known: _KnownStream, outcome: CopyOutcome | None) -> None:
        """Count a stream, and remember how far it is copied."""
        has_place = known is not NEW or len(self._known) < MAX_KNOWN
        if outcome is not None:
            if known is NEW:
                count = self._copied_beyond
                self.streams += count.move() if has_place else count.add()
            self.streams += known.is_refused
            self.changed += outcome.is_changed
            self.gone += outcome.is_gone
            self.bytes += outcome.bytes
        if not has_place:
            return
        progress = None if outcome is None else outcome.progress
        self._seen += known is NEW
        self._known[one.path] = _KnownStream(one.mark, progress, is_refused=outcome is None)

    async def _copied(self, path: str, progress: CopyProgress | None) -> CopyOutcome:
        def on_append(source_offset: str, target_offset: str) -> None:
            self._offset_map.add(path, source_offset, target_offset)

        source, target = self._source, self._target
        copy: LogCopy | ContentCopy
        if isinstance(source, LogPlace) and isinstance(target, LogPlace):
            copy = LogCopy(source, target, path, on_append)
        else:
            id_ = producer_of(source, path)
            copy = ContentCopy(source.stream(path, id_), target.stream(path, id_), on_append)
        return await copy.run(progress)

    def _refuse(self, path: str, known: _KnownStream, why: str) -> None:
        """Say why a stream is not copied, and count it, once."""
        count = self._refused_beyond
        is_full = len(self._known) >= MAX_KNOWN
        if known.is_refused or (known is NEW and not (count.add() if is_full else count.move())):
            return
        self.refused += 1
        self._progress.clear()
        if self.refused <= MOST_SAID:
            note(f"headgate: {name_of(path)}: {why}.")
        elif self.refused == MOST_SAID + 1:
            note("headgate: more streams cannot be copied: they are counted only.")


def ended_by(failure: Exception, so_far: str, *places: CopyPlace) -> Failed | Unavailable:
    """Return the error that ends the command, with what it has done before this failure.

    Where a log has failed, it is named.
    """
    if not isinstance(failure, LogUnavailable):
        return Failed(f"{failure}; {so_far}")
    logs = (place for place in places if isinstance(place, LogPlace))
    failed = next((f"{it.shown}: " for it in logs if it.log.why_unhealthy() is not None), "")
    return Unavailable(f"{failed}{failure}; {so_far}")


def producer_of(source: CopyPlace, path: str) -> str:
    """Return the id of the producer of all copies of a stream of this source."""
    return f"headgate-copy-{hashlib.sha256(f'{source.shown}/{path}'.encode()).hexdigest()[:32]}"
