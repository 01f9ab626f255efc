"""These tests run on the event loop that serves in production, and on both ways to an origin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.origin import opening
from tests.support.event_loops import pytest_asyncio_loop_factories as pytest_asyncio_loop_factories

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have each test of a module that asks both ways run on both, unless it names its own."""
    if getattr(metafunc.module, "BOTH_WAYS", False) and "way" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("on_the_way")
        ways = opening.WAYS if only is None else only.args
        metafunc.parametrize("way", ways, indirect=True)


@pytest.fixture(autouse=True)
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """How `opening.send` asks."""
    opening.way = getattr(request, "param", opening.GENERAL)
    yield opening.way
    opening.way = opening.GENERAL
