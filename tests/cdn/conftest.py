"""These tests run on the event loop that serves in production, before one origin."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.cdn.candidates import edge as started_edge
from tests.cdn.edges import VIEWERS
from tests.cdn.origin import headgate_origin
from tests.support.event_loops import pytest_asyncio_loop_factories as pytest_asyncio_loop_factories
from tests.support.examples import IS_WHOLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cdn.edges import Edge
    from tests.cdn.origin import HeadgateOrigin

FEW = 25  # which show what a crowd shows: `make torture` and the table have 200
POLL_S = 3.0  # so long that on a busy machine, too, everybody waits before there are news


@pytest.fixture(scope="module")
def origin(processes: None) -> Iterator[HeadgateOrigin]:
    with headgate_origin(POLL_S) as started:
        yield started


@pytest.fixture(scope="module")
def edge(processes: None, request: pytest.FixtureRequest, origin: HeadgateOrigin) -> Iterator[Edge]:
    """That of a candidate, which a test is parametrised with."""
    with started_edge(request.param, origin) as started:
        yield replace(started, viewers=VIEWERS if IS_WHOLE else FEW)
