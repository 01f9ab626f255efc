"""One Headgate for all tests of the library for threads."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from headgate import sync

from tests.support.processes import headgate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import Headgate

ORPHAN_AFTER_S = 1  # the shortest


@pytest.fixture(scope="package")
def server(processes: None) -> Iterator[Headgate]:
    with headgate() as started:
        yield started


@pytest.fixture
def url(server: Headgate) -> str:
    return f"{server.streams}/{uuid.uuid4().hex}"


@pytest.fixture
def runs(url: str) -> Iterator[sync.Runs]:
    runs = sync.Runs(url, orphan_after=ORPHAN_AFTER_S)
    yield runs
    runs.close(wait=0)
