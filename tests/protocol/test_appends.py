"""Appends: the rules row by row, and against a model that knows nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

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
from headgate_gateway.logs.memory import MemoryLog
from headgate_gateway.protocol import appends
from headgate_gateway.protocol.appends import (
    MAX_PRODUCERS,
    PRODUCER_IDLE_S,
    AppendBatch,
    AppendOutcome,
    by_last_use,
)
from headgate_gateway.protocol.requests import Append
from headgate_gateway.protocol.streams.limits import Retention
from headgate_gateway.protocol.streams.offsets import MAX_POSITION, format_offset
from headgate_gateway.protocol.streams.state import (
    Change,
    Lifetime,
    Mark,
    ProducerState,
    Record,
    Stamp,
    StreamState,
)
from headgate_gateway.streams.outcomes import submitted
from tests.streams.service import Service
from tests.support.manual_clock import at

NOW = 1_000_000_000.0
TEXT = "text/plain"
OPEN = StreamState("s", 5, 2, TEXT, version=7, tail=10)


def append(
    body: bytes = b"abc",
    content_type: str | None = TEXT,
    stream_seq: str | None = None,
    producer: Stamp | None = None,
    *,
    close: bool = False,
    stream_id: int | None = None,
) -> Append:
    return Append(body, content_type, stream_seq, producer, close, stream_id=stream_id)


def told(refusal: AppendOutcome | HeadgateError) -> tuple[type[HeadgateError], dict[str, object]]:
    """A refusal as a value."""
    assert isinstance(refusal, HeadgateError), refusal
    return type(refusal), vars(refusal)


def change_of(batch: AppendBatch) -> Change:
    change = batch.change()
    assert change is not None
    return change


AT_10, AT_13 = format_offset(2, 10), format_offset(2, 13)
STORED = AppendOutcome(AT_13, closed=False, stored=True)
STAMP = Stamp("p", 1, 0)
Fields = dict[str, object]
ACCEPTED: dict[str, tuple[Append, AppendOutcome, Fields]] = {
    "a-plain-append": (append(), STORED, {"tail": 13}),
    "a-content-type-in-another-spelling": (
        append(content_type="TEXT/Plain; charset=utf-8"),
        STORED,
        {"tail": 13},
    ),
    "an-append-that-closes": (
        append(close=True),
        AppendOutcome(AT_13, closed=True, stored=True),
        {"tail": 13, "closed": True},
    ),
    "a-close-without-data": (
        append(b"", None, close=True),
        AppendOutcome(AT_10, closed=True, stored=False),
        {"closed": True},
    ),
    "an-append-with-a-stream-seq": (
        append(stream_seq="a"),
        STORED,
        {"tail": 13, "stream_seq": "a"},
    ),
    "a-producer-that-closes": (
        append(producer=STAMP, close=True),
        AppendOutcome(AT_13, closed=True, stored=True, producer=ProducerState(1, 0, NOW)),
        {"tail": 13, "closed": True, "closed_by": STAMP},
    ),
}


@pytest.mark.parametrize(("request_", "outcome", "after"), ACCEPTED.values(), ids=ACCEPTED)
def test_an_accepted_append_changes_the_state_as_listed(
    request_: Append, outcome: AppendOutcome, after: Fields
) -> None:
    batch = AppendBatch(OPEN, {}, at(NOW))
    assert batch.decide(request_) == outcome
    records = (Record(13, request_.body),) if request_.body else ()
    producers = () if request_.producer is None else (("p", ProducerState(1, 0, NOW)),)
    moved = msgspec.structs.replace(OPEN, version=8, **after)
    grown = 3 if set(after) == {"tail"} else 0
    change = Change(moved, 7, records, producers, appends=len(records), grown=grown)
    assert batch.change() == change


GROWN: dict[str, tuple[Fields, Retention, int]] = {
    "no-lifetime": ({}, Retention(), 6),
    "a-fixed-expiry": (
        {"lifetime": Lifetime(expires_at=NOW + 9), "deadline": NOW + 9},
        Retention(),
        6,
    ),
    "a-sliding-ttl": ({"lifetime": Lifetime(ttl_s=9), "deadline": NOW + 8}, Retention(), 0),
    "retention-by-size": ({}, Retention(max_bytes=1000), 0),
    "retention-by-age": (
        {"marks": (Mark(NOW, OPEN.tail, 0, 9.0),), "trim_at": NOW + 72},
        Retention(max_age_s=72),
        6,
    ),
}


@pytest.mark.parametrize(("fields", "retention", "grown"), GROWN.values(), ids=GROWN)
def test_a_change_carries_the_growth_only_if_nothing_but_appends_changed_the_stream(
    fields: Fields, retention: Retention, grown: int
) -> None:
    state = msgspec.structs.replace(OPEN, **fields)
    batch = AppendBatch(state, {}, at(NOW), retention)
    batch.decide(append(producer=Stamp("p", 1, 0)))
    batch.decide(append())
    change = change_of(batch)
    assert change.grown == grown
    assert (change.state == msgspec.structs.replace(state, version=8, tail=16)) == bool(grown)


@pytest.mark.parametrize("content_type", ["text/html", None])
def test_an_append_of_another_content_type_is_refused(content_type: str | None) -> None:
    outcome = AppendBatch(OPEN, {}, at(NOW)).decide(append(content_type=content_type))
    assert told(outcome)[0] is ContentTypeMismatch


@pytest.mark.parametrize("stamp", [Stamp("p", 1, 5), Stamp("p", 1, 3), Stamp("q", 1, 4)], ids=str)
def test_only_the_closing_append_itself_is_a_duplicate_at_a_closed_stream(stamp: Stamp) -> None:
    closed = msgspec.structs.replace(OPEN, closed=True, closed_by=Stamp("p", 1, 4))
    batch = AppendBatch(closed, {"p": ProducerState(1, 4, 0.0)}, at(NOW))
    kind, fields = told(batch.decide(append(producer=stamp)))
    assert (kind, fields["next_offset"]) == (StreamClosed, AT_10)
    assert batch.change() is None


KNOWN = ProducerState(3, 5, 0.0)
MOST = 2**53 - 1
REFUSED: dict[str, tuple[ProducerState | None, int, int, type[HeadgateError], Fields]] = {
    "a-first-number-of-one": (None, 0, 1, SequenceGap, {"expected": 0, "received": 1}),
    "a-first-number-of-three": (None, 7, 3, SequenceGap, {"expected": 0, "received": 3}),
    "a-gap": (KNOWN, 3, 7, SequenceGap, {"expected": 6, "received": 7}),
    "a-gap-up-to-the-limit": (KNOWN, 3, MOST, SequenceGap, {"expected": 6, "received": MOST}),
    "an-older-epoch": (KNOWN, 2, 6, ProducerFenced, {"epoch": 3}),
    "the-oldest-epoch": (KNOWN, 0, 0, ProducerFenced, {"epoch": 3}),
    "a-new-epoch-at-one": (KNOWN, 4, 1, BadRequest, {}),
    "a-new-epoch-at-the-next-number": (KNOWN, 4, 6, BadRequest, {}),
}


@pytest.mark.parametrize(("known", "epoch", "seq", "kind", "fields"), REFUSED.values(), ids=REFUSED)
def test_a_stamp_with_a_wrong_epoch_or_a_gap_is_refused(
    known: ProducerState | None, epoch: int, seq: int, kind: type[HeadgateError], fields: Fields
) -> None:
    batch = AppendBatch(OPEN, {} if known is None else {"p": known}, at(NOW))
    refused, values = told(batch.decide(append(producer=Stamp("p", epoch, seq))))
    assert refused is kind
    assert values.items() >= fields.items()
    assert batch.change() is None


def test_an_append_behind_a_tail_is_refused_once_the_stream_has_grown() -> None:
    batch = AppendBatch(OPEN, {}, at(NOW))
    behind = msgspec.structs.replace(append(), tail=OPEN.tail)
    assert isinstance(batch.decide(behind), AppendOutcome)
    assert isinstance(batch.decide(behind), StreamBusy)


@pytest.mark.parametrize(
    ("stream_id", "is_accepted"),
    [
        (None, True),
        pytest.param(OPEN.stream_id, True, id="the-stream-at-the-path"),
        pytest.param(OPEN.stream_id + 1, False, id="an-earlier-stream"),
    ],
)
def test_an_append_to_the_stream_with_an_id_is_refused_by_another_one(
    stream_id: int | None, is_accepted: bool
) -> None:
    batch = AppendBatch(OPEN, {}, at(NOW))
    outcome = batch.decide(msgspec.structs.replace(append(), stream_id=stream_id))
    assert isinstance(outcome, AppendOutcome if is_accepted else StreamNotFound)
    assert (batch.change() is not None) == is_accepted


@pytest.mark.parametrize(
    ("last", "seq", "accepted"),
    [
        (None, "", True),
        (None, "9", True),
        ("9", "10", False),
        ("09", "10", True),
        ("a", "a", False),
        ("a", "aa", True),
        ("b", "aa", False),
        ("Z", "a", True),
        ("z", "é", True),
        pytest.param("\uffff", "\U00010000", True, id="two-bytes-of-utf-16-and-four"),
    ],
)
def test_an_append_is_accepted_only_if_its_stream_seq_is_later_in_byte_order(
    last: str | None, seq: str, accepted: bool
) -> None:
    state = msgspec.structs.replace(OPEN, stream_seq=last)
    outcome = AppendBatch(state, {}, at(NOW)).decide(append(stream_seq=seq))
    if accepted:
        assert outcome == STORED
    else:
        assert told(outcome)[0] is SequenceRegression


def test_a_json_array_is_appended_as_one_record_without_its_brackets() -> None:
    state = msgspec.structs.replace(OPEN, content_type="application/json", tail=0)
    batch = AppendBatch(state, {}, at(NOW))
    batch.decide(append(b"[1, 2]", "application/json"))
    assert told(batch.decide(append(b"[]", "application/json"))) == (
        BadRequest,
        {"detail": "the body is an empty JSON array: it appends nothing"},
    )
    assert told(batch.decide(append(b"{", "application/json")))[0] is BadRequest
    change = change_of(batch)
    assert change.records == (Record(3, b"1,2"),)


def test_an_append_restarts_the_ttl_of_its_stream() -> None:
    state = msgspec.structs.replace(OPEN, lifetime=Lifetime(ttl_s=60), deadline=NOW + 1)
    batch = AppendBatch(state, {}, at(NOW))
    batch.decide(append())
    change = change_of(batch)
    assert change.state.deadline == NOW + 60


@pytest.mark.parametrize(("room", "accepted"), [(4, True), (3, True), (2, False)])
def test_an_append_is_accepted_only_up_to_the_largest_offset(room: int, accepted: bool) -> None:
    state = msgspec.structs.replace(OPEN, tail=MAX_POSITION - room)
    outcome = AppendBatch(state, {}, at(NOW)).decide(append(b"abc"))
    if accepted:
        tail = MAX_POSITION - room + 3
        assert outcome == AppendOutcome(format_offset(2, tail), closed=False, stored=True)
    else:
        assert told(outcome) == (
            StreamLimit,
            {"detail": "the stream is full: offsets end at 10^16 bytes", "limit": "stream_size"},
        )


def many(count: int, used_at: float) -> dict[str, ProducerState]:
    return {f"p{number}": ProducerState(0, 0, used_at) for number in range(count)}


ONE_IDLE = by_last_use(many(MAX_PRODUCERS, NOW) | {"p7": ProducerState(4, 2, 0.0)})


@pytest.mark.parametrize(
    ("count", "accepted"), [(MAX_PRODUCERS - 2, 2), (MAX_PRODUCERS - 1, 1), (MAX_PRODUCERS, 0)]
)
def test_a_stream_accepts_new_producers_up_to_its_limit(count: int, accepted: int) -> None:
    batch = AppendBatch(OPEN, many(count, NOW - PRODUCER_IDLE_S), at(NOW))
    outcomes = [batch.decide(append(producer=Stamp(f"new{nr}", 0, 0))) for nr in range(3)]
    assert [isinstance(outcome, AppendOutcome) for outcome in outcomes] == [
        number < accepted for number in range(3)
    ]
    assert told(outcomes[-1]) == (
        StreamLimit,
        {
            "detail": f"the stream has {MAX_PRODUCERS} producers, the most it may have",
            "limit": "stream_producers",
        },
    )
    known = batch.decide(append(producer=Stamp("p0", 0, 1)))
    assert isinstance(known, AppendOutcome)


@pytest.mark.parametrize(
    ("idle_s", "forgotten"), [(PRODUCER_IDLE_S, False), (PRODUCER_IDLE_S + 1, True)]
)
def test_a_full_stream_drops_a_producer_idle_for_over_a_week(
    idle_s: float, forgotten: bool
) -> None:
    known = by_last_use(many(MAX_PRODUCERS, NOW) | {"p7": ProducerState(4, 2, NOW - idle_s)})
    batch = AppendBatch(OPEN, known, at(NOW))
    outcome = batch.decide(append(producer=Stamp("new", 0, 0)))
    assert isinstance(outcome, AppendOutcome) is forgotten
    change = batch.change()
    assert (change and change.forgotten) == (("p7",) if forgotten else None)


async def test_a_stream_forgets_the_producers_that_were_used_least_recently() -> None:
    """Whatever order they came in, and whether this process loaded them or saw their appends."""
    service = Service()
    await service.create("s")
    for name in "abc":
        await service.append("s", b"x", producer=Stamp(name, 0, 0))
        service.clock.now += 1
    await service.append("s", b"x", producer=Stamp("a", 0, 1))
    assert list(service.table.get("s").producers) == ["b", "c", "a"]
    service.table.reload("s")
    await service.table.load("s")
    assert list(service.table.get("s").producers) == ["b", "c", "a"]


async def test_a_forgotten_producer_is_forgotten_by_the_table_and_by_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(appends, "MAX_PRODUCERS", 3)
    service = Service(MemoryLog())
    await service.create("s")
    for number in range(8):
        await service.append("s", b"x", producer=Stamp(f"p{number}", 0, 0))
        service.clock.now += PRODUCER_IDLE_S + 1
    assert len(service.table.get("s").producers) <= 3
    assert len((await service.log.load("s")).producers) <= 3
    with pytest.raises(SequenceGap):
        await service.append("s", b"x", producer=Stamp("p0", 0, 1))


def test_an_idle_producer_that_returns_before_a_new_one_keeps_its_slot() -> None:
    batch = AppendBatch(OPEN, ONE_IDLE, at(NOW))
    assert isinstance(batch.decide(append(producer=Stamp("p7", 4, 3))), AppendOutcome)
    assert told(batch.decide(append(producer=Stamp("new", 0, 0))))[0] is StreamLimit


def test_a_batch_with_a_new_and_a_returning_producer_stays_within_the_limit() -> None:
    """An idle producer's place is given away in a batch, and then it comes back in the same."""
    batch = AppendBatch(OPEN, ONE_IDLE, at(NOW))
    for producer in (Stamp("new", 0, 0), Stamp("p7", 4, 3)):
        batch.decide(append(producer=producer))
    change = change_of(batch)
    left = (ONE_IDLE.keys() - set(change.forgotten)) | {name for name, _ in change.producers}
    assert len(left) <= MAX_PRODUCERS


