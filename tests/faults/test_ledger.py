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


def test_the_ledger_counts_half_an_append_as_torn() -> None:
    ledger = _ledger()
    number = next(n for n in range(99) if len(ledger.messages(1, n)) == 3)
    ledger.acked = {1: number}
    ledger.open = {1}
    whole = _content(ledger, *((1, n) for n in range(number + 1)))
    assert ledger.check(whole)[1] == Faults()
    assert ledger.check(whole[:-1])[1].torn > 0


def test_the_ledger_counts_a_changed_byte_as_a_torn_and_lost_append() -> None:
    ledger = _ledger()
    found = _content(ledger, *WHOLE)
    found[0] = found[0].replace(b'"text":"', b'"text":"x')
    faults = ledger.check(found)[1]
    assert (faults.torn, faults.lost) >= (1, 1)


def test_the_ledger_reports_an_offset_acknowledged_twice_as_misplaced() -> None:
    ledger = _ledger()
    ledger.offsets = {(1, 0): "0_5", (2, 0): "0_5"}
    assert ledger.check(_content(ledger, *WHOLE))[1].misplaced == 1


def test_the_ledger_counts_an_append_after_the_closing_one_as_misplaced() -> None:
    ledger = _ledger()
    ledger.closer, ledger.is_closed = (1, 2), True
    assert ledger.check(_content(ledger, *WHOLE))[1].misplaced == 1


def test_the_ledger_counts_half_a_line_of_text_as_torn() -> None:
    ledger = Ledger("t", is_json=False, closes_after=99, acked={1: 1})
    body = ledger.body(1, 0)
    assert ledger.check(ledger.split(body))[1] == Faults()
    assert ledger.check(ledger.split(body[:-5]))[1].torn > 0
