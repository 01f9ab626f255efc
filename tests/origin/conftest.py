"""These tests run on the event loop that serves in production."""

from __future__ import annotations

from tests.support.event_loops import pytest_asyncio_loop_factories as pytest_asyncio_loop_factories
