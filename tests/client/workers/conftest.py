"""One Headgate for all tests of workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.client.workers.pools import Pool, pool
from tests.support.threaded import Threaded, threaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="package")
def server() -> Iterator[Threaded]:
    with threaded() as started:
        yield started


@pytest.fixture
async def work(server: Threaded) -> AsyncIterator[Pool]:
    """A subscription with leases of a second."""
    async with pool(server.streams, lease_ttl_ms=1000) as made:
        yield made
