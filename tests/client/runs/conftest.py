"""One Headgate for all tests of runs, and two replicas of an application before it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from headgate.runs import Runs
from tests.support.origin_servers import Reference, reference
from tests.support.threaded import Threaded, threaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.processes import Headgate

ORPHAN_AFTER_S = 1  # the shortest
MAX_APPEND = 300_000  # bytes: less than of what aiohttp warns


def streams_of(server: Headgate | Threaded | Reference) -> str:
    """Where streams are at a server."""
    return server.url if isinstance(server, Reference) else server.streams


@pytest.fixture(scope="package")
def server() -> Iterator[Threaded]:
    with threaded(max_append=MAX_APPEND) as started:
        yield started


@pytest.fixture(
    scope="package",
    params=[
        "Headgate",
        pytest.param(
            "reference", marks=[pytest.mark.torture("it is in test_ends.py"), pytest.mark.processes]
        ),
    ],
)
def any_server(request: pytest.FixtureRequest) -> Iterator[Threaded | Reference]:
    """A Headgate, and the protocol's reference server: a run promises the same on each."""
    with threaded() if request.param == "Headgate" else reference() as started:
        yield started


@pytest.fixture
def any_url(any_server: Threaded | Reference) -> str:
    return f"{streams_of(any_server)}/{uuid.uuid4().hex}"


@pytest.fixture
def url(server: Threaded) -> str:
    return f"{server.streams}/{uuid.uuid4().hex}"


@pytest.fixture
async def runs(url: str) -> AsyncIterator[Runs]:
    runs = Runs(url, orphan_after=ORPHAN_AFTER_S)
    yield runs
    await runs.aclose(wait=0)


@pytest.fixture
async def other(url: str) -> AsyncIterator[Runs]:
    other = Runs(url, orphan_after=ORPHAN_AFTER_S)
    yield other
    await other.aclose(wait=0)
