"""What tests before a gateway with a proxy share: a client that gives up in time."""

from __future__ import annotations

from tests.models.conftest import http

__all__ = ["http"]
