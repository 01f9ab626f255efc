"""Creation, forks, deletion and expiry, as decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_gateway.errors import (
    BadRequest,
    ConfigurationConflict,
    ContentTypeMismatch,
    HeadgateError,
    StreamGone,
    StreamNotFound,
)
from headgate_gateway.protocol import lifecycle
from headgate_gateway.protocol.lifecycle import CreationOutcome, PathState
from headgate_gateway.protocol.requests import CreateRequest, ForkRequest
from headgate_gateway.protocol.streams.offsets import Offset
from headgate_gateway.protocol.streams.state import (
    NEVER,
    Change,
    ForkPoint,
    Lifetime,
    PastGeneration,
    Record,
    Segment,
    StreamState,
    position_of,
)
from tests.support.manual_clock import at

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate_gateway.protocol.streams.state import ClockReading

NOW = 1_000_000.0
TEXT = "text/plain"
NONE = Lifetime()
HOUR = Lifetime(ttl_s=3600)
NOWHERE = PathState(None)
replace = msgspec.structs.replace


def create(
    body: bytes = b"",
    content_type: str | None = TEXT,
    lifetime: Lifetime = NONE,
    fork: ForkRequest | None = None,
    *,
    close: bool = False,
) -> CreateRequest:
    return CreateRequest(body, content_type, lifetime, close, fork)


PLAIN = StreamState("s", 5, 0, TEXT, created_at=int(NOW))


@pytest.mark.parametrize(("retired", "generation"), [(None, 0), (0, 1), (6, 7)])
def test_a_new_stream_has_an_unused_generation(retired: int | None, generation: int) -> None:
    created, _ = lifecycle.decide_create(PathState(None, retired), "s", create(), 5, at(NOW))
    assert created.state.generation == generation


@pytest.mark.parametrize(
    ("retired", "generation"),
    [(None, int(NOW * 1e6)), (5, int(NOW * 1e6)), (int(NOW * 1e6) + 7, int(NOW * 1e6) + 14)],
    ids=["never seen", "seen long ago", "seen in a future"],
)
def test_a_new_stream_in_a_history_gets_its_generation_from_the_clock(
    retired: int | None, generation: int
) -> None:
    path_state = PathState(None, retired, history=77)
    created, (change,) = lifecycle.decide_create(path_state, "s", create(b"ab"), 5, at(NOW))
    state = replace(PLAIN, tail=2, generation=generation, history=77)
    assert created == CreationOutcome(state, new=True)
    assert change == Change(state, None, (Record(2, b"ab"),))


def test_a_repeated_put_returns_the_existing_stream_in_the_present_history() -> None:
    standing = replace(
        PLAIN, generation=77, history=77, past_generations=(PastGeneration(5, 3),), tail=3
    )
    decision = lifecycle.decide_create(PathState(standing, None, 77), "s", create(), 6, at(NOW))
    assert decision == (CreationOutcome(standing, new=False), ())


EQUAL_CONFIGURATIONS = {
    "an-equal-put": (PLAIN, create()),
    "another-body-and-spelling-of-the-type": (
        PLAIN,
        create(b"another body", "TEXT/plain; charset=utf-8"),
    ),
    "a-stream-with-data": (replace(PLAIN, tail=100), create()),
    "a-closed-stream": (replace(PLAIN, closed=True), create(close=True)),
    "a-stream-near-the-end-of-its-ttl": (
        replace(PLAIN, lifetime=HOUR, deadline=NOW + 1),
        create(lifetime=HOUR),
    ),
    "one-expiry-in-another-spelling": (
        replace(PLAIN, lifetime=Lifetime(expires_at=2e9, expires_text="a")),
        create(lifetime=Lifetime(expires_at=2e9, expires_text="b")),
    ),
}


@pytest.mark.parametrize(
    ("existing", "request_"), EQUAL_CONFIGURATIONS.values(), ids=EQUAL_CONFIGURATIONS
)
def test_a_put_with_the_same_configuration_confirms_the_stream(
    existing: StreamState, request_: CreateRequest
) -> None:
    decision = lifecycle.decide_create(PathState(existing), "s", request_, 6, at(NOW))
    assert decision == (CreationOutcome(existing, new=False), ())


OF_PLAIN_TEXT = "a stream of type text/plain exists here"
OTHER_LIFETIME = "the existing stream has another TTL or expiry"
TAKEN = "the path is taken by a deleted stream that forks still use"
FORK_DIFFERS = "the existing stream has another origin: its fork differs"
CLOSED = replace(PLAIN, closed=True)
ENDING = replace(PLAIN, lifetime=HOUR, deadline=NOW + 9)
FORKED = replace(PLAIN, fork=ForkPoint("r", 1, 0, 0))
DELETED = replace(PLAIN, soft_deleted=True, references=1)
EXPIRED = replace(PLAIN, deadline=NOW, references=1)
OTHER_CONFIGURATIONS = {
    "no-content-type": (PLAIN, create(content_type=None), OF_PLAIN_TEXT),
    "another-content-type": (PLAIN, create(content_type="text/html"), OF_PLAIN_TEXT),
    "closed-where-the-stream-is-open": (PLAIN, create(close=True), "the existing stream is open"),
    "open-where-the-stream-is-closed": (CLOSED, create(), "the existing stream is closed"),
    "a-ttl-where-the-stream-has-none": (PLAIN, create(lifetime=HOUR), OTHER_LIFETIME),
    "no-ttl-where-the-stream-has-one": (ENDING, create(), OTHER_LIFETIME),
    "no-fork-where-the-stream-is-one": (FORKED, create(), FORK_DIFFERS),
    "a-deleted-stream-with-forks": (DELETED, create(), TAKEN),
    "an-expired-stream-with-forks": (EXPIRED, create(), TAKEN),
}


@pytest.mark.parametrize(
    ("existing", "request_", "detail"), OTHER_CONFIGURATIONS.values(), ids=OTHER_CONFIGURATIONS
)
def test_a_put_with_another_configuration_is_a_conflict(
    existing: StreamState, request_: CreateRequest, detail: str
) -> None:
    with pytest.raises(ConfigurationConflict) as refusal:
        lifecycle.decide_create(PathState(existing), "s", request_, 6, at(NOW))
    assert refusal.value.detail == detail


Presence = tuple[StreamState | None, type[HeadgateError] | None]
PRESENT: dict[str, Presence] = {
    "no-stream": (None, StreamNotFound),
    "at-the-deadline": (replace(PLAIN, deadline=NOW), StreamNotFound),
    "after-the-deadline": (replace(PLAIN, deadline=NOW - 1), StreamNotFound),
    "at-the-deadline-with-forks": (EXPIRED, StreamGone),
    "deleted-with-forks": (DELETED, StreamGone),
    "a-millisecond-before-the-deadline": (replace(PLAIN, deadline=NOW + 0.001), None),
    "without-a-deadline": (PLAIN, None),
}
SOURCES: dict[str, Presence] = {
    "no-source": (None, StreamNotFound),
    "an-expired-source": (replace(PLAIN, deadline=NOW), StreamNotFound),
    "an-expired-source-with-forks": (EXPIRED, ConfigurationConflict),
    "a-deleted-source-with-forks": (DELETED, ConfigurationConflict),
    "an-open-source": (PLAIN, None),
    "a-closed-source": (CLOSED, None),
}


@pytest.mark.parametrize(
    ("found", "state", "kind"),
    [
        *(pytest.param(lifecycle.present, *row, id=id_) for id_, row in PRESENT.items()),
        *(pytest.param(lifecycle.source_of, *row, id=id_) for id_, row in SOURCES.items()),
    ],
)
def test_a_stream_or_source_is_found_until_its_deadline_or_deletion(
    found: Callable[[StreamState | None, ClockReading], StreamState],
    state: StreamState | None,
    kind: type[HeadgateError] | None,
) -> None:
    if kind is None:
        assert found(state, at(NOW)) is state
    else:
        with pytest.raises(kind):
            found(state, at(NOW))


SOURCE = StreamState("r", 4, 3, TEXT, version=9, tail=30, lifetime=HOUR, deadline=NOW + 7)


RAISED = replace(
    SOURCE,
    generation=3000,
    history=3000,
    past_generations=(PastGeneration(1000, 10), PastGeneration(2000, 25)),
    lifetime=NONE,
)


@pytest.mark.parametrize(
    ("offset", "position"),
    [(None, 30), (Offset(-1, 0), 0), (Offset(3, 0), 0), (Offset(3, 29), 29), (Offset(3, 30), 30)],
)
def test_a_fork_begins_at_an_offset_of_its_source(offset: Offset | None, position: int) -> None:
    assert lifecycle.fork_position(SOURCE, ForkRequest("/r", offset, 0)) == position


EARLIER = "offset is of an earlier stream at this path: read from the beginning"
LOST = "the log has lost what was before this offset: go on from 0000000000001000_0000000000000010"
UNKNOWN = (
    "offset is of another stream at this path, or of data that the log has lost: "
    "read from the beginning"
)
TRIMMED = (
    "what follows offset is no longer kept: "
    "the stream begins at 0000000000001000_0000000000000005 now"
)
LATER = replace(RAISED, first=5)
NO_PLACES = {
    "an-earlier-generation": (SOURCE, Offset(2, 0), EARLIER),
    "a-later-generation": (SOURCE, Offset(4, 0), NEVER),
    "past-the-tail": (SOURCE, Offset(3, 31), "offset is past the tail of the stream"),
    "lost-data": (LATER, Offset(1000, 11), LOST),
    "an-unknown-generation": (LATER, Offset(9000, 5), UNKNOWN),
    "trimmed-data": (LATER, Offset(1000, 4), TRIMMED),
}


@pytest.mark.parametrize(("source", "offset", "detail"), NO_PLACES.values(), ids=NO_PLACES)
def test_a_fork_at_an_offset_that_is_no_place_in_its_source_is_refused(
    source: StreamState, offset: Offset, detail: str
) -> None:
    with pytest.raises(BadRequest) as refusal:
        lifecycle.fork_position(source, ForkRequest("/r", offset, 0))
    assert (
        refusal.value.detail == f"Stream-Fork-Offset is not a place in the source stream: {detail}"
    )


AT_TAIL = ForkRequest("/r", None, 0)


def fork(
    source: StreamState,
    request: CreateRequest,
    asked: ForkRequest = AT_TAIL,
    prefix: bytes = b"",
    path_state: PathState = NOWHERE,
) -> tuple[CreationOutcome, tuple[Change, ...]]:
    request = replace(request, fork=asked)
    return lifecycle.decide_fork(path_state, "f", request, source, prefix, 8, at(NOW))


def test_a_fork_and_the_reference_to_its_source_are_created_in_one_commit() -> None:
    asked = ForkRequest("/r", Offset(3, 20), 2)
    created, changes = fork(SOURCE, create(b"body", None), asked, b"xy")
    state = StreamState(
        "f",
        8,
        3,
        TEXT,
        tail=26,
        lifetime=HOUR,
        deadline=NOW + 3600,
        fork=ForkPoint("r", 4, 20, 2),
        created_at=int(NOW),
        lineage=(Segment(4, 20, "r"),),
    )
    referenced = replace(SOURCE, version=10, references=1)
    assert created == CreationOutcome(state, new=True)
    assert changes == (
        Change(referenced, 9),
        Change(state, None, (Record(22, b"xy"), Record(26, b"body"))),
    )


@pytest.mark.parametrize(
    ("closed", "close"), [(False, False), (False, True), (True, False), (True, True)]
)
def test_a_fork_is_open_unless_its_request_closes_it(closed: bool, close: bool) -> None:
    created, _ = fork(replace(SOURCE, closed=closed), create(close=close))
    assert created.state.closed is close


SHORT, DATED = Lifetime(ttl_s=5), Lifetime(expires_at=2e6)
LIFETIMES_OF_FORKS = {
    "neither-has-a-lifetime": (NONE, NONE, NONE, None),
    "the-ttl-of-the-source": (HOUR, NONE, HOUR, NOW + 3600),
    "its-own-ttl-instead-of-the-ttl-of-the-source": (HOUR, SHORT, SHORT, NOW + 5),
    "the-expiry-of-the-source": (DATED, NONE, DATED, 2e6),
    "its-own-ttl-instead-of-the-expiry-of-the-source": (DATED, HOUR, HOUR, NOW + 3600),
    "its-own-expiry-instead-of-the-ttl-of-the-source": (HOUR, DATED, DATED, 2e6),
}


@pytest.mark.parametrize(
    ("source", "asked", "lifetime", "deadline"), LIFETIMES_OF_FORKS.values(), ids=LIFETIMES_OF_FORKS
)
def test_a_fork_has_its_requested_lifetime_or_that_of_its_source(
    source: Lifetime, asked: Lifetime, lifetime: Lifetime, deadline: float | None
) -> None:
    created, _ = fork(replace(SOURCE, lifetime=source), create(lifetime=asked))
    assert (created.state.lifetime, created.state.deadline) == (lifetime, deadline)


def test_a_fork_with_another_content_type_is_refused() -> None:
    with pytest.raises(ContentTypeMismatch) as refusal:
        fork(SOURCE, create(content_type="text/html"))
    assert refusal.value.detail == "the source stream holds text/plain"


def test_the_generation_of_a_fork_is_its_sources_or_one_above_those_of_its_path() -> None:
    for retired, generation in ((None, 3), (0, 3), (2, 3), (3, 4), (7, 8)):
        created, _ = fork(SOURCE, create(), path_state=PathState(None, retired))
        assert created.state.generation == generation


@pytest.mark.parametrize("ahead", [0, 1, 900_000])
def test_forks_of_a_source_ahead_of_the_clock_get_generations_of_their_own(ahead: int) -> None:
    """A raised generation lies up to a second ahead; so does one of a gateway with another clock.

    Of two streams in one generation a later fork could give out the bytes of either.
    """
    source = replace(RAISED, generation=int(NOW * 1e6) + ahead)
    path_state = PathState(None, None, history=4000)
    asked = create(b"body", fork=AT_TAIL)
    forks = [
        lifecycle.decide_fork(path_state, "f", asked, source, b"", number, at(NOW))[0].state
        for number in (8, 9)
    ]
    generations = {source.generation, *(fork.generation for fork in forks)}
    assert len(generations) == 3
    assert max(generations) <= source.generation + 1 + 9
    for one in forks:
        assert one.past_generations[-1] == PastGeneration(source.generation, source.tail)


def test_a_fork_begins_at_the_first_retained_position_of_its_source() -> None:
    source = replace(RAISED, first=12)
    for offset, first in ((None, 12), (Offset(2000, 12), 12), (Offset(-1, 0), 0)):
        asked = ForkRequest("/r", offset, 0)
        created, _ = fork(source, create(), asked, path_state=PathState(None, None, 4000))
        assert created.state.first == first <= created.state.tail


def test_an_offset_of_an_earlier_stream_at_the_path_of_a_fork_is_refused() -> None:
    """It stood for other bytes, whatever generation the source has."""
    created, _ = fork(SOURCE, create(), path_state=PathState(None, SOURCE.generation))
    for earlier in (Offset(SOURCE.generation, 5), Offset(SOURCE.generation - 1, 5)):
        with pytest.raises(StreamGone):
            position_of(created.state, earlier)


def test_an_equal_fork_request_confirms_and_a_different_one_conflicts() -> None:
    asked = ForkRequest("/r", Offset(3, 20), 0)
    standing = fork(SOURCE, create(), asked)[0].state
    path_state = PathState(standing)
    confirmed = CreationOutcome(standing, new=False)
    for request in (create(), create(lifetime=HOUR), create(b"x", None)):
        assert fork(SOURCE, request, asked, path_state=path_state) == (confirmed, ())
    others = [
        (SOURCE, ForkRequest("/r", Offset(3, 19), 0), create()),
        (SOURCE, ForkRequest("/r", Offset(3, 20), 1), create()),
        (replace(SOURCE, path="q"), asked, create()),
        (replace(SOURCE, stream_id=44), asked, create()),
        (SOURCE, asked, create(lifetime=Lifetime(ttl_s=9))),
        (SOURCE, asked, create(content_type="text/html")),
        (SOURCE, asked, create(close=True)),
    ]
    for source, wish, request in others:
        with pytest.raises(ConfigurationConflict):
            fork(source, request, wish, path_state=path_state)


STATE = replace(PLAIN, version=4, tail=9, deadline=NOW + 5)


def test_deletion_is_soft_while_a_stream_has_forks() -> None:
    assert lifecycle.remove(STATE) == (Change(STATE, 4, removes=True),)
    source = replace(STATE, references=2)
    gone = replace(source, version=5, soft_deleted=True, deadline=None)
    assert lifecycle.remove(source) == (Change(gone, 4),)


def test_releasing_the_last_fork_removes_a_soft_deleted_source() -> None:
    source = replace(STATE, references=2)
    assert lifecycle.release(source) == (Change(replace(source, version=5, references=1), 4),)
    alive = replace(STATE, references=1)
    assert lifecycle.release(alive) == (Change(replace(alive, version=5, references=0), 4),)
    deleted = replace(STATE, references=1, soft_deleted=True)
    left = replace(deleted, version=5, references=0)
    assert lifecycle.release(deleted) == (Change(left, 4, removes=True),)


def test_writing_a_deadline_changes_only_the_version() -> None:
    assert lifecycle.touched(STATE) == (Change(replace(STATE, version=5), 4),)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12))
def test_a_lineage_names_the_writer_of_each_byte_of_forks(levels: list[tuple[int, int]]) -> None:
    """Each level writes some bytes of its own, and the next one branches off before its tail."""
    state = StreamState("0", 0, 0, TEXT, tail=levels[0][0])
    written = [0] * levels[0][0]
    for level, (back, own) in enumerate(levels, start=1):
        position = max(0, state.tail - back)
        asked = ForkRequest("/r", Offset(0, position), 0)
        created, _ = lifecycle.decide_fork(
            NOWHERE, str(level), create(b"x" * own, fork=asked), state, b"", level, at(NOW)
        )
        state = created.state
        written = written[:position] + [level] * own
        found: list[int] = []
        for segment in (*state.lineage, Segment(state.stream_id, state.tail, state.path)):
            assert segment.path == str(segment.stream_id)
            found += [segment.stream_id] * (segment.end - len(found))
        assert found == written
