"""These tests run on the event loop that serves in production."""

from __future__ import annotations

import pytest

from headgate_gateway.web.connections import contract
from tests.support.event_loops import pytest_asyncio_loop_factories as pytest_asyncio_loop_factories


@pytest.fixture
def quick_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for slow clients often."""
    monkeypatch.setattr(contract, "SWEEP_S", 0.05)
