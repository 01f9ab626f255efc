"""Subscriptions as operators see them: pages of a list, and one with its streams."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from headgate_gateway.features.questions.after import decode_after, encode_after
from headgate_gateway.features.questions.subscriptions import (
    LINKS,
    LinkRow,
    SubscriptionDescription,
    SubscriptionPage,
    SubscriptionRank,
    SubscriptionStatus,
    SubscriptionSummary,
    WakeRow,
    rank_of,
)
from headgate_gateway.features.subscriptions.bodies import stream_info
from headgate_gateway.features.subscriptions.metrics import no_states, status_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from headgate_gateway.features.questions.subscriptions import (
        DescribeSubscription,
        ListSubscriptions,
        SubscriptionQuery,
    )
    from headgate_gateway.features.subscriptions.engine import RouteSubscriptions
    from headgate_gateway.features.subscriptions.state.subscription import (
        DurableSubscription,
        StreamLink,
    )

_Found = tuple[SubscriptionRank, "DurableSubscription", SubscriptionStatus]


def list_subscriptions(
    engine: RouteSubscriptions, question: ListSubscriptions
) -> Generator[None, None, SubscriptionPage]:
    """Return a page; each subscription is a step. Raises BadRequest for an `after` of no page."""
    where = question.where
    after = decode_after(question.after, tuple[float, str, str])
    states = no_states()
    found: list[_Found] = []
    total = 0
    prefix, now = engine.prefix, engine.clock()
    for one in list(engine.by_id.values()):
        yield
        status = status_of(one, now)
        states[status] += 1
        if one.phase != "active" or not _fits(one, status, where):
            continue
        total += 1
        rank = rank_of(question.order, prefix, one.id, len(one.pending), oldest_at(one))
        if after is None or rank > after:
            found.append((rank, one, status))
    page = heapq.nsmallest(question.limit + 1, found, key=lambda it: it[0])
    rows = tuple(
        row_of(prefix, one, status, with_urls=where.with_urls)
        for _, one, status in page[: question.limit]
    )
    is_last = len(page) <= question.limit
    next_after = None if is_last else encode_after(page[-2][0])
    return SubscriptionPage(rows, total, states, next_after)


def _fits(one: DurableSubscription, status: SubscriptionStatus, where: SubscriptionQuery) -> bool:
    configuration = one.configuration
    if where.status is not None and status != where.status:
        return False
    if where.kind is not None and configuration.type != where.kind:
        return False
    text = where.text.lower()
    if not text:
        return True
    shown = (
        one.id,
        configuration.pattern,
        receiver_of(one, with_urls=where.with_urls),
        configuration.wake_stream,
        configuration.description,
        _owner(one),
        one.delivery.last_error,
        *configuration.streams,
    )
    return any(it is not None and text in it.lower() for it in shown)


def receiver_of(one: DurableSubscription, *, with_urls: bool) -> str | None:
    """Return the URL of a webhook, or its beginning: its path may be a password."""
    url = one.configuration.webhook_url
    if url is None or with_urls:
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/…"


def _owner(one: DurableSubscription) -> str:
    return one.account if one.owner is None else one.owner.name or one.account


def oldest_at(one: DurableSubscription) -> float | None:
    """Return since when something waits for its acknowledgement; None if nothing does."""
    return one.delivery.waiting_since if one.pending else None


def row_of(
    prefix: str, one: DurableSubscription, status: SubscriptionStatus, *, with_urls: bool
) -> SubscriptionSummary:
    """Return a subscription as a list shows it."""
    configuration, delivery = one.configuration, one.delivery
    return SubscriptionSummary(
        route=prefix,
        id=one.id,
        kind=configuration.type,
        status=status,
        pattern=configuration.pattern,
        receiver=receiver_of(one, with_urls=with_urls),
        wake_stream=configuration.wake_stream,
        owner=_owner(one),
        streams=len(one.links),
        pending=len(one.pending),
        oldest_at=oldest_at(one),
        is_in_flight=delivery.wake is not None,
        failures=delivery.failures,
        last_error=one.last_error,
    )


def describe(
    engine: RouteSubscriptions, one: DurableSubscription, question: DescribeSubscription
) -> SubscriptionDescription:
    """Return a subscription with a page of its streams, by name."""
    configuration, delivery = one.configuration, one.delivery
    links: Iterable[StreamLink] = (one.pending if question.only_pending else one.links).values()
    behind = (it for it in links if it.stream.path > question.after)
    page = heapq.nsmallest(LINKS + 1, behind, key=lambda it: it.stream.path)
    wake = delivery.wake
    status = status_of(one, engine.clock())
    return SubscriptionDescription(
        row=row_of(engine.prefix, one, status, with_urls=question.with_urls),
        description=configuration.description,
        lease_ttl_ms=configuration.lease_ttl_ms,
        created_at=one.created_at,
        generation=delivery.generation,
        wake=None if wake is None else WakeRow(wake.holder, wake.lease_until, wake.announcements),
        paused_at=delivery.paused_at,
        failing_since=delivery.failing_since,
        next_attempt_at=delivery.next_attempt_at,
        links=tuple(map(_link_row, page[:LINKS])),
        after=page[LINKS - 1].stream.path if len(page) > LINKS else None,
    )


def _link_row(link: StreamLink) -> LinkRow:
    info = stream_info(link)
    return LinkRow(
        stream=link.stream.path,
        is_explicit=link.is_explicit,
        acked=info["acked_offset"],
        tail=None if link.stream.state is None else info["tail_offset"],
        is_pending=link.is_pending,
        is_closed=info.get("closed", False),
    )
