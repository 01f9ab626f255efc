"""These tests run on the event loop that serves in production, and say how much they tried."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.event_loops import pytest_asyncio_loop_factories as pytest_asyncio_loop_factories

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Writes into the report of the run, also of a test that passes."""

    def write(text: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f" {text} ")

    return write
