"""Appends to a stream that all its subscriptions have pending, and what ends that."""

from __future__ import annotations

import pytest

from headgate_gateway.protocol.streams.state import Change, StreamState
from tests.subscriptions.receivers import ends_of, subscribed


@pytest.mark.parametrize(
    ("body", "line"), [(b'{"n":2}', "X-None: 1"), (b"", "Stream-Closed: true")]
)
async def test_what_a_log_has_lost_is_not_pending(body: bytes, line: str) -> None:
    """After a failover, Redis may have neither the last append nor the close of a stream."""
    async with subscribed() as gateway:
        await gateway.pull("s", pattern="*")
        await gateway.create("a", body=b'{"n":1}')
        _, claimed = await gateway.claim()
        await gateway.ack(claimed, *ends_of(claimed))
        before = gateway.engine.membership.state_of("a")
        assert isinstance(before, StreamState)
        await gateway.append("a", body, line)
        assert gateway.engine.by_id["s"].pending
        gateway.engine.on_change(Change(before, before.version))
        assert not gateway.engine.by_id["s"].pending