class Step(NamedTuple):
    """One append of a random history."""

    body: bytes
    producer: Stamp | None
    stream_seq: str | None
    close: bool
    commit: bool


STEPS = st.builds(
    Step,
    st.sampled_from([b"a", b"bb"]),
    st.none() | st.builds(Stamp, st.sampled_from("xy"), st.integers(0, 2), st.integers(0, 3)),
    st.none() | st.sampled_from(["1", "2", "10"]),
    st.integers(0, 15).map(lambda number: number == 0),
    st.booleans(),
)


@dataclass
class Model:
    """Section 5.2 once more, in the plainest words."""

    data: bytes = b""
    closed: bool = False
    closer: Stamp | None = None
    last_seq: str = ""
    producers: dict[str, tuple[int, int]] = field(default_factory=dict)

    def append(self, step: Step) -> str:
        stamp = step.producer
        if self.closed:
            return "known" if stamp is not None and stamp == self.closer else "StreamClosed"
        verdict = "new" if stamp is None else self._stamped(stamp)
        if verdict != "new":
            return verdict
        if step.stream_seq is not None and step.stream_seq <= self.last_seq:
            return "SequenceRegression"
        self._take(step)
        return "stored"

    def _stamped(self, stamp: Stamp) -> str:
        epoch, seq = self.producers.get(stamp.producer_id, (stamp.epoch, -1))
        if stamp.epoch < epoch:
            return "ProducerFenced"
        if stamp.epoch > epoch:
            return "BadRequest" if stamp.seq > 0 else "new"
        if stamp.seq > seq + 1:
            return "SequenceGap"
        return "known" if stamp.seq <= seq else "new"

    def _take(self, step: Step) -> None:
        if step.producer is not None:
            self.producers[step.producer.producer_id] = (step.producer.epoch, step.producer.seq)
        if step.stream_seq is not None:
            self.last_seq = step.stream_seq
        self.data += step.body
        if step.close:
            self.closed, self.closer = True, step.producer


