"""Descriptions of subscriptions for clients, and the bodies of wakes for workers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from headgate_gateway.features.subscriptions.state.delivery_state import SnapshotEnd
from headgate_gateway.protocol.streams.offsets import BEGINNING

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Generator, Iterable

    from headgate_gateway.features.subscriptions.state.subscription import (
        DurableSubscription,
        StreamLink,
    )

# Bytes of the streams in a wake: 7,000 names of 50 bytes. Receivers accept bodies of a megabyte.
LONGEST_WAKE = 1 << 20


class WakeSnapshot(NamedTuple):
    """The streams of a wake as JSON texts, and their ends as it has them.

    It `is_partial` if only pending streams are in it, perhaps not even all of them.
    """

    streams: list[bytes]
    ends: dict[str, SnapshotEnd]
    is_partial: bool

    @property
    def members(self) -> dict[str, object]:
        """The members of a wake or a claim that have the streams."""
        array = msgspec.Raw(b"[%b]" % b",".join(self.streams))
        return {"streams": array, "partial": True} if self.is_partial else {"streams": array}


def snapshot(subscription: DurableSubscription, longest: int = LONGEST_WAKE) -> WakeSnapshot:
    """Return the streams of a wake, in `longest` bytes at most."""
    whole = _fit(subscription.links.values(), longest)
    if len(whole.streams) == len(subscription.links):
        return whole
    return _fit(subscription.pending.values(), longest)._replace(is_partial=True)


def take_snapshot(subscription: DurableSubscription, counts: Counter[str]) -> WakeSnapshot:
    """Return the streams of a wake that is sent now, note their ends, and count it if partial."""
    taken = snapshot(subscription)
    counts["partial"] += taken.is_partial
    subscription.snapshot_ends = taken.ends
    return taken


def _fit(links: Iterable[StreamLink], longest: int) -> WakeSnapshot:
    """Return a snapshot of the first links that fit, at least one."""
    texts: list[bytes] = []
    ends: dict[str, SnapshotEnd] = {}
    size = 2
    for link in links:
        text = msgspec.json.encode(stream_info(link))
        size += len(text) + 1
        if size > longest and texts:
            break
        texts.append(text)
        state = link.stream.state
        if state is not None:
            ends[link.stream.path] = SnapshotEnd(state.stream_id, state.tail, state.closed)
    return WakeSnapshot(texts, ends, False)


def link_info(link: StreamLink) -> dict[str, Any]:
    """Return a link as the description of its subscription has it."""
    link_type = "explicit" if link.is_explicit else "glob"
    return {"path": link.stream.path, "link_type": link_type, "acked_offset": acked_offset(link)}


def stream_info(link: StreamLink) -> dict[str, Any]:
    """Return a link as a wake has it.

    It says so if the stream is closed, or begins after the cursor by now.
    """
    state = link.stream.state
    info = link_info(link)
    info["tail_offset"] = BEGINNING if state is None else state.offset(state.tail)
    info["has_pending"] = link.is_pending
    if state is None:
        return info
    if state.closed:
        info["closed"] = True
    if state.first > link.position:
        info["trimmed"] = True
        info["first_offset"] = state.offset(state.first)
    return info


def acked_offset(link: StreamLink) -> str:
    """Return the offset of a cursor; `-1` is the beginning of a stream that is not forked."""
    state = link.stream.state
    if state is None or link.position == state.unforked_start:
        return BEGINNING
    return state.offset(link.position)


def description(
    subscription: DurableSubscription, signing: dict[str, str] | None
) -> Generator[None, None, bytes]:
    """Return a subscription as JSON; each link is a step, as there may be many."""
    texts: list[bytes] = []
    for link in list(subscription.links.values()):
        texts.append(msgspec.json.encode(link_info(link)))
        yield
    configuration, delivery = subscription.configuration, subscription.delivery
    webhook = None
    if configuration.webhook_url is not None:
        webhook = {"url": configuration.webhook_url, "signing": signing}
    document = {
        "id": subscription.id,
        "subscription_id": subscription.id,
        "type": configuration.type,
        "pattern": configuration.pattern,
        "streams": msgspec.Raw(b"[%b]" % b",".join(texts)),
        "webhook": webhook,
        "wake_stream": configuration.wake_stream,
        "lease_ttl_ms": configuration.lease_ttl_ms,
        "created_at": timestamp(subscription.created_at),
        "status": subscription.status,
        "description": configuration.description,
        "generation": delivery.generation,
        "last_error": subscription.last_error,
        "next_attempt_at": _optional_timestamp(delivery.next_attempt_at),
        "paused_at": _optional_timestamp(delivery.paused_at),
    }
    return msgspec.json.encode(document)


def _optional_timestamp(moment: float | None) -> str | None:
    return None if moment is None else timestamp(moment)


def timestamp(moment: float) -> str:
    """Return a time in the form of RFC 3339, to the millisecond."""
    text = datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
