"""The store of rendered answers: its bound, its order, and its freshness."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.store import ENTRY_OVERHEAD, LARGEST_SHARE, Entry, Store
from gateway.protocol.state import Change, StreamState

NOW = 1000.0


def entry(key: str, size: int = ENTRY_OVERHEAD, stream_id: int = 1, **fields: object) -> Entry:
    """An answer that counts so many bytes."""
    made = Entry(key, stream_id, b"x" * (size - ENTRY_OVERHEAD), **fields)  # type: ignore[arg-type] # one of Entry's
    assert made.size == size
    return made


def change(stream_id: int, *, removes: bool = False, soft_deleted: bool = False) -> Change:
    state = StreamState("s", stream_id, 0, "a/b", version=1, soft_deleted=soft_deleted)
    return Change(state, 0, removes=removes)


def kept(store: Store, keys: str) -> str:
    return "".join(key for key in keys if store.get(key, NOW) is not None)


def test_an_answer_counts_its_bytes_and_what_holds_them() -> None:
    made = Entry("k", 1, b"rest", fields="fields", etag="tag")
    assert made.size == 4 + 6 + ENTRY_OVERHEAD
    store = Store(100_000)
    store.put(made, at_tail=False)
    assert (store.get("k", NOW), store.bytes, len(store)) == (made, made.size, 1)
    assert (store.hits, store.misses, made.hits) == (1, 0, 1)
    assert store.get("l", NOW) is None
    assert (store.hits, store.misses) == (1, 1)


@pytest.mark.parametrize(("more", "left"), [(0, "abcdefgh"), (1, "bcdefgh")])
def test_the_bound_holds_at_its_edge_and_the_oldest_goes(more: int, left: str) -> None:
    store = Store(8000)
    for key in "abcdefg":
        store.put(entry(key, 1000), at_tail=False)
    store.put(entry("h", 1000 if not more else 999), at_tail=False)
    assert store.evictions == 0
    if more:
        store.put(entry("h", 1000), at_tail=False)
        store.put(entry("i", 1000), at_tail=False)
        assert (store.bytes, store.evictions) == (8000, 1)
    assert kept(store, "abcdefgh") == left


def test_what_is_used_stays() -> None:
    store = Store(8000)
    for key in "abcdefgh":
        store.put(entry(key, 1000), at_tail=False)
    store.get("a", NOW)
    store.put(entry("i", 1000), at_tail=False)
    store.put(entry("j", 1000), at_tail=False)
    assert kept(store, "abcdefghij") == "adefghij"


@pytest.mark.parametrize(("size", "taken"), [(999, True), (1000, True), (1001, False)])
def test_an_answer_that_would_push_out_too_many_is_not_kept(size: int, taken: bool) -> None:
    store = Store(1000 * LARGEST_SHARE)
    store.put(entry("a", size), at_tail=False)
    assert (len(store), store.bytes) == ((1, size) if taken else (0, 0))


def test_a_store_of_nothing_keeps_nothing() -> None:
    store = Store(0)
    store.put(entry("a"), at_tail=False)
    assert (len(store), store.bytes, store.get("a", NOW)) == (0, 0, None)


def test_a_new_answer_takes_the_place_of_the_old() -> None:
    store = Store(100_000)
    store.put(entry("a", 1000), at_tail=True)
    again = entry("a", 2000)
    store.put(again, at_tail=False)
    assert (store.get("a", NOW), store.bytes, len(store)) == (again, 2000, 1)
    store.changed(change(1))  # the old one was at the tail, this one is not
    assert store.get("a", NOW) is again


def test_a_change_drops_what_was_at_the_tail_of_its_stream_and_nothing_else() -> None:
    store = Store(100_000)
    store.put(entry("a", stream_id=1), at_tail=True)
    store.put(entry("b", stream_id=1), at_tail=False)
    store.put(entry("c", stream_id=2), at_tail=True)
    store.changed(change(1))
    assert kept(store, "abc") == "bc"
    store.changed(change(3))
    assert kept(store, "abc") == "bc"


@pytest.mark.parametrize(
    "gone", [change(1, removes=True), change(1, soft_deleted=True)], ids=["removed", "deleted"]
)
def test_the_end_of_a_stream_drops_all_its_answers(gone: Change) -> None:
    store = Store(100_000)
    store.put(entry("a", stream_id=1), at_tail=True)
    store.put(entry("b", stream_id=1), at_tail=False)
    store.put(entry("c", stream_id=2), at_tail=False)
    store.changed(gone)
    assert (kept(store, "abc"), len(store), store.bytes) == ("c", 1, ENTRY_OVERHEAD)


@pytest.mark.parametrize(("now", "there"), [(9.9, True), (10.0, False), (10.1, False)])
def test_an_answer_ends_with_its_stream(now: float, there: bool) -> None:
    store = Store(100_000)
    store.put(entry("a", expires_at=10.0), at_tail=False)
    assert (store.get("a", now) is not None, len(store), store.misses) == (
        there,
        int(there),
        int(not there),
    )


OPERATIONS = st.one_of(
    st.tuples(
        st.just("put"),
        st.sampled_from("abcdefghijkl"),
        st.integers(ENTRY_OVERHEAD, ENTRY_OVERHEAD + 500),
        st.integers(0, 2),
        st.booleans(),
    ),
    st.tuples(st.just("get"), st.sampled_from("abcdefghijkl")),
    st.tuples(st.just("changed"), st.integers(0, 2), st.booleans()),
)


@given(st.lists(OPERATIONS, max_size=60))
def test_it_holds_what_a_plain_list_would(operations: list[tuple[object, ...]]) -> None:
    limit = 8 * (ENTRY_OVERHEAD + 400)
    store = Store(limit)
    model: list[tuple[object, int, object, object]] = []  # least recently used first
    for operation in operations:
        match operation:
            case ("put", str(key), int(size), int(stream_id), bool(at_tail)):
                store.put(entry(key, size, stream_id), at_tail=at_tail)
                if size <= limit // LARGEST_SHARE:
                    model = [row for row in model if row[0] != key]
                    model.append((key, size, stream_id, at_tail))
                    while sum(row[1] for row in model) > limit:
                        del model[0]
            case ("get", str(key)):
                found = store.get(key, NOW)
                rows = [row for row in model if row[0] == key]
                assert (found is not None) == bool(rows)
                model = [row for row in model if row[0] != key] + rows
            case ("changed", int(stream_id), bool(removes)):
                store.changed(change(stream_id, removes=removes))
                model = [
                    row for row in model if row[2] != stream_id or not (removes or row[3] is True)
                ]
            case _:
                raise AssertionError(operation)
        assert (len(store), store.bytes) == (len(model), sum(row[1] for row in model))