@given(st.lists(STEPS, max_size=40))
def test_batches_decide_like_a_plain_model_for_any_steps(steps: list[Step]) -> None:
    model = Model()
    state = StreamState("s", 5, 2, TEXT)
    producers: dict[str, ProducerState] = {}
    data = b""
    batch = AppendBatch(state, producers, at(NOW))
    for number, step in enumerate([*steps, None]):
        if step is None or step.commit:
            change = batch.change()
            if change is not None:
                assert change.expected == state.version
                state = change.state
                producers |= dict(change.producers)
                data += b"".join(record.data for record in change.records)
            batch = AppendBatch(state, producers, at(NOW + number))
        if step is None:
            break
        outcome = batch.decide(
            append(step.body, TEXT, step.stream_seq, step.producer, close=step.close)
        )
        expected = model.append(step)
        if isinstance(outcome, HeadgateError):
            assert type(outcome).__name__ == expected
        else:
            assert ("stored" if outcome.stored else "known") == expected
            assert outcome.next_offset == format_offset(2, len(model.data))
            assert outcome.closed is model.closed
    assert (data, state.tail, state.closed) == (model.data, len(model.data), model.closed)
    held = {name: (one.epoch, one.seq) for name, one in producers.items()}
    assert held == model.producers
    assert (state.stream_seq or "", state.closed_by) == (model.last_seq, model.closer)


