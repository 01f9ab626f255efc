"""The subscriptions of all routes: listed, described, and changed by operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec

from headgate_admin.access.audit import audited
from headgate_admin.answers import feature_answers
from headgate_admin.model.kinds import Viewer
from headgate_admin.operation import operation
from headgate_gateway.features.questions.subscriptions import (
    FEATURE,
    MOST_REPLAYED,
    MOST_SUBSCRIPTIONS,
    SUBSCRIPTIONS,
    DeleteSubscription,
    DeletionResult,
    DescribeSubscription,
    ListSubscriptions,
    PauseSubscription,
    ReplayResult,
    ReplaySubscription,
    SubscriptionDescription,
    SubscriptionKind,
    SubscriptionOrder,
    SubscriptionPage,
    SubscriptionQuery,
    SubscriptionStatus,
    merged_pages,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.features.questions.process_source import ProcessSource

A = TypeVar("A")
Text = Annotated[str, msgspec.Meta(max_length=1024)]


class OfSubscriptions(msgspec.Struct, frozen=True):
    """A page of the subscriptions that fulfil the conditions, after the `after` of another page.

    `text` is in the id, the pattern, the streams by name, the receiver, the wake stream, the
    description, the owner or the last error.
    """

    route: str = ""
    text: Text = ""
    status: SubscriptionStatus | None = None
    kind: SubscriptionKind | None = None
    order: SubscriptionOrder = "id"
    after: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_SUBSCRIPTIONS)] = SUBSCRIPTIONS


class OfSubscription(msgspec.Struct, frozen=True):
    """A subscription by its id, which is not percent-encoded."""

    route: str
    id: str


class OfLinks(OfSubscription, frozen=True):
    """A subscription with 100 of its streams, those after `after`, or only the pending ones."""

    after: str = ""
    pending: bool = False


class ReplayWish(OfSubscription, frozen=True, forbid_unknown_fields=True):
    """A subscription, and the place to which its cursors are set back.

    That is an `offset` of the stream that is named, or else the beginning. Without `streams` it
    applies to all.
    """

    streams: Annotated[tuple[str, ...], msgspec.Meta(max_length=MOST_REPLAYED)] = ()
    offset: Annotated[str, msgspec.Meta(max_length=256)] | None = None


class ConsoleSubscriptions:
    """The subscriptions, and the changes of operators to them. A failure raises ConsoleError."""

    def __init__(self, source: ProcessSource, prefixes: Sequence[str]) -> None:
        """`prefixes` are those of the routes that can have subscriptions."""
        self._source = source
        self.prefixes = prefixes

    @operation("GET", "/api/v1/subscriptions")
    async def page(self, query: OfSubscriptions, viewer: Viewer) -> SubscriptionPage:
        """Return a page of subscriptions."""
        where = SubscriptionQuery(
            query.route, query.text, query.status, query.kind, viewer.is_operator
        )
        question = ListSubscriptions(where, query.order, query.after, query.limit)
        answers = await feature_answers(self._source, FEATURE, question, SubscriptionPage)
        if len(answers) == 1:
            return answers[0]
        return merged_pages(question, answers, total=max(it.total for it in answers))

    @operation("GET", "/api/v1/subscription")
    async def describe(self, query: OfLinks, viewer: Viewer) -> SubscriptionDescription:
        """Return a subscription with a page of its streams."""
        return await self._one(
            DescribeSubscription(
                query.route, query.id, query.after, query.pending, viewer.is_operator
            ),
            SubscriptionDescription,
        )

    @operation("DELETE", "/api/v1/subscription")
    async def delete(self, query: OfSubscription, viewer: Viewer) -> None:
        """Delete a subscription, if it is there."""
        with audited(viewer, "delete the subscription", query.route, query.id) as logged:
            question = DeleteSubscription(query.route, query.id)
            found = await feature_answers(self._source, FEATURE, question, DeletionResult)
            logged["was_there"] = int(any(it.was_there for it in found))

    @operation("POST", "/api/v1/subscription/pause")
    async def pause(self, body: OfSubscription, viewer: Viewer) -> SubscriptionDescription:
        """Send no wakes of a subscription any more."""
        with audited(viewer, "pause the subscription", body.route, body.id):
            question = PauseSubscription(body.route, body.id)
            return await self._one(question, SubscriptionDescription)

    @operation("POST", "/api/v1/subscription/resume")
    async def resume(self, body: OfSubscription, viewer: Viewer) -> SubscriptionDescription:
        """Send wakes of a subscription again."""
        with audited(viewer, "resume the subscription", body.route, body.id):
            question = PauseSubscription(body.route, body.id, resumes=True)
            return await self._one(question, SubscriptionDescription)

    @operation("POST", "/api/v1/subscription/replay")
    async def replay(self, body: ReplayWish, viewer: Viewer) -> ReplayResult:
        """Set cursors of a subscription back, and return how many."""
        with audited(viewer, "replay the subscription", body.route, body.id) as logged:
            offset = body.offset
            logged["from"] = "the beginning" if offset is None else f"offset {offset[:100]}"
            logged["named"] = len(body.streams)
            question = ReplaySubscription(body.route, body.id, body.streams, offset)
            # Each worker passes the question on to the log: the first one sets the cursors.
            answers = await feature_answers(self._source, FEATURE, question, ReplayResult)
            done = max(answers, key=lambda it: it.streams)
            logged |= {"streams": done.streams, "generation": done.generation}
        return done

    async def _one(self, question: msgspec.Struct, kind: type[A]) -> A:
        """Return the answer of the process that has the subscription."""
        return (await feature_answers(self._source, FEATURE, question, kind))[0]
