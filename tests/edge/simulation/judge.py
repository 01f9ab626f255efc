"""Whether what viewers are told is true, or was as lately as the answer itself admits."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.edge.simulation.streams import Stream, Version

ROUNDED_S = 1.5  # an Age has whole seconds
LONG_S = 90.0  # for what hangs at a bad origin
FOR_EVER_S = 1e6


class Got(NamedTuple):
    """An answer, or what there is of one that was cut."""

    asked: float
    answered: float
    status: int
    fields: Mapping[str, str]
    body: bytes


class Written(NamedTuple):
    """Who asks after `at` is told of no stream before `first`, and no less of `making`."""

    at: float
    first: int
    making: int
    tail: int


class Floor(NamedTuple):
    """The same of all that was written before a request."""

    first: int = 0
    tails: Mapping[int, int] = MappingProxyType({})


@dataclass(slots=True)
class Judge:
    """`wrong` is what should not have been."""

    clock: Callable[[], float]
    tiers: int
    wrong: list[str] = field(default_factory=list)
    calm_since: float | None = None
    lags: bool = False
    answers: int = 0
    _written: dict[tuple[str, str], list[Written]] = field(default_factory=dict)

    def complain(self, text: str) -> None:
        """Take note."""
        self.wrong.append(f"{self.clock():.3f} {text}")

    def wrote(self, entries: list[str], stream: Stream, making: int, tail: int, first: int) -> None:
        """A write was acknowledged by gateways."""
        written = Written(self.clock(), first, making, tail)
        for entry in entries:
            self._written.setdefault((entry, stream.name), []).append(written)

    def floor(self, entry: str, stream: Stream, asked: float) -> Floor:
        """What is known to be there, or to be of the past, by those who ask now."""
        if self.lags:
            return Floor()
        first, tails = 0, dict[int, int]()
        for one in self._written.get((entry, stream.name), ()):
            if one.at < asked:
                first = max(first, one.first)
                tails[one.making] = max(tails.get(one.making, 0), one.tail)
        return Floor(first, tails)

    @property
    def is_calm(self) -> bool:
        """Whether nothing is left of what went wrong."""
        return self.calm_since is not None and self.clock() - self.calm_since > LONG_S

    def _slack(self, got: Got) -> float:
        if self.is_calm:
            return ROUNDED_S
        return LONG_S if self._is_followed(got) or self.lags else ROUNDED_S

    def _is_followed(self, got: Got) -> bool:
        """Whether a feed may have told it."""
        return got.fields.get("x-cache") == "COLLAPSED" or self.tiers > 1

    def answer(self, entry: str, stream: Stream, start: str, got: Got, what: str) -> None:
        """Judge a read from an offset."""
        self.answers += 1
        what = f"{entry} {stream.name} {what} {got.status} {dict(got.fields)} {got.body!r:.200}"
        if got.status not in {200, 204} or "stream-next-offset" not in got.fields:
            self._refused(stream, got, what)
            return
        since = got.asked - int(got.fields.get("age", "0")) - self._slack(got)
        if stream.was_lost and not stream.numbered and self._is_followed(got):
            since = 0  # nothing tells the two apart, and news are kept as long as there is room
        versions = stream.within(since, got.answered)
        floor = self.floor(entry, stream, got.asked)
        end = got.fields["stream-next-offset"]
        self.units(stream, start, end, got.body, versions, floor, what)
        self._end(stream, start, end, got, versions, floor, what)

    def _refused(self, stream: Stream, got: Got, what: str) -> None:
        gone = any(one.making is None for one in stream.within(got.asked - ROUNDED_S, got.answered))
        if got.status in {404, 410} and (gone or not self.is_calm):
            return
        if self.is_calm or got.status not in {404, 410, 429, 500, 502, 503, 504}:
            self.complain(f"refused: {what}")

    @staticmethod
    def is_cut(stream: Stream, offset: str) -> bool:
        """Whether an offset, of another stream perhaps, lies amid a character."""
        if stream.is_json or offset == "-1":
            return False
        _, at = stream.parsed(offset)
        return any(
            at < len(one.units) and one.units[at][0] & 0xC0 == 0x80 for one in stream.makings
        )

    def units(
        self,
        stream: Stream,
        start: str,
        end: str,
        body: bytes,
        versions: list[Version],
        floor: Floor,
        what: str,
    ) -> None:
        """Whether a body is what lies between two offsets."""
        making, to = stream.parsed(end)
        of, begin = (
            (making, 0) if start == "-1" else stream.parsed(end if start == "now" else start)
        )
        units = _units(stream, body)
        if of != making or len(units) != to - begin:
            self.complain(f"gap or repeat from {start} to {end}: {what}")
            return
        makings = {one.making for one in versions if one.making is not None}
        makings = {one for one in makings if one >= floor.first and making in {None, one}}
        truths = [stream.makings[one].units for one in makings]
        for at, unit in enumerate(units, start=begin):
            if not any(at < len(truth) and truth[at] == unit for truth in truths):
                self.complain(f"wrong unit {at} of {sorted(makings)} floor {floor}: {what}")
                return

    @staticmethod
    def ends_closed(stream: Stream, end: str, versions: list[Version]) -> bool:
        """Whether a stream was closed with this end."""
        making, to = stream.parsed(end)
        return any(
            one.closed and one.tail == to for one in versions if making in {None, one.making}
        )

    def _end(
        self,
        stream: Stream,
        start: str,
        end: str,
        got: Got,
        versions: list[Version],
        floor: Floor,
        what: str,
    ) -> None:
        making, to = stream.parsed(end)
        seen = [one for one in versions if making in {None, one.making}]
        closed = got.fields.get("stream-closed") == "true"
        if closed and not self.ends_closed(stream, end, versions):
            self.complain(f"not closed: {what}")
        up_to_date = got.fields.get("stream-up-to-date") == "true"
        if not (up_to_date or closed or got.status == 204 or start == end):
            return
        # What a feed tells is as late as the origin's answer to its poll.
        heard = got.fields.get("x-cache") == "COLLAPSED" and not self.is_calm
        makings = {one.making for one in seen if one.making is not None}
        tails = [floor.tails.get(one, 0) for one in makings]
        too_old = not heard and bool(tails) and to < min(tails)
        # Another gateway's 204 is taken for the tail, whether or not it says so.
        if self.tiers > 1 and got.status == 204 and not self.is_calm:
            return
        if too_old or (up_to_date and not any(one.tail == to for one in seen)):
            self.complain(f"not the tail at {end}, floor {floor}: {what}")


def _units(stream: Stream, body: bytes) -> list[bytes]:
    if not stream.is_json:
        return [bytes([one]) for one in body]
    if not body:
        return []
    try:
        return [json.dumps(one, ensure_ascii=False).encode() for one in json.loads(body)]
    except ValueError:
        return [body]
