"""The store of rendered answers: its bound, its order, and its freshness."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_gateway.protocol.responses import Response
from headgate_gateway.protocol.streams.state import StreamState
from headgate_gateway.store import ENTRY_OVERHEAD, LARGEST_SHARE, MAX_GROUP, USED_SHARE, Store
from headgate_gateway.streams.reads import RenderedChunk, groups
from headgate_gateway.telemetry.traffic import CacheShare, Hits

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1000.0
EMPTY = ENTRY_OVERHEAD  # bytes of an answer without lines and body
Row = tuple[str, int, int, bool]


def entry(
    key: str,
    size: int = EMPTY,
    stream_id: int = 1,
    *,
    at_tail: bool = False,
    expires_at: float | None = None,
    owner: CacheShare | None = None,
) -> RenderedChunk:
    """An answer that counts so many bytes."""
    made = RenderedChunk(
        key,
        groups(StreamState("s", stream_id, 0, "a/b"), until_change=at_tail),
        Response(304, "", b"x" * (size - EMPTY)),
        owner=owner or CacheShare(),
        hit_counter=Hits(),
        expires_at=expires_at,
    )
    assert made.size == size
    return made


def store_of(max_bytes: int) -> Store[RenderedChunk]:
    return Store(max_bytes)


def kept(store: Store[RenderedChunk], keys: str) -> str:
    return "".join(key for key in keys if store.get(key, NOW) is not None)


def test_a_cached_response_is_counted_with_its_bytes_and_overhead() -> None:
    made = RenderedChunk(
        "k",
        (),
        Response(200, "A: b\r\n", b"rest", "tag"),
        owner=CacheShare(),
        hit_counter=Hits(),
    )
    assert (made.lines, made.body) == (b"A: b\r\n", b"rest")
    assert made.size == len(made.lines) + len(made.body) + ENTRY_OVERHEAD
    store = store_of(100_000)
    store.put(made)
    assert (store.get("k", NOW), store.bytes, len(store)) == (made, made.size, 1)
    assert store.get("l", NOW) is None


@pytest.mark.parametrize(("more", "left"), [(0, "abcdefgh"), (1, "bcdefgh")])
def test_the_byte_bound_of_the_store_is_exact_and_evicts_the_oldest(more: int, left: str) -> None:
    store, owner = store_of(8000), CacheShare()
    for key in "abcdefg":
        store.put(entry(key, 1000, owner=owner))
    store.put(entry("h", 1000 if not more else 999))
    assert owner.evictions == 0
    if more:
        store.put(entry("h", 1000))
        store.put(entry("i", 1000))
        assert (store.bytes, owner.evictions, owner.bytes, owner.entries) == (8000, 1, 6000, 6)
    assert kept(store, "abcdefgh") == left


@pytest.mark.parametrize(("more", "first"), [(-1, True), (0, True), (1, False)])
def test_the_responses_dropped_by_one_change_are_bounded(more: int, first: bool) -> None:
    store, owner = store_of(1 << 30), CacheShare()
    store.put(entry("other", stream_id=2))
    for number in range(MAX_GROUP + more):
        store.put(entry(str(number), owner=owner))
    assert (store.get("0", NOW) is not None) is first
    assert store.get("1", NOW) is not None
    assert store.get("other", NOW) is not None
    assert len(store) == min(MAX_GROUP + more, MAX_GROUP) + 1
    assert owner.evictions == max(more, 0)


def test_a_store_of_size_zero_caches_nothing() -> None:
    store = store_of(0)
    store.put(entry("a"))
    assert (len(store), store.bytes, store.get("a", NOW)) == (0, 0, None)


def test_a_cleared_store_is_empty_and_usable() -> None:
    store, owner = store_of(100_000), CacheShare()
    store.put(entry("a", stream_id=1, at_tail=True, owner=owner))
    store.put(entry("b", stream_id=2, owner=owner))
    store.get("b", NOW)
    store.clear()
    assert (kept(store, "ab"), len(store), store.bytes) == ("", 0, 0)
    assert (owner.entries, owner.bytes, owner.evictions) == (0, 0, 0)
    store.put(entry("b"))
    assert (kept(store, "ab"), store.bytes) == ("b", EMPTY)


@pytest.mark.parametrize(("now", "there"), [(9.9, True), (10.0, False), (10.1, False)])
def test_a_response_is_cached_only_until_its_stream_expires(now: float, there: bool) -> None:
    store = store_of(100_000)
    store.put(entry("a", expires_at=10.0))
    assert (store.get("a", now) is not None, len(store)) == (there, int(there))


@pytest.mark.parametrize(("more", "left"), [(2, "ab"), (3, "abc"), (4, "bcd")])
def test_the_number_of_cached_responses_is_bounded(
    monkeypatch: pytest.MonkeyPatch, more: int, left: str
) -> None:
    monkeypatch.setattr("headgate_gateway.store.MAX_ENTRIES", 3)
    store: Store[RenderedChunk] = Store(100_000)
    owner = CacheShare()
    for key in "abcd"[:more]:
        store.put(entry(key, owner=owner))
    assert (kept(store, "abcd"), owner.evictions) == (left, max(0, more - 3))


OPERATIONS = st.one_of(
    st.tuples(
        st.just("put"),
        st.sampled_from("abcdefghijkl"),
        st.integers(EMPTY, EMPTY + 500),
        st.integers(0, 2),
        st.booleans(),
    ),
    st.tuples(st.just("get"), st.sampled_from("abcdefghijkl")),
    st.tuples(st.just("changed"), st.integers(0, 2), st.booleans()),
    st.tuples(st.just("cleared")),
)


class Model:
    """The same with plain lists of (key, size, stream, at_tail), least recently used first."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.new: list[Row] = []
        self.used: list[Row] = []

    def put(self, row: Row) -> None:
        was_used = any(one[0] == row[0] for one in self.used)
        self.keep(lambda one: one[0] != row[0])
        if row[1] > self.limit // LARGEST_SHARE:
            return
        (self.used if was_used else self.new).append(row)
        self.demote()
        while sum(one[1] for one in self.rows) > self.limit:
            del (self.new or self.used)[0]

    def get(self, key: str) -> bool:
        rows = [one for one in self.rows if one[0] == key]
        self.keep(lambda one: one[0] != key)
        self.used += rows
        self.demote()
        return bool(rows)

    def demote(self) -> None:
        while sum(one[1] for one in self.used) > self.limit * USED_SHARE:
            self.new.append(self.used.pop(0))

    def keep(self, stays: Callable[[Row], bool]) -> None:
        self.new = [one for one in self.new if stays(one)]
        self.used = [one for one in self.used if stays(one)]

    @property
    def rows(self) -> list[Row]:
        return self.new + self.used


@given(st.lists(OPERATIONS, max_size=60))
def test_the_store_holds_what_a_model_of_plain_lists_holds(
    operations: list[tuple[object, ...]],
) -> None:
    limit = 8 * (EMPTY + 400)
    store = store_of(limit)
    model = Model(limit)
    for operation in operations:
        match operation:
            case ("put", str(key), int(size), int(stream_id), bool(at_tail)):
                store.put(entry(key, size, stream_id, at_tail=at_tail))
                model.put((key, size, stream_id, at_tail))
            case ("get", str(key)):
                assert (store.get(key, NOW) is not None) == model.get(key)
            case ("changed", int(stream_id), bool(whole)):
                store.drop(stream_id if whole else ("tail", stream_id))
                model.keep(lambda one: one[2] != stream_id or not (whole or one[3]))
            case ("cleared",):
                store.clear()
                model.keep(lambda _: False)
            case _:
                raise AssertionError(operation)
        assert (len(store), store.bytes) == (len(model.rows), sum(one[1] for one in model.rows))
    assert kept(store, "abcdefghijkl") == "".join(sorted(one[0] for one in model.rows))
