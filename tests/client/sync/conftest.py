"""One Headgate for all tests of the library for threads."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from anyio.from_thread import start_blocking_portal

from headgate import sync
from tests.client.runs import model
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


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is asked of a model, which is OpenAI's for programs here and in other processes."""
    asked: list[str] = []
    served = model.served(asked, pause_s=0.1)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(served) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        yield asked
