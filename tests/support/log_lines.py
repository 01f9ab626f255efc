"""Lines of the log of a gateway in the process of the tests, in place of their way to stderr."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Line = dict[str, Any]
Lines = list[Line]


@contextmanager
def log_lines_to(note: Callable[[Line], object]) -> Iterator[None]:
    """Call `note` with each line of the log in the block, of any level, and write none."""

    def collect(level: int, event: str, fields: Line) -> None:
        note({**fields, "event": event, "log_level": logging.getLevelName(level).lower()})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "log", collect)
        yield


@contextmanager
def capture_logs() -> Iterator[Lines]:
    """Collect the lines of the log in the block, of any level, and write none."""
    lines: Lines = []
    with log_lines_to(lines.append):
        yield lines
