"""Appends: whether a stream accepts them, and its state afterwards (PROTOCOL.md section 5.2)."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Protocol

import msgspec

from headgate_gateway.errors import (
    BadRequest,
    ContentTypeMismatch,
    HeadgateError,
    ProducerFenced,
    SequenceGap,
    SequenceRegression,
    StreamBusy,
    StreamClosed,
    StreamLimit,
    StreamNotFound,
)
from headgate_gateway.protocol.bodies.content import (
    JSON_TYPE,
    Records,
    joined_messages,
    media_type,
    records_of,
)
from headgate_gateway.protocol.bodies.multi_append import multi_records
from headgate_gateway.protocol.streams.limits import EVERYTHING, Retention, marked
from headgate_gateway.protocol.streams.offsets import MAX_POSITION
from headgate_gateway.protocol.streams.state import (
    Change,
    ProducerState,
    Record,
    StreamState,
    records_after,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headgate_gateway.protocol.requests import Append
    from headgate_gateway.protocol.streams.state import ClockReading, Stamp

NOTHING: Records = ((), 0)
MAX_PRODUCERS = 10_000  # producer states in memory with their stream, about 200 bytes each
PRODUCER_IDLE_S = 7 * 24 * 3600.0  # section 5.2.1: state may be cleaned up after a week


class AppendOutcome(msgspec.Struct, frozen=True, gc=False):
    """An append's outcome.

    `stored` is how many messages it added; `producer` is the highest accepted stamp, to echo back.
    """

    next_offset: str
    closed: bool
    stored: int
    producer: ProducerState | None = None


class Taken(Protocol):
    """An append as a batch takes it.

    `media` is the media type of a plain body: one that is not empty, has no Stream-Seq, and
    neither closes the stream nor has other fields than its `stamp` and `stream_id`. It is None for
    any other append, which is decided by what `parsed` returns.
    """

    body: bytes
    media: str | None
    stamp: Stamp | None

    @property
    def stream_id(self) -> int | None:
        """The id of the only stream that accepts it; None for any stream at its path."""

    def parsed(self) -> Append:
        """Return the append."""


def plain_media(append: Append) -> str | None:
    """Return the media type of an append that is plain, else None (see `Taken`)."""
    if append.content_type is None or not append.body or append.close or append.is_multi:
        return None
    has_more = (append.stream_seq, append.records, append.tail)
    return media_type(append.content_type) if has_more == NO_MORE else None


NO_MORE = (None,) * 3
QUICK_BYTES = 64 * 1024  # of bodies that are decided without a look at the clock
LEAST_BYTES = QUICK_BYTES // 8  # added to each append's body: a refusal may take long


class AppendBatch:
    """Appends that become one commit: each is decided on the outcome of the one before."""

    __slots__ = (
        "_appends",
        "_changed",
        "_forgotten",
        "_known",
        "_messages",
        "_moment",
        "_producers",
        "_records",
        "_retention",
        "_seq",
        "_state",
        "_tail",
        "closed",
        "closed_by",
    )

    def __init__(
        self,
        state: StreamState,
        producers: Mapping[str, ProducerState],
        now: ClockReading,
        retention: Retention = EVERYTHING,
    ) -> None:
        self._state = state
        self._retention = retention
        self._known = producers  # in the order of their last use
        self._moment = now
        self._tail = state.tail
        self._seq = state.stream_seq
        self.closed = state.closed
        self.closed_by = state.closed_by
        self._records: list[Record] = []
        self._appends = 0  # that brought records
        self._messages = 0  # in them
        self._producers: dict[str, ProducerState] = {}
        self._forgotten: set[str] = set()
        self._changed = False

    @property
    def size(self) -> int:
        """Bytes taken so far."""
        return self._tail - self._state.tail

    def take(
        self, waiting: Sequence[Taken], start: int, stop: int, most_bytes: int
    ) -> list[AppendOutcome | HeadgateError]:
        """Decide appends in order, from `start` on: QUICK_BYTES of them, or up to `stop`.

        Stop once the batch has `most_bytes`. Plain appends, without a producer or with
        its next sequence number, are decided here, by the same rules as in `decide`.
        """
        outcomes: list[AppendOutcome | HeadgateError] = []
        state, producers, records = self._state, self._producers, self._records
        begin, quick = state.tail, QUICK_BYTES
        media = media_type(state.content_type)
        is_json = media == JSON_TYPE
        offset = f"{state.generation:016d}_%016d"  # a tail that grows lies after past generations
        for one in islice(waiting, start, stop):
            if quick <= 0 or self._tail - begin >= most_bytes:
                break
            body, stamp, producer = one.body, one.stamp, None
            quick -= len(body) + LEAST_BYTES
            is_plain = one.media is media and not self.closed
            if is_plain and one.stream_id is not None:
                is_plain = one.stream_id == state.stream_id
            if is_plain and stamp is not None:
                name = stamp.producer_id
                known = producers.get(name) or self._known.get(name)
                is_plain = (
                    known is not None
                    and (stamp.epoch, stamp.seq) == (known.epoch, known.seq + 1)
                    and name not in self._forgotten
                )
                producer = ProducerState(stamp.epoch, stamp.seq, self._moment.wall)
            data, number = joined_messages(body) if is_plain and is_json else (body, 1)
            if not (is_plain and number) or self._tail + len(body) > MAX_POSITION:
                outcomes.append(self.decide(one.parsed()))
                continue
            if producer is not None and stamp is not None:
                producers[stamp.producer_id] = producer
            tail = self._tail = self._tail + len(data)
            records.append(Record(tail, data))
            self._appends += 1
            self._messages += number
            outcomes.append(AppendOutcome(offset % tail, False, number, producer))
        self._changed = self._changed or bool(records)
        return outcomes

    def decide(self, append: Append) -> AppendOutcome | HeadgateError:
        """Return the outcome of an append; if accepted, it is part of the change from now on."""
        try:
            return self._decide(append)
        except HeadgateError as refusal:
            return refusal.with_traceback(None)

    def _decide(self, append: Append) -> AppendOutcome:
        stamp = append.producer
        if append.stream_id not in {None, self._state.stream_id}:
            raise StreamNotFound("the stream with this id is gone; another one is at its path")
        if self.closed:
            return self._on_closed(append)
        if append.tail not in {None, self._tail}:
            raise StreamBusy("the stream has grown meanwhile")
        records = self._checked_records(append)
        if stamp is not None:
            known = self._producer(stamp)
            if self._is_duplicate(known, stamp):
                return self._outcome(known, stored=0)
        if append.stream_seq is not None:
            self._check_stream_seq(append.stream_seq)
        return self._accept(append, records)

    def _on_closed(self, append: Append) -> AppendOutcome:
        stamp = append.producer
        if stamp is None:
            if not append.body:  # closing again is idempotent
                return self._outcome(None, stored=0)
        elif stamp == self.closed_by:
            return self._outcome(ProducerState(stamp.epoch, stamp.seq, self._moment.wall), stored=0)
        raise StreamClosed(self._state.offset(self._tail))

    def _checked_records(self, append: Append) -> Records:
        if not append.body:
            return NOTHING
        if append.content_type is None or media_type(append.content_type) != media_type(
            self._state.content_type
        ):
            held = self._state.content_type
            raise ContentTypeMismatch(
                f"the stream holds {held}, not {append.content_type}: send Content-Type: {held}"
            )
        content_type, parsed = self._state.content_type, append.records
        if append.is_multi and parsed is None:
            parsed = multi_records(content_type, append.body)
        records = records_of(content_type, append.body, parsed)
        if not records[0]:
            raise BadRequest("the body is an empty JSON array: it appends nothing")
        if self._tail + len(append.body) > MAX_POSITION:  # what frames its messages counts, too
            raise StreamLimit("the stream is full: offsets end at 10^16 bytes", "stream_size")
        return records

    def _producer(self, stamp: Stamp) -> ProducerState | None:
        name = stamp.producer_id
        changed = self._producers.get(name)
        if changed is not None or name in self._forgotten:
            return changed
        return self._known.get(name)

    @staticmethod
    def _is_duplicate(known: ProducerState | None, stamp: Stamp) -> bool:
        """Return whether an append is a duplicate, by the table in section 5.2.1."""
        if known is None:
            if stamp.seq != 0:
                raise SequenceGap(0, stamp.seq)
            return False
        if stamp.epoch < known.epoch:
            raise ProducerFenced(known.epoch)
        if stamp.epoch > known.epoch:
            if stamp.seq != 0:
                raise BadRequest("Producer-Seq must be 0 in a new epoch")
            return False
        if stamp.seq > known.seq + 1:
            raise SequenceGap(known.seq + 1, stamp.seq)
        return stamp.seq <= known.seq

    def _check_stream_seq(self, seq: str) -> None:
        if self._seq is not None and seq.encode() <= self._seq.encode():
            raise SequenceRegression(
                # Clients of other languages know the kind of a conflict by these two words.
                "sequence conflict: Stream-Seq must be greater than the last one accepted"
            )

    def _accept(self, append: Append, records: Records) -> AppendOutcome:
        datas, number = records
        state = None
        if append.producer is not None:
            state = self._remember(append.producer)
        if append.stream_seq is not None:
            self._seq = append.stream_seq
        if datas:
            if len(datas) == 1:  # a fast path: a third of the time
                self._tail += len(datas[0])
                self._records.append(Record(self._tail, datas[0]))
            else:
                self._records.extend(records_after(self._tail, datas))
                self._tail = self._records[-1].end
            self._appends += 1
            self._messages += number
        if append.close:
            self.closed = True
            self.closed_by = append.producer
        self._changed = True
        return self._outcome(state, stored=number)

    def _remember(self, stamp: Stamp) -> ProducerState:
        near = len(self._known) + len(self._producers) >= MAX_PRODUCERS  # counting them takes long
        if near and self._producer(stamp) is None and self._producer_count() >= MAX_PRODUCERS:
            self._forget_idle()
        state = ProducerState(stamp.epoch, stamp.seq, self._moment.wall)
        self._producers[stamp.producer_id] = state
        return state

    def _producer_count(self) -> int:
        new = sum(name not in self._known or name in self._forgotten for name in self._producers)
        return len(self._known) - len(self._forgotten) + new

    def _forget_idle(self) -> None:
        before = self._moment.wall - PRODUCER_IDLE_S
        for name, state in self._known.items():  # the least recently used first
            if state.used_at >= before:
                break
            if name not in self._producers:
                self._forgotten.add(name)
        if self._producer_count() >= MAX_PRODUCERS:
            raise StreamLimit(
                f"the stream has {MAX_PRODUCERS} producers, the most it may have",
                "stream_producers",
            )

    def _outcome(self, producer: ProducerState | None, *, stored: int) -> AppendOutcome:
        return AppendOutcome(self._state.offset(self._tail), self.closed, stored, producer)

    def change(self) -> Change | None:
        """Return the change to commit, None if every append was refused or a duplicate."""
        if not self._changed:
            return None
        before = self._state
        deadline = before.deadline
        if deadline is not None:
            deadline = before.lifetime.deadline(self._moment)
        state = msgspec.structs.replace(
            before,
            version=before.version + 1,
            tail=self._tail,
            closed=self.closed,
            closed_by=self.closed_by,
            stream_seq=self._seq,
            deadline=deadline,
        )
        limits = self._retention  # a reload changes it in place
        expires = limits.max_age_s or limits.max_bytes or limits.max_messages
        if self._records and (expires or before.own_retention):
            now = self._moment.wall
            state = marked(state, before.tail, now, self._retention, self._messages)
        only_grows = (
            state.marks is before.marks
            and state.trim_at == before.trim_at
            and deadline == before.deadline
            and self._seq is before.stream_seq
            and not self.closed
            and not self._forgotten
        )
        return Change(
            state,
            before.version,
            tuple(self._records),
            tuple(self._producers.items()),
            tuple(self._forgotten),
            appends=self._appends,
            grown=self._tail - before.tail if only_grows else 0,
            trims=state.first > before.first,
        )


def by_last_use(producers: Mapping[str, ProducerState]) -> dict[str, ProducerState]:
    """Return the producers of a loaded stream as a batch needs them."""
    return dict(sorted(producers.items(), key=lambda one: one[1].used_at))
