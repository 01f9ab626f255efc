"""These tests run on the event loop that serves in production."""

from __future__ import annotations

import pytest

from headgate_gateway.edge.followed import poll_loop
from tests.support.event_loops import pytest_asyncio_loop_factories as pytest_asyncio_loop_factories


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat a failed poll of an origin soon: readers get its error after several."""
    monkeypatch.setattr(poll_loop, "FIRST_BACKOFF_S", 0.01)
