"""The operations of the JSON API about subscriptions."""

from __future__ import annotations

from typing import Annotated

import msgspec
from aiohttp import web

from admin.access.check import VIEWER
from admin.api.operation import operation
from admin.console import CONSOLE
from gateway.features.questions.subscriptions import (
    MOST_REPLAYED,
    MOST_SUBSCRIPTIONS,
    SUBSCRIPTIONS,
    DescribeSubscription,
    ListSubscriptions,
    ReplayResult,
    ReplaySubscription,
    SubscriptionDescription,
    SubscriptionKind,
    SubscriptionOrder,
    SubscriptionPage,
    SubscriptionQuery,
    SubscriptionStatus,
)

Text = Annotated[str, msgspec.Meta(max_length=1024)]


class OfSubscriptions(msgspec.Struct, frozen=True):
    """A page of the subscriptions that fulfil the conditions, behind the `after` of another page.

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


class ReplayBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A subscription, and the place to which its cursors are set back.

    That is an `offset` of the stream that is named, or else the beginning. Without `streams` all
    are meant.
    """

    route: str
    id: str
    streams: Annotated[tuple[str, ...], msgspec.Meta(max_length=MOST_REPLAYED)] = ()
    offset: Annotated[str, msgspec.Meta(max_length=256)] | None = None


@operation("GET", "/api/v1/subscriptions")
async def listed(request: web.Request, query: OfSubscriptions) -> SubscriptionPage:
    """Return a page of subscriptions."""
    with_urls = request[VIEWER].role == "operator"
    where = SubscriptionQuery(query.route, query.text, query.status, query.kind, with_urls)
    question = ListSubscriptions(where, query.order, query.after, query.limit)
    return await request.app[CONSOLE].subscriptions.page(question)


@operation("GET", "/api/v1/subscription")
async def described(request: web.Request, query: OfLinks) -> SubscriptionDescription:
    """Return a subscription with a page of its streams."""
    with_urls = request[VIEWER].role == "operator"
    question = DescribeSubscription(query.route, query.id, query.after, query.pending, with_urls)
    return await request.app[CONSOLE].subscriptions.describe(question)


@operation("DELETE", "/api/v1/subscription")
async def delete(request: web.Request, query: OfSubscription) -> None:
    """Delete a subscription, if it is there."""
    subscriptions = request.app[CONSOLE].subscriptions
    await subscriptions.delete(query.route, query.id, request[VIEWER])


@operation("POST", "/api/v1/subscription/pause")
async def pause(request: web.Request, body: OfSubscription) -> SubscriptionDescription:
    """Send no wakes of a subscription any more."""
    subscriptions = request.app[CONSOLE].subscriptions
    return await subscriptions.pause(body.route, body.id, request[VIEWER], resumes=False)


@operation("POST", "/api/v1/subscription/resume")
async def resume(request: web.Request, body: OfSubscription) -> SubscriptionDescription:
    """Send wakes of a subscription again."""
    subscriptions = request.app[CONSOLE].subscriptions
    return await subscriptions.pause(body.route, body.id, request[VIEWER], resumes=True)


@operation("POST", "/api/v1/subscription/replay")
async def replay(request: web.Request, body: ReplayBody) -> ReplayResult:
    """Set cursors of a subscription back."""
    question = ReplaySubscription(body.route, body.id, body.streams, body.offset)
    return await request.app[CONSOLE].subscriptions.replay(question, request[VIEWER])
