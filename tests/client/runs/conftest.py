"""One Headgate for all tests of runs, and two replicas of an application before it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from headgate.runs import Runs

from tests.support.processes import headgate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.processes import Headgate

ORPHAN_AFTER_S = 1  # the shortest
MAX_APPEND = 300_000  # bytes: less than of what aiohttp warns


@pytest.fixture(scope="package")
def server() -> Iterator[Headgate]:
    with headgate(environment={"HEADGATE_MAX_APPEND": str(MAX_APPEND)}) as started:
        yield started


@pytest.fixture
def url(server: Headgate) -> str:
    return f"{server.streams}/{uuid.uuid4().hex}"


@pytest.fixture
async def runs(url: str) -> AsyncIterator[Runs]:
    runs = Runs(url, orphan_after=ORPHAN_AFTER_S)
    yield runs
    await runs.close(wait=0)


@pytest.fixture
async def other(url: str) -> AsyncIterator[Runs]:
    other = Runs(url, orphan_after=ORPHAN_AFTER_S)
    yield other
    await other.close(wait=0)
