"""Creations under way are remembered until they are answered, and only so many of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.features.subscriptions.origins import origin_streams
from gateway.features.subscriptions.origins.origin_streams import EmptyCreations

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.mark.parametrize(
    ("writes", "is_empty"),
    [([True], True), ([True, True], True), ([True, False], False), ([False], False), ([], False)],
    ids=["empty", "empty-twice", "empty-and-with-data", "with-data", "none"],
)
def test_a_stream_is_empty_if_all_writes_that_may_have_created_it_leave_it_so(
    writes: Sequence[bool], *, is_empty: bool
) -> None:
    creations = EmptyCreations()
    for creates_empty in writes:
        creations.note("a", creates_empty=creates_empty)
    assert creations.pop("a") is is_empty
    assert not creations.pop("a")


@pytest.mark.parametrize(("number", "are_known"), [(2, [True, True]), (3, [False, True, True])])
def test_the_oldest_creations_without_an_answer_are_forgotten(
    number: int, are_known: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origin_streams, "MOST_CREATIONS", 2)
    creations = EmptyCreations()
    names = [f"s{one}" for one in range(number)]
    for name in names:
        creations.note(name, creates_empty=True)
    assert [creations.pop(name) for name in names] == are_known
