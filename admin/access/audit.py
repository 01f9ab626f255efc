"""Who has changed what, for whoever has to know it later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from admin.access.check import VIEWER
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from aiohttp import web


def audit(request: web.Request, operation: str, route: str, name: str) -> None:
    """Leave a line that tells who has changed a stream."""
    log.info(
        "admin.changed", operation=operation, route=route, stream=name, by=request[VIEWER].name
    )
