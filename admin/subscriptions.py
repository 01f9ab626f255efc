"""The subscriptions of all routes: listed, described, and changed by operators."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeVar

import msgspec

from admin.answers import answers_of
from gateway.telemetry.inspected.subscriptions import (
    DeleteSubscription,
    DeletionResult,
    DescribeSubscription,
    PauseSubscription,
    PutSubscription,
    ReceiverTestResult,
    ReplayResult,
    ReplaySubscription,
    SendTestDelivery,
    SubscriptionDescription,
    SubscriptionPage,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from admin.source import ProcessSource
    from gateway.telemetry.inspected.subscriptions import (
        ListSubscriptions,
        SubscriptionOrder,
        SubscriptionStatus,
        SubscriptionSummary,
    )
    from gateway.telemetry.inspection import Question

A = TypeVar("A")


class ConsoleSubscriptions:
    """The subscriptions, and the changes of operators to them. A failure raises NotTold."""

    def __init__(self, source: ProcessSource) -> None:
        self._source = source

    async def page(self, question: ListSubscriptions) -> SubscriptionPage:
        """Return a page of subscriptions."""
        answers = await answers_of(self._source, question, SubscriptionPage)
        return answers[0] if len(answers) == 1 else _merged(question, answers)

    async def describe(self, question: DescribeSubscription) -> SubscriptionDescription:
        """Return a subscription with a page of its streams."""
        return await self._one(question, SubscriptionDescription)

    async def put(self, route: str, name: str, body: msgspec.Raw) -> SubscriptionDescription:
        """Create a subscription, or confirm it; return it."""
        return await self._one(PutSubscription(route, name, body), SubscriptionDescription)

    async def delete(self, route: str, name: str) -> bool:
        """Delete a subscription; return whether it was there."""
        found = await answers_of(self._source, DeleteSubscription(route, name), DeletionResult)
        return any(it.was_there for it in found)

    async def pause(self, route: str, name: str, *, resumes: bool) -> SubscriptionDescription:
        """Send no wakes any more, or again; return the subscription."""
        return await self._one(PauseSubscription(route, name, resumes), SubscriptionDescription)

    async def replay(self, question: ReplaySubscription) -> ReplayResult:
        """Set cursors back; return how many."""
        return await self._one(question, ReplayResult)

    async def test(self, route: str, name: str) -> ReceiverTestResult:
        """Send a test to the receiver of a webhook; return its answer."""
        return await self._one(SendTestDelivery(route, name), ReceiverTestResult)

    async def _one(self, question: Question, kind: type[A]) -> A:
        """Return the answer of the process that has the subscription."""
        return (await answers_of(self._source, question, kind))[0]


def _merged(question: ListSubscriptions, answers: Sequence[SubscriptionPage]) -> SubscriptionPage:
    """Merge the pages of several processes; each subscription is in the answer once."""
    order: SubscriptionOrder = question.order
    rows: dict[tuple[str, str], SubscriptionSummary] = {}
    states: Counter[SubscriptionStatus] = Counter()
    for answer in answers:
        for row in answer.rows:
            rows.setdefault((row.route, row.id), row)
        states |= Counter(answer.states)
    chosen = sorted(rows.values(), key=lambda row: row.rank(order))
    afters = [it.after for it in answers if it.after is not None]
    more = None
    if afters or len(chosen) > question.limit:
        chosen = chosen[: question.limit]
        last = chosen[-1].rank(order)
        more = msgspec.json.encode(
            (None if last[0] == float("inf") else last[0], *last[1:])
        ).decode()
    total = max(it.total for it in answers)
    return SubscriptionPage(tuple(chosen), total, dict(states), more)
