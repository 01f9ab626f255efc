"""Whether what viewers are told is true, or was as lately as the answer itself admits."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.edge.simulation.streams import Making, Place, Stream, Version

ROUNDED_S = 1.5  # an Age has whole seconds
LONG_S = 90.0  # for what hangs at a bad origin
FOR_EVER_S = 1e6
_CUT_CHARACTER = "\ufffd".encode()


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
    origin_lags: bool = False
    origin_ends_by_closing: bool = False
    answers: int = 0
    _written: dict[tuple[str, str], list[Written]] = field(default_factory=dict)

    def complain(self, text: str) -> None:
        self.wrong.append(f"{self.clock():.3f} {text}")

    def wrote(self, entries: list[str], stream: Stream, making: int, tail: int, first: int) -> None:
        written = Written(self.clock(), first, making, tail)
        for entry in entries:
            self._written.setdefault((entry, stream.name), []).append(written)

    def floor(self, entry: str, stream: Stream, asked: float) -> Floor:
        """What is known to be there, or to be of the past, by those who ask now."""
        if self.may_lag:
            return Floor()
        first, tails = 0, dict[int, int]()
        for one in self._written.get((entry, stream.name), ()):
            if one.at < asked:
                first = max(first, one.first)
                tails[one.making] = max(tails.get(one.making, 0), one.tail)
        return Floor(first, tails)

    @property
    def may_lag(self) -> bool:
        """Whether what is told may be a replica's that is behind: in calm nobody's is."""
        return self.origin_lags and not self.is_calm

    @property
    def is_calm(self) -> bool:
        """Whether nothing is left of what went wrong."""
        return self.calm_since is not None and self.clock() - self.calm_since > LONG_S

    def _slack(self, got: Got) -> float:
        if self.is_calm:
            return ROUNDED_S
        return LONG_S if self._is_followed(got) or self.may_lag else ROUNDED_S

    def _is_followed(self, got: Got) -> bool:
        return got.fields.get("x-cache") == "COLLAPSED" or self.tiers > 1

    def answer(self, entry: str, stream: Stream, start: str, got: Got, what: str) -> None:
        self.answers += 1
        what = f"{entry} {stream.name} {what} {got.status} {dict(got.fields)} {got.body!r:.200}"
        if got.status not in {200, 204} or "stream-next-offset" not in got.fields:
            self._refused(stream, got, what)
            return
        since = got.asked - int(got.fields.get("age", "0")) - self._slack(got)
        end = stream.parsed(got.fields["stream-next-offset"])
        if stream.was_lost and end.making is None and self._is_followed(got):
            since = 0  # nothing tells the two apart, and news are kept as long as there is room
        versions = stream.within(since, got.answered)
        floor = self.floor(entry, stream, got.asked)
        kind = got.fields.get("content-type")
        makings = [
            one
            for one in stream.of(end, versions)
            if one.number >= floor.first and kind in {None, one.nature.content_type}
        ]
        self.units(stream, start, end, got.body, makings, f"floor {floor}: {what}")
        self._end(stream, start, end, got, versions, floor, what)

    def _refused(self, stream: Stream, got: Got, what: str) -> None:
        gone = any(one.making is None for one in stream.within(got.asked - ROUNDED_S, got.answered))
        if got.status in {404, 410} and (gone or not self.is_calm):
            return
        # Where an end may be a cut, no read is evidence of what its reader has. If the stream was
        # lost, that reader may be asked once to begin again.
        if got.status == 410 and stream.was_lost and self.origin_ends_by_closing:
            return
        if self.is_calm or got.status not in {400, 404, 410, 429, 500, 502, 503, 504}:
            self.complain(f"refused: {what}")

    @staticmethod
    def is_cut(stream: Stream, offset: str) -> bool:
        """Whether an offset, of another stream perhaps, lies amid a character."""
        if offset == "-1":
            return False
        at = stream.parsed(offset).at
        return any(
            at < len(one.units) and one.units[at][0] & 0xC0 == 0x80 for one in stream.makings
        )

    def units(
        self,
        stream: Stream,
        start: str,
        end: Place,
        body: bytes,
        makings: list[Making],
        what: str,
    ) -> None:
        """Whether a body is what lies between two offsets of streams that may be meant."""
        begin = end if start == "now" else None if start == "-1" else stream.parsed(start)
        if begin is not None and begin[:2] != end[:2]:
            self.complain(f"of another stream from {start} to {end}: {what}")
            return
        if end.making is None and (stream.was_lost or self.may_lag) and _CUT_CHARACTER in body:
            return  # two makings that nothing tells apart, put together amid a character
        at = 0 if begin is None else begin.at
        if not any(
            _is_told(body, at, end.at, [one for one in makings if one.nature.is_json is is_json])
            for is_json in (True, False)
        ):
            numbers = [one.number for one in makings]
            self.complain(f"wrong from {start} to {end}, makings {numbers}, {what}")

    @staticmethod
    def ends_closed(stream: Stream, end: Place, versions: list[Version]) -> bool:
        return any(one.closed and one.tail == end.at for one in _of(stream, end, versions))

    def _end(
        self,
        stream: Stream,
        start: str,
        end: Place,
        got: Got,
        versions: list[Version],
        floor: Floor,
        what: str,
    ) -> None:
        seen = _of(stream, end, versions)
        closed = got.fields.get("stream-closed") == "true"
        if closed and not self.ends_closed(stream, end, versions):
            self.complain(f"not closed: {what}")
        up_to_date = got.fields.get("stream-up-to-date") == "true"
        if got.status == 204 and not (up_to_date or closed):
            self.complain(f"no word of the tail: {what}")
        if not (up_to_date or closed or got.fields["stream-next-offset"] == start):
            return
        # That nothing is said to follow may be as late as the origin's answer to a feed's poll.
        heard = got.fields.get("x-cache") == "COLLAPSED" and not (up_to_date or self.is_calm)
        too_old = not heard and self._is_before(end, seen, floor)
        # Behind a replica that lags, who is one past its tail stays there, whatever brought him.
        tails = {one.tail + more for one in seen for more in range(2 if self.may_lag else 1)}
        if too_old or (up_to_date and end.at not in tails):
            self.complain(f"not the tail at {end}, floor {floor}: {what}")

    def tail(self, stream: Stream, end: Place, versions: list[Version], floor: Floor) -> None:
        if self._is_before(end, _of(stream, end, versions), floor):
            self.complain(f"not the tail of {stream.name} at {end}, floor {floor}")

    @staticmethod
    def _is_before(end: Place, seen: list[Version], floor: Floor) -> bool:
        """Whether more was acknowledged of every stream that may be meant."""
        tails = [floor.tails.get(one.making, 0) for one in seen if one.making is not None]
        return bool(tails) and end.at < min(tails)


def _of(stream: Stream, end: Place, versions: list[Version]) -> list[Version]:
    numbers = {one.number for one in stream.of(end, versions)}
    return [one for one in versions if one.making in numbers]


def _is_told(body: bytes, begin: int, end: int, makings: list[Making]) -> bool:
    """Whether each unit of a body is that of a making there, all of one framing."""
    if not makings:
        return False
    units = _messages(body) if makings[0].nature.is_json else [bytes([one]) for one in body]
    return len(units) == end - begin and all(
        any(at < len(one.units) and one.units[at] == unit for one in makings)
        for at, unit in enumerate(units, start=begin)
    )


def _messages(body: bytes) -> list[bytes]:
    if not body:
        return []
    try:
        messages = json.loads(body)
    except ValueError:
        return [body]
    if not isinstance(messages, list):
        return [body]
    return [json.dumps(one, ensure_ascii=False).encode() for one in messages]
