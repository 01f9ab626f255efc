"""What tests before a gateway with a proxy share: a client that gives up in time, and a Redis."""

from __future__ import annotations

from tests.models.conftest import http
from tests.models.shared.conftest import origin, redis

__all__ = ["http", "origin", "redis"]
