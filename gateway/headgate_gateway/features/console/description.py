"""The description of a stream, as its page on the dashboard shows it."""

from __future__ import annotations

import heapq
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from headgate_gateway.features.console.reader_states import readers_by_mode
from headgate_gateway.features.questions.streams import (
    MOST_PRODUCERS,
    ProducerRow,
    StreamDescription,
)
from headgate_gateway.protocol.streams.limits import StreamLimits, in_force
from headgate_gateway.protocol.streams.state import LEFT_TO_THE_ROUTE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from headgate_gateway.features.questions.streams import StreamRow
    from headgate_gateway.protocol.streams.limits import Retention
    from headgate_gateway.protocol.streams.state import ProducerState, StreamState
    from headgate_gateway.streams.active_stream import ActiveStream

RETENTION_LIMITS = (  # and how they are shown
    ("retention_age", "keeps records for", "s"),
    ("retention_size", "keeps the newest", "bytes"),
    ("retention_messages", "keeps the last", "messages"),
)


def described(
    row: StreamRow, state: StreamState, active: ActiveStream, retention: Retention
) -> StreamDescription:
    """Return a stream's description, with its readers in this process; its route's retention."""
    limits = _limits_of(state, retention)
    return StreamDescription(
        row,
        dict(_metadata(state, limits)),
        _producers(active.producers),
        len(active.producers),
        readers_by_mode(active.feeds),
        limits,
    )


def _limits_of(state: StreamState, retention: Retention) -> StreamLimits:
    """Return the limits of a stream whose route has `retention`."""
    limits, own = in_force(state, retention), state.own_retention or LEFT_TO_THE_ROUTE
    names = {
        "retention_age": own.max_age_s,
        "retention_size": own.max_bytes,
        "retention_messages": own.max_messages,
        "ttl": state.created_lifetime,
    }
    return StreamLimits(
        limits.max_age_s,
        limits.max_bytes,
        limits.max_messages,
        state.lifetime.ttl_s or 0 if state.lifetime.expires_at is None else None,
        tuple(name for name, value in names.items() if value is not None),
    )


def _metadata(state: StreamState, limits: StreamLimits) -> Iterator[tuple[str, str]]:
    yield "content type", state.content_type
    yield "generation", str(state.generation)
    if state.created_at is not None:
        yield "created", _moment(state.created_at)
    if limits.ttl or "ttl" in limits.own:
        yield "lives on after its last use for", _limit(limits, "ttl", "s", "ever")
    if state.deadline is not None:
        yield "ends", _moment(state.deadline)
    if state.fork is not None:
        yield "forked from", state.fork.source_path
    if state.references:
        yield "forks that need it", str(state.references)
    yield "begins at", state.offset(state.first)
    yield "size", f"{state.size} bytes"
    for name, title, unit in RETENTION_LIMITS:
        if getattr(limits, name) or name in limits.own:
            yield title, _limit(limits, name, unit, "all")
    yield "closed", "yes" if state.closed else "no"


def _limit(limits: StreamLimits, name: str, unit: str, unlimited: str) -> str:
    number = getattr(limits, name)
    shown = f"{number} {unit}" if number else unlimited
    return f"{shown}, set for this stream" if name in limits.own else shown


def _moment(seconds: float) -> str:
    """Return epoch seconds as RFC 3339 text, or as a number where no calendar has them."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError):
        return f"{seconds:.0f} s after 1970"


def _producers(known: Mapping[str, ProducerState]) -> tuple[ProducerRow, ...]:
    """Return the producers that were used last."""
    latest = heapq.nlargest(MOST_PRODUCERS, known.items(), key=lambda item: item[1].used_at)
    return tuple(ProducerRow(name, state.epoch, state.seq) for name, state in latest)
