"""What holds for every test."""

from __future__ import annotations

import gc
import importlib
import logging
import signal
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

from headgate_gateway.telemetry import logs
from headgate_gateway.web.connections import requests
from tests.support.examples import examples
from tests.support.log_lines import capture_logs
from tests.support.row_ids import row_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator

    from playwright.async_api import Browser

    from tests.support.log_lines import Lines

# Other folders play the contract of logs, too, and may import it first.
pytest.register_assert_rewrite("tests.logs.contract")
# A busy machine is no bug: examples are bounded by their number, never by the clock.
settings.register_profile(
    "headgate",
    deadline=None,
    max_examples=examples(),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("headgate")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a value in a list of failures, or refuse to collect a row that needs a name."""
    return row_id(val, argname)


@pytest.fixture
def late_fins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no FIN count as one that comes with its request: the clients of these tests leave."""
    monkeypatch.setattr(requests, "FIN_S", -1.0)


def pytest_configure(config: pytest.Config) -> None:
    """Start servers with the signals of a terminal, also where the tests themselves ignore them.

    Under `nohup`, or behind an `&`, what is ignored is inherited; a handler that does nothing
    ignores as well, and is not.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _do_nothing)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep ten thousand tests out of every search for garbage: none of them is."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def processes() -> None:
    """Let a test start processes; without it, one that does fails (`tests/tiers.py`)."""


@pytest.fixture(autouse=True)
def _unchanged_log() -> Iterator[None]:
    """Fail the test that leaves the log of its process changed, not those that read it later."""
    root, own = logging.getLogger(), logging.getLogger(logs.NAME)
    before = (root.level, own.level, own.disabled, logs._written)
    yield
    assert (root.level, own.level, own.disabled, logs._written) == before


@pytest.fixture
def logged() -> Iterator[Lines]:
    """Return the lines that the gateway's log gets in this test; none is written."""
    with capture_logs() as lines:
        yield lines


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(processes: None) -> AsyncIterator[Browser]:
    """Return the one browser of a worker: to start another one takes a second and a half of a core.

    What is stored by pages is in a context, of which each test makes its own.
    """
    # To import what drives it takes half a second, also where no test needs it.
    async with importlib.import_module("tests.clients.pages").chromium() as opened:
        yield opened


def _do_nothing(_number: int, _frame: object) -> None:
    pass
