"""One Headgate and one app for the tests of a module."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.support.processes import headgate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from playwright.async_api import Browser, BrowserContext

    from tests.client.chat.example import Program
    from tests.support.processes import Headgate


@pytest.fixture(scope="module")
def gateway(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headgate]:
    with headgate(f"file:{tmp_path_factory.mktemp('streams')}") as server:
        yield server


@pytest.fixture(scope="module")
def started_app(processes: None, gateway: Headgate) -> Iterator[Program]:
    # What drives browsers is imported here: `make test ARGS=tests/client/chat` does without.
    with importlib.import_module("tests.client.chat.example").chat_app(gateway.streams) as app:
        yield app


@pytest.fixture
def app(started_app: Program) -> Program:
    """The app, whose model is held in the middle of an answer."""
    started_app.hold()
    return started_app


@pytest_asyncio.fixture(loop_scope="session")
async def tabs(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A window whose tabs share what a browser keeps."""
    context = await browser.new_context(reduced_motion="reduce")
    yield context
    await context.close()
