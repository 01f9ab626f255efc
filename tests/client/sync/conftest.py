"""One Headgate for all tests of the library for threads."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from headgate import sync

from tests.support.threaded import Threaded, threaded

if TYPE_CHECKING:
    from collections.abc import Iterator

ORPHAN_AFTER_S = 1  # the shortest


@pytest.fixture(scope="package")
def server() -> Iterator[Threaded]:
    with threaded() as started:
        yield started


@pytest.fixture
def url(server: Threaded) -> str:
    return f"{server.streams}/{uuid.uuid4().hex}"


@pytest.fixture
def runs(url: str) -> Iterator[sync.Runs]:
    runs = sync.Runs(url, orphan_after=ORPHAN_AFTER_S)
    yield runs
    runs.close(wait=0)
