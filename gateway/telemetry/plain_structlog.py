"""structlog, as it is without rich and greenlet.

Where another package has brought rich, structlog would load it, 3 MB with pygments, for tracebacks
that are written without it here; so it would greenlet, 0.3 MB, for threads that there are none of.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def _without(package: str) -> Iterator[None]:
    """Hide a package from imports in the block, unless it was imported before."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment] # so Python says that there is none
    try:
        yield
    finally:
        del sys.modules[package]


with _without("rich"), _without("greenlet"):
    import structlog

__all__ = ["structlog"]
