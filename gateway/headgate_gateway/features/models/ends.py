"""The ends of completions: one table, for the gateway that writes one and any that ends it later.

`docs/models.md` has the same table for operators.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from headgate.dialects.progress import CANCELLED, EarlyEnd

if TYPE_CHECKING:
    from headgate.dialects.progress import AnswerProgress

Outcome: TypeAlias = Literal["complete", "failed", "aborted", "left"]
# Why no more events are written: the provider's response is over, or broke; the gateway failed, or
# stops, or is gone; nobody reads; or a client stops the completion, here or at another gateway.
Cause: TypeAlias = Literal[
    "over", "broken", "failed", "stopping", "gone", "unread", "stopped", "stopped elsewhere"
]
# What the events have said by then; "no dialect" is also the end of events that no dialect has.
Said: TypeAlias = Literal["failure", "end", "no dialect", "anything"]

UNREAD_S = 5.0  # longer than a client takes to come back after a cut, or between two polls
UNREAD = EarlyEnd("answer_left", f"nobody has read the answer for {UNREAD_S:g} seconds")
NOT_ENDED = EarlyEnd("answer_not_ended", "the provider ended its answer without the last event")
ABORTED = EarlyEnd("answer_aborted", "a client has aborted the request")
DELETED = EarlyEnd("answer_deleted", "the stream of the answer was deleted")
RESTARTED = EarlyEnd("gateway_stopped", "the gateway stopped in the middle of the answer")
LOST = EarlyEnd("gateway_stopped", "another gateway has ended the answer")
INTERNAL = EarlyEnd("internal_error", "the gateway failed")


class Ending(NamedTuple):
    """The end of a completion: why it is not complete, and whether its key begins another one."""

    outcome: Outcome
    failure: EarlyEnd | None = None
    frees_key: bool = False

    @property
    def reason(self) -> str | None:
        """The sentence that says why it is not complete."""
        return None if self.failure is None else self.failure.sentence


class Rule(NamedTuple):
    """A row of the table: what these causes make of events that have said this.

    Without an `outcome`, the provider's failure decides, which then is the last event.
    """

    causes: tuple[Cause, ...]
    said: Said
    outcome: Outcome | None
    frees_key: bool = False


# The first rule that fits decides. A first event that is a failure frees the key as well.
_ENDED_BY_EVENTS: tuple[Cause, ...] = (
    "over",
    "broken",
    "stopping",
    "gone",
    "unread",
    "stopped elsewhere",
)
RULES = (
    Rule(_ENDED_BY_EVENTS, "failure", None),
    Rule(_ENDED_BY_EVENTS, "end", "complete"),
    Rule(("over",), "no dialect", "complete"),
    Rule(("over",), "anything", "failed", frees_key=True),
    Rule(("broken", "failed", "gone"), "anything", "failed"),
    Rule(("unread",), "anything", "left", frees_key=True),
    Rule(("stopping", "stopped", "stopped elsewhere"), "anything", "aborted"),
)


def ending(cause: Cause, progress: AnswerProgress, failure: EarlyEnd) -> Ending:
    """Return the end of a completion whose events have come so far, with the cause's `failure`."""
    said = {
        "failure": progress.failure is not None,
        "end": progress.has_ended,
        "no dialect": progress.may_end,
        "anything": True,
    }
    rule = next(it for it in RULES if cause in it.causes and said[it.said])
    frees_key = rule.frees_key or (progress.is_refused and cause != "stopped")
    if rule.outcome is None and progress.failure is not None:
        outcome: Outcome = "aborted" if progress.failure == CANCELLED else "failed"
        return Ending(outcome, progress.failure, frees_key)
    outcome = rule.outcome or "failed"
    return Ending(outcome, None if outcome == "complete" else failure, frees_key)


def written_ending(outcome: Outcome, progress: AnswerProgress) -> Ending:
    """Return the end of a completion whose stream was closed with an outcome.

    The events of a proxy do not say why.
    """
    failure = {"aborted": ABORTED, "failed": RESTARTED}.get(outcome)
    frees_key = progress.is_refused or outcome == "left"
    return Ending(outcome, progress.failure or failure, frees_key)
