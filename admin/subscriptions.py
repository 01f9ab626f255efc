"""The subscriptions of all routes: listed, described, and changed by operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from admin.access.audit import audited
from admin.answers import answers_of
from gateway.features.questions.subscriptions import (
    DeleteSubscription,
    DeletionResult,
    DescribeSubscription,
    PauseSubscription,
    ReplayResult,
    ReplaySubscription,
    SubscriptionDescription,
    SubscriptionPage,
    merged_pages,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from admin.model.viewer import Viewer
    from gateway.features.questions.contract import Question
    from gateway.features.questions.process_source import ProcessSource
    from gateway.features.questions.subscriptions import ListSubscriptions

A = TypeVar("A")


class ConsoleSubscriptions:
    """The subscriptions, and the changes of operators to them. A failure raises ConsoleError."""

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

    async def delete(self, route: str, name: str, by: Viewer) -> None:
        """Delete a subscription, if it is there."""
        with audited(by, "delete the subscription", route, name) as logged:
            found = await answers_of(self._source, DeleteSubscription(route, name), DeletionResult)
            logged["was_there"] = int(any(it.was_there for it in found))

    async def pause(
        self, route: str, name: str, by: Viewer, *, resumes: bool
    ) -> SubscriptionDescription:
        """Send no wakes any more, or again; return the subscription."""
        with audited(by, f"{'resume' if resumes else 'pause'} the subscription", route, name):
            return await self._one(PauseSubscription(route, name, resumes), SubscriptionDescription)

    async def replay(self, question: ReplaySubscription, by: Viewer) -> ReplayResult:
        """Set cursors back; return how many. Workers hand it on: the first one sets them."""
        with audited(by, "replay the subscription", question.route, question.id) as logged:
            offset = question.offset
            logged["from"] = "the beginning" if offset is None else f"offset {offset[:100]}"
            logged["named"] = len(question.streams)
            answers = await answers_of(self._source, question, ReplayResult)
            done = max(answers, key=lambda it: it.streams)
            logged |= {"streams": done.streams, "generation": done.generation}
        return done

    async def _one(self, question: Question, kind: type[A]) -> A:
        """Return the answer of the process that has the subscription."""
        return (await answers_of(self._source, question, kind))[0]
