"""Questions of operators about the subscriptions of a gateway, changes to them, and the answers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

import msgspec

from headgate_gateway.features.questions.after import merged_page

if TYPE_CHECKING:
    from collections.abc import Sequence

SubscriptionStatus = Literal["active", "failed", "stuck", "paused"]
SubscriptionKind = Literal["webhook", "pull-wake"]
SubscriptionOrder = Literal["id", "pending", "oldest"]

FEATURE = "subscriptions"  # the name of their FeatureKind
SUBSCRIPTIONS = 50  # of a page by default
MOST_SUBSCRIPTIONS = 500
LINKS = 100  # streams of a subscription on one page
MOST_REPLAYED = 1_000  # streams that a replay names one by one; all need no names

SubscriptionRank = tuple[float, str, str]


class SubscriptionQuery(msgspec.Struct, frozen=True):
    """A choice of subscriptions; an empty field chooses all.

    Without `with_urls` the paths of webhooks are neither returned nor compared: some receivers take
    them for a password.
    """

    route: str = ""  # its prefix
    text: str = ""  # in the id, the pattern, the receiver, the wake stream, the owner or the error
    status: SubscriptionStatus | None = None
    kind: SubscriptionKind | None = None
    with_urls: bool = False


class SubscriptionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription as a list shows it. Times are epoch seconds.

    `receiver` is the URL of the webhook, or its beginning for viewers without the right
    to see the rest. `oldest_at` is since when something waits for its acknowledgement.
    """

    route: str
    id: str
    kind: SubscriptionKind
    status: SubscriptionStatus
    pattern: str | None
    receiver: str | None
    wake_stream: str | None
    owner: str  # its name; empty without an owner
    streams: int
    pending: int
    oldest_at: float | None
    is_in_flight: bool
    failures: int
    last_error: str | None

    def rank(self, order: SubscriptionOrder) -> SubscriptionRank:
        """Return the sort key of the row."""
        return rank_of(order, self.route, self.id, self.pending, self.oldest_at)


def rank_of(
    order: SubscriptionOrder, route: str, subscription_id: str, pending: int, oldest: float | None
) -> SubscriptionRank:
    """Return a sort key: the most pending streams, or what waits longest, come first."""
    if order == "id":
        return 0.0, route, subscription_id
    if order == "pending":
        return -float(pending), route, subscription_id
    # The largest float, as JSON has no infinity.
    return sys.float_info.max if oldest is None else oldest, route, subscription_id


class ListSubscriptions(msgspec.Struct, tag=True, frozen=True):
    """The subscriptions that `where` chooses, a page of them.

    `after` is the `after` of the page before: JSON with the rank of its last row.
    """

    where: SubscriptionQuery
    order: SubscriptionOrder = "id"
    after: str = ""
    limit: int = SUBSCRIPTIONS


class SubscriptionPage(msgspec.Struct, tag=True, frozen=True):
    """Subscriptions, where the next page begins (None when there is none), and their number.

    `states` counts those of the chosen route by their status, whatever else was chosen.
    """

    rows: tuple[SubscriptionSummary, ...]
    total: int
    states: dict[SubscriptionStatus, int]
    after: str | None = None


def merged_pages(
    question: ListSubscriptions, pages: Sequence[SubscriptionPage], *, total: int
) -> SubscriptionPage:
    """Return one page of several, in which each subscription is once; `total` fit in all."""
    rows: dict[tuple[str, str], SubscriptionSummary] = {}
    for page in pages:
        for row in page.rows:
            rows.setdefault((row.route, row.id), row)
    shown, after = merged_page(
        rows.values(),
        lambda row: row.rank(question.order),
        question.limit,
        has_more=any(it.after is not None for it in pages),
    )
    return SubscriptionPage(shown, total, pages[0].states, after)


class DescribeSubscription(msgspec.Struct, tag=True, frozen=True):
    """A question for one subscription with a page of its streams, those after `after`."""

    route: str
    id: str
    after: str = ""
    only_pending: bool = False
    with_urls: bool = False


class LinkRow(msgspec.Struct, frozen=True):
    """A stream of a subscription; `tail` is None while it does not exist."""

    stream: str
    is_explicit: bool
    acked: str
    tail: str | None
    is_pending: bool
    is_closed: bool = False


class WakeRow(msgspec.Struct, frozen=True):
    """The wake in flight: the worker that has claimed it, and until when (epoch seconds)."""

    holder: str | None
    lease_until: float | None
    announcements: int


class SubscriptionDescription(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """A subscription as its page shows it. Times are epoch seconds."""

    row: SubscriptionSummary
    description: str | None
    lease_ttl_ms: int
    created_at: float
    generation: int
    wake: WakeRow | None
    paused_at: float | None
    failing_since: float | None
    next_attempt_at: float | None
    links: tuple[LinkRow, ...] = ()
    after: str | None = None  # where the next page of links begins


class DeleteSubscription(msgspec.Struct, tag=True, frozen=True):
    """Delete a subscription with its cursors."""

    route: str
    id: str


class PauseSubscription(msgspec.Struct, tag=True, frozen=True):
    """Send no wakes of a subscription from now on, or again if it `resumes`."""

    route: str
    id: str
    resumes: bool = False


class ReplaySubscription(msgspec.Struct, tag=True, frozen=True):
    """Set cursors back to an offset, or to the beginning if there is none.

    `streams` are names, or none for all streams of the subscription.
    """

    route: str
    id: str
    streams: tuple[str, ...] = ()
    offset: str | None = None


class DeletionResult(msgspec.Struct, tag=True, frozen=True):
    """The answer to a deletion: whether the subscription was there."""

    was_there: bool


class ReplayResult(msgspec.Struct, tag=True, frozen=True):
    """The answer to a replay: how many cursors were set back, and the generation from now on."""

    streams: int
    generation: int


SubscriptionQuestion = (
    ListSubscriptions
    | DescribeSubscription
    | DeleteSubscription
    | PauseSubscription
    | ReplaySubscription
)
SubscriptionAnswer = SubscriptionPage | SubscriptionDescription | DeletionResult | ReplayResult