SENT = st.builds(
    append,
    st.sampled_from([b"", b"a", b"bc", b"[1,2]", b"[]", b"{"]),
    st.sampled_from([TEXT, "TEXT/plain; charset=utf-8", "application/json", None]),
    st.none() | st.sampled_from("ab"),
    st.none() | st.builds(Stamp, st.sampled_from("pq"), st.integers(0, 1), st.integers(0, 4)),
    close=st.sampled_from([False, False, False, True]),
    stream_id=st.sampled_from([None, None, 5, 6]),
)


@given(
    st.lists(SENT, max_size=30),
    st.sampled_from([TEXT, "application/json"]),
    st.sampled_from([10, MAX_POSITION - 4]),
    st.sampled_from([Retention(), Retention(max_messages=2), Retention(max_age_s=60)]),
    st.integers(1, 40),
)
@example([append(stream_id=5), append(stream_id=6)], TEXT, 10, Retention(), 40)
def test_a_batch_takes_appends_as_it_decides_them_one_by_one(
    sent: list[Append], content_type: str, tail: int, retention: Retention, most_bytes: int
) -> None:
    state = StreamState("s", 5, 2, content_type, tail=tail)
    known = {"p": ProducerState(0, 0, NOW)}
    one, other = (AppendBatch(state, known, at(NOW), retention) for _ in range(2))
    waiting = [submitted(item, told) for item in sent]
    taken = one.take(waiting, 0, len(waiting), most_bytes)
    while len(taken) < len(sent) and one.size < most_bytes:
        taken += one.take(waiting, len(taken), len(waiting), most_bytes)
    decided = []
    for item in sent:
        if other.size >= most_bytes:
            break
        decided.append(other.decide(item))
    assert list(map(as_value, taken)) == list(map(as_value, decided))
    assert one.change() == other.change()


def as_value(outcome: AppendOutcome | HeadgateError) -> object:
    """An outcome in a form that can be compared."""
    return told(outcome) if isinstance(outcome, HeadgateError) else outcome
