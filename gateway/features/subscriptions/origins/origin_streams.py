"""The streams of an HTTP origin for the subscriptions of its route, as far as they are linked.

An origin has no list of its streams, and notifies no gateway. So what is written through this
gateway is known at once, and the tails of all linked streams are checked again and again.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import override

from gateway.background import Turns
from gateway.errors import HeadgateError, LimitReached, OriginUnreachable
from gateway.features.subscriptions.origins.origin_view import (
    OriginChange,
    OriginView,
    new_stream_id,
)
from gateway.features.subscriptions.origins.tail_checks import TailChecks
from gateway.features.subscriptions.streams import StreamSource
from gateway.protocol.streams.offsets import TailBound
from gateway.rules.read_rules import PERSISTS_S
from gateway.telemetry.logs import log
from gateway.telemetry.rare_lines import OutageLine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence

    from gateway.features.subscriptions.origins.origin_view import StreamRequests
    from gateway.features.subscriptions.shared.mail import WriteReport
    from gateway.features.subscriptions.state.subscription import LinkedStream, StreamLink
    from gateway.features.subscriptions.streams import StreamChange, StreamView
    from gateway.runtime.write_journal import Write


# About 150 bytes each. Those that get no answer stay, until later ones take their place: a stream
# that is created after that wakes once although it is empty.
MOST_CREATIONS = 10_000


class EmptyCreations:
    """The streams that are being created through this gateway, by name."""

    def __init__(self) -> None:
        self._are_empty: dict[str, bool] = {}

    def note(self, name: str, *, creates_empty: bool) -> None:
        """Note whether a write to a stream, if it creates that, leaves it empty."""
        if creates_empty:
            self._are_empty.setdefault(name, True)
            if len(self._are_empty) > MOST_CREATIONS:
                del self._are_empty[next(iter(self._are_empty))]
        elif name in self._are_empty:
            self._are_empty[name] = False  # it is not known which of both is answered first

    def pop(self, name: str) -> bool:
        """Return whether a stream is empty, if the write that is answered has created it."""
        return self._are_empty.pop(name, False)


class AskingAgain(NamedTuple):
    """The calls by which other gateways ask again who waits for streams.

    `on_new_links` returns once all of them will ask for each; `on_removed` takes one stream's name.
    """

    on_new_links: Callable[[], Awaitable[None]]
    on_removed: Callable[[str], None]


class OriginStreams(StreamSource):
    """The streams of one route, as far as subscriptions are linked to them."""

    is_listed = False

    def __init__(self, requests: StreamRequests, others: AskingAgain | None = None) -> None:
        self._requests = requests
        self.linked: Mapping[str, LinkedStream] = {}  # by name; set where streams are linked
        self._on_change: Callable[[StreamChange], None] | None = None
        self.checks = TailChecks(lambda: self.linked, self._check_tail)
        self.creations = EmptyCreations()  # of linked streams
        self.others = others
        self._doubts: dict[str, float] = {}  # loop time of the first check that contradicted
        self._answers = 0  # how many checks have had an answer
        self._failures = OutageLine(
            "subscription.tail_check_failed",
            "subscription.tail_checks_recovered",
            lambda: self._answers,
        )
        self.turns = Turns()

    # As the source of subscriptions

    @override
    def observe(self, on_change: Callable[[StreamChange], None] | None) -> None:
        self._on_change = on_change
        if on_change is None:
            self.checks.stop()
        else:
            self.checks.start()

    @override
    async def states(self, beginning: str) -> AsyncIterator[StreamView]:
        """Yield the streams that are linked already; others are not known."""
        for name, stream in list(self.linked.items()):
            state = stream.state
            if state is not None and name.startswith(beginning):
                yield state

    @override
    async def state(self, name: str) -> OriginView | None:
        end = await self._requests.end_of(name)
        return None if end is None else self._view(name, end)

    @override
    async def refresh(self, names: Iterable[str]) -> None:
        for name in names:
            known = self._known(name)
            self._compare(name, known, await self._requests.end_of(name))

    @override
    async def on_new_links(self, names: Iterable[str]) -> None:
        if self.others is not None:
            await self.others.on_new_links()
            for name in names:
                self.checks.soon(name)  # what others wrote meanwhile was not reported

    @override
    async def append(self, name: str, event: bytes) -> None:
        await self._requests.append(name, event)

    # What this gateway sees

    def on_write(self, name: str, write: Write) -> None:
        """Take a write through this gateway to a stream that a subscription waits for."""
        known = self._known(name)
        is_empty = self.creations.pop(name)
        if write.deleted:
            self._remove(name, known, is_deleted=True)
        elif write.tail is None or not write.tail:
            self.checks.soon(name)
        elif write.is_new:
            end = TailBound(write.tail, write.closed)
            self._notify_of(_new_view(name, end, write.tail if is_empty else ""), None)
        else:
            end = TailBound(write.tail, write.closed or (known is not None and known.closed))
            if known is not None and end.tail < known.tail:
                self.checks.soon(name)  # answers have overtaken each other, or it is another stream
            else:
                self._take(name, known, end)

    def on_report(self, name: str, note: WriteReport) -> None:
        """Take a write through another gateway, perhaps late and behind others."""
        known = self._known(name)
        if note.is_deleted:
            self._doubts[name] = -inf  # it counts as soon as a check shows it, too
        elif note.created is not None and (known is None or known.stream_id != note.created):
            end = TailBound(note.tail, note.closed)
            self._notify_of(OriginView(name, note.created, *end, beginning=note.beginning), None)
        elif note.tail and (known is not None or self._links_of(name)):
            closed = note.closed or (known is not None and known.closed)
            self._take(name, known, TailBound(note.tail, closed))
            if known is not None and not note.is_unsure:
                return
        self.checks.soon(name)  # others may have written to it meanwhile, and reported it before

    def on_tail(self, name: str, tail: TailBound) -> None:
        """Take the end of a stream that a read has shown."""
        if not self._links_of(name):
            return
        known = self._known(name)
        if known is None or tail.tail < known.tail:
            self.checks.soon(name)  # the read may have been answered long ago
        else:
            self._take(name, known, tail)

    # Checks of tails

    async def _check_tail(self, name: str) -> bool:
        """Compare a stream with its origin; return False if that could not be reached."""
        known = self._known(name)
        try:
            end = await self._requests.end_of(name)
            self._answers += 1
            self._compare(name, known, end)
        except (OriginUnreachable, LimitReached) as error:
            self._failures.note(stream=name, reason=error.detail)
            return False
        except HeadgateError as error:
            self._failures.note(stream=name, reason=error.detail)
        except Exception:  # noqa: BLE001 - the other streams have to be checked
            log.exception("subscription.tail_check_failed", stream=name)
        return True

    def _compare(self, name: str, known: OriginView | None, end: TailBound | None) -> None:
        """Compare a stream with the end that a request has shown, sent when it was `known`."""
        present = self._known(name)
        if self._is_expected(name, known, end):
            self._doubts.pop(name, None)
            if end is None:
                for link in self._links_of(name):
                    link.subscription.note_seen(name)
            elif _is_same(known, present):
                self._take(name, present, end)
            return
        if present is not known or not self._links_of(name):
            return  # it was written to meanwhile: the next check decides
        # A replica may lag behind, but not for long.
        now = asyncio.get_running_loop().time()
        if now - self._doubts.setdefault(name, now) < PERSISTS_S:
            self.checks.later(name, PERSISTS_S)
            return
        is_reported = self._doubts.pop(name) == -inf
        if end is None:
            self._remove(name, known, is_deleted=is_reported)
        else:
            self._notify_of(_new_view(name, end), None)

    def _is_expected(self, name: str, known: OriginView | None, end: TailBound | None) -> bool:
        """Return whether the end can be of the stream that is known, or of a first one."""
        links = self._links_of(name)
        if end is None:
            return known is None and all(link.is_explicit for link in links)
        if known is not None:
            return not known.is_contradicted_by(end)
        if _was_deleted(links):
            return False  # another stream, whose creation may be reported just now
        return not any(
            link.stream_id is not None
            and (link.position > end.tail or (link.is_closed and not end.closed))
            for link in links
        )

    def _known(self, name: str) -> OriginView | None:
        stream = self.linked.get(name)
        state = None if stream is None else stream.state
        assert state is None or isinstance(state, OriginView), "a route has one kind of streams"
        return state

    def _links_of(self, name: str) -> Sequence[StreamLink]:
        stream = self.linked.get(name)
        return () if stream is None else stream.links

    def _view(self, name: str, end: TailBound) -> OriginView:
        """Return a stream with an end that can be of the one that is known there."""
        known = self._known(name)
        if known is not None:
            if known.is_contradicted_by(end):
                return known
            return OriginView(name, known.stream_id, *end, known.version + 1, known.beginning)
        links = self._links_of(name)
        stored = next((it.stream_id for it in links if it.stream_id is not None), None)
        # Where nothing is acknowledged, a link has the tail of a stream that was created empty.
        begun = (it.position for it in links if it.stream_id is None)
        beginning = next((it for it in begun if isinstance(it, str) and it <= end.tail), "")
        if stored is not None:
            return OriginView(name, stored, *end, beginning=beginning)
        return _new_view(name, end, beginning)

    def _take(self, name: str, known: OriginView | None, end: TailBound) -> None:
        """Notify of a stream's end, if that is further than it was known to be."""
        if known is None and _was_deleted(self._links_of(name)):
            self.checks.soon(name)  # the end is of another stream, unless its writer was late
        elif known is None or end.tail > known.tail or (end.closed and not known.closed):
            view = self._view(name, end)
            self._notify_of(view, view.version)

    def _remove(self, name: str, known: OriginView | None, *, is_deleted: bool) -> None:
        """Notify of a removed stream, which `is_deleted` if a client of a gateway did that."""
        self._doubts.pop(name, None)
        view = known or _new_view(name, TailBound("", closed=False))
        if self._on_change is not None:
            self._on_change(OriginChange(view, view.version, removes=True))
        if (stream := self.linked.get(name)) is not None:
            stream.was_deleted = is_deleted

    def _notify_of(self, view: OriginView, expected: int | None) -> None:
        self._doubts.pop(view.path, None)
        if self._on_change is not None:
            self._on_change(OriginChange(view, expected))

    async def close(self) -> None:
        """End all checks."""
        await self.checks.close()
        self._failures.close()


def _new_view(name: str, end: TailBound, beginning: str = "") -> OriginView:
    return OriginView(name, new_stream_id(), *end, beginning=beginning)


def _is_same(known: OriginView | None, present: OriginView | None) -> bool:
    """Return whether a request that was sent when a stream was `known` tells of the present one."""
    if known is None or present is None:
        return known is present
    return known.is_along(present)


def _was_deleted(links: Sequence[StreamLink]) -> bool:
    """Return whether the cursors of links are in a stream that a client has deleted."""
    return any(link.stream_id is not None and link.stream.was_deleted for link in links)
