from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.telemetry.collector import Collector, collecting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """A collector, and an environment that names it."""
    async with collecting() as one:
        for name, value in one.environment.items():
            monkeypatch.setenv(name, value)
        yield one
