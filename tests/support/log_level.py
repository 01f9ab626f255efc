"""The level of a log, which a gateway in the process of the tests changes."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def kept_level(name: str | None = None) -> Iterator[logging.Logger]:
    """Give a log its level back in the end; without a name it is the root of all logs."""
    logger = logging.getLogger(name)
    level = logger.level
    try:
        yield logger
    finally:
        logger.setLevel(level)
