"""What tests before a gateway with a proxy share: a gateway, its upstream, a client and a Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.models.conftest import http
from tests.models.shared.conftest import origin, redis
from tests.proxies.serving import gateway_with_proxy
from tests.proxies.upstream import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.proxies.upstream import Upstream
    from tests.support.processes import Headgate

__all__ = ["http", "origin", "redis"]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headgate]:
    """A gateway with a proxy that has no settings of its own."""
    with gateway_with_proxy(tmp_path_factory.mktemp("gateway")) as made:
        yield made


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serving() as made:
        yield made
