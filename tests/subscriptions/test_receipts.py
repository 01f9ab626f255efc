"""Changes are kept until their taker is confirmed as the owner, and reported again otherwise."""

from __future__ import annotations

import pytest

from gateway.features.subscriptions.shared.changes import (
    RECEIPT_S,
    SentReport,
    SentReports,
    TakenChanges,
)


@pytest.mark.parametrize(
    ("owner", "after_s", "is_lost"),
    [
        pytest.param("a", RECEIPT_S, False, id="may-still-be-taken"),
        pytest.param("a", RECEIPT_S + 0.01, True, id="no-response-in-time"),
        pytest.param("b", 0.0, True, id="another-owner"),
        pytest.param("", 0.0, True, id="no-owner-or-this-gateway"),
    ],
)
def test_a_report_is_lost_if_its_receiver_does_not_respond_or_owns_no_more(
    owner: str, after_s: float, *, is_lost: bool
) -> None:
    sent = SentReports()
    for number, path in enumerate(("answered", "open")):
        sent.add(number, SentReport("a", 100.0, {path: False}))
    sent.drop([0, 7])
    assert sent.streams == 1
    assert sent.take_lost(owner, 100.0 + after_s) == ([{"open": False}] if is_lost else [])
    assert sent.streams == (0 if is_lost else 1)


def test_a_beat_confirms_what_was_taken_before_it_began_and_nothing_since() -> None:
    taken = TakenChanges(10)
    taken.add_own("old", is_new=False)
    taken.add_report("a", 1)
    taken.begin_beat()
    taken.add_own("late", is_new=True)
    taken.add_report("a", 2)
    assert taken.confirm() == {"a": [1]}
    assert taken.take_lost() == {"late": True}
    assert taken.confirm() == {}


def test_a_beat_that_failed_confirms_nothing() -> None:
    taken = TakenChanges(10)
    taken.add_own("new", is_new=True)
    taken.add_report("a", 1)
    taken.begin_beat()
    taken.add_own("new", is_new=False)
    taken.begin_beat()
    assert taken.take_lost() == {"new": True}
    assert taken.confirm() == {}


@pytest.mark.parametrize("number", [2, 3])
def test_more_own_changes_than_may_be_kept_are_only_known_to_be_some(number: int) -> None:
    taken = TakenChanges(2)
    for name in range(number):
        taken.add_own(f"e{name}", is_new=False)
    taken.begin_beat()
    assert taken.are_too_many is (number > 2)
    taken.add_own("late", is_new=False)
    taken.confirm()
    assert taken.are_too_many is (number > 2)  # the late one may be among them
    taken.begin_beat()
    taken.confirm()
    assert not taken.are_too_many
    assert taken.take_lost() == {}
