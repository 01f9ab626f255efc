"""Purges are sent at once here; those who ask for the settling time set it."""

from __future__ import annotations

import pytest

from headgate_gateway.purge import purger


@pytest.fixture(autouse=True)
def _no_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purger, "SETTLE_S", 0.0)
