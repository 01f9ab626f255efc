"""The audit log: the changes, their users and their times."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from headgate_admin.errors import ConsoleError
from headgate_gateway.protocol.http.paths import MAX_PATH_BYTES
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_admin.model.kinds import Viewer

AuditFields = dict[str, str | int]


@contextmanager
def audited(by: Viewer, operation: str, route: str, name: str) -> Iterator[AuditFields]:
    """Log who has changed something, or has tried to, with the fields that the block adds.

    A change that was answered with 5xx, or that was broken off, may have been made all the same.
    """
    fields: AuditFields = {
        "operation": operation,
        "route": route[:MAX_PATH_BYTES],
        "stream": name[:MAX_PATH_BYTES],  # a longer one is refused
        "by": by.name,
    }
    try:
        yield fields
    except BaseException as failure:
        status = failure.status if isinstance(failure, ConsoleError) else None
        log.info("admin.change_failed", **fields, status=status)
        raise
    log.info("admin.changed", **fields)
