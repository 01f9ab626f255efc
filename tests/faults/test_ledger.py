"""The checker must see each kind of broken promise, or a clean torture run says nothing."""

from __future__ import annotations

import pytest

from tests.faults.ledger import Faults, Ledger


def _ledger() -> Ledger:
    """Two writers with three acknowledged appends each, the second one with a fourth unanswered."""
    return Ledger("a", is_json=True, closes_after=99, acked={1: 3, 2: 3}, open={2})


def _content(ledger: Ledger, *appends: tuple[int, int]) -> list[bytes]:
    return [message for append in appends for message in ledger.messages(*append)]


WHOLE = ((1, 0), (2, 0), (2, 1), (1, 1), (1, 2), (2, 2))


@pytest.mark.parametrize("unanswered", [(), ((2, 3),)])
def test_the_ledger_accepts_an_unanswered_append_that_is_there_or_not(
    unanswered: tuple[tuple[int, int], ...],
) -> None:
    ledger = _ledger()
    ends, faults = ledger.check(_content(ledger, *WHOLE, *unanswered))
    assert faults == Faults()
    assert list(ends) == [*WHOLE, *unanswered]


@pytest.mark.parametrize(
    ("appends", "kind"),
    [
        pytest.param(WHOLE[:-1], "lost", id="an-acknowledged-append-is-absent"),
        pytest.param((*WHOLE, (2, 2)), "duplicated", id="an-acknowledged-append-is-there-twice"),
        pytest.param(
            (*WHOLE, (2, 3), (2, 3)), "duplicated", id="an-unacknowledged-append-is-there-twice"
        ),
        pytest.param(
            ((1, 1), (1, 0), (1, 2), *((2, n) for n in range(3))),
            "misplaced",
            id="two-appends-change-places",
        ),
        pytest.param(
            (*WHOLE, (1, 3)), "misplaced", id="an-append-behind-those-of-the-next-process"
        ),
        pytest.param((*WHOLE, (2, 3), (2, 4)), "misplaced", id="an-append-beyond-the-last-sent"),
        pytest.param((*WHOLE, (3, 0)), "misplaced", id="an-append-of-an-unknown-process"),
    ],
)
def test_the_ledger_counts_each_kind_of_broken_promise(
    appends: tuple[tuple[int, int], ...], kind: str
) -> None:
    ledger = _ledger()
    _, faults = ledger.check(_content(ledger, *appends))
    assert getattr(faults, kind) > 0
