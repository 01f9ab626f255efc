"""The subscriptions of all routes: listed, described, and changed by operators."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, TypeVar

import msgspec

from admin.answers import answers_of
from gateway.features.questions.subscriptions import (
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
    merged_pages,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.features.questions.contract import Question
    from gateway.features.questions.process_source import ProcessSource
    from gateway.features.questions.subscriptions import ListSubscriptions

A = TypeVar("A")


class ConsoleSubscriptions:
    """The subscriptions, and the changes of operators to them. A failure raises NotTold."""

    def __init__(self, source: ProcessSource, prefixes: Sequence[str]) -> None:
        """`prefixes` are those of the routes that can have subscriptions."""
        self._source = source
        self.prefixes = prefixes

    async def page(self, question: ListSubscriptions) -> SubscriptionPage:
        """Return a page of subscriptions."""
        answers = await answers_of(self._source, question, SubscriptionPage)
        if len(answers) == 1:
            return answers[0]
        return merged_pages(question, answers, total=max(it.total for it in answers))

    async def describe(self, question: DescribeSubscription) -> SubscriptionDescription:
        """Return a subscription with a page of its streams."""
        return await self._one(question, SubscriptionDescription)

    async def put(self, route: str, name: str, body: msgspec.Raw) -> SubscriptionDescription:
        """Create a subscription, or confirm it; return it."""
        return await self._one(
            PutSubscription(route, name, body, _change_id()), SubscriptionDescription
        )

    async def delete(self, route: str, name: str) -> bool:
        """Delete a subscription; return whether it was there."""
        found = await answers_of(
            self._source, DeleteSubscription(route, name, _change_id()), DeletionResult
        )
        return any(it.was_there for it in found)

    async def pause(self, route: str, name: str, *, resumes: bool) -> SubscriptionDescription:
        """Send no wakes any more, or again; return the subscription."""
        return await self._one(
            PauseSubscription(route, name, resumes, _change_id()), SubscriptionDescription
        )

    async def replay(self, question: ReplaySubscription) -> ReplayResult:
        """Set cursors back; return how many."""
        changed = msgspec.structs.replace(question, change_id=_change_id())
        return await self._one(changed, ReplayResult)

    async def test(self, route: str, name: str) -> ReceiverTestResult:
        """Send a test to the receiver of a webhook; return its answer."""
        return await self._one(SendTestDelivery(route, name, _change_id()), ReceiverTestResult)

    async def _one(self, question: Question, kind: type[A]) -> A:
        """Return the answer of the process that has the subscription."""
        return (await answers_of(self._source, question, kind))[0]


def _change_id() -> str:
    return secrets.token_hex(12)
