"""What holds for every test."""

from __future__ import annotations

import gc
import importlib
import logging
import signal
import sys
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

from gateway.telemetry import logs
from gateway.web.connections import incoming
from tests.forking import forks
from tests.support.examples import examples, leave_to_torture
from tests.support.long_first import long_first
from tests.support.row_ids import row_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator
    from pathlib import Path

    from playwright.async_api import Browser

# Other folders play the contract of logs, too, and may import it first.
pytest.register_assert_rewrite("tests.backends.contract")
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
    monkeypatch.setattr(incoming, "FIN_S", -1.0)


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


def pytest_collection_finish(session: pytest.Session) -> None:
    """Have one process fork servers for all workers: each of its own would import everything."""
    processes = sys.modules.get("tests.support.processes")
    if processes is not None and forks(session.config) and not session.config.option.collectonly:
        processes.have_forks()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is left to `make torture`; begin with the modules that have time limits.

    The longer they may take, the sooner they begin, in a run on several workers.
    """
    items[:], left = leave_to_torture(items)
    if left:
        config.hook.pytest_deselected(items=left)
    workers = forks(config)
    if workers < 2:
        return
    limits_s: dict[Path, float] = {}
    for item in items:
        if (limit := item.get_closest_marker("timeout")) is not None:
            limits_s[item.path] = max(limits_s.get(item.path, 0), limit.args[0])
    long: dict[Path, list[pytest.Item]] = {
        path: [] for path in sorted(limits_s, key=lambda path: -limits_s[path])
    }
    others = [item for item in items if item.path not in long]
    for item in items:
        if item.path in long:
            long[item.path].append(item)
    items[:] = long_first([*long.values()], others, workers)


@pytest.fixture(autouse=True)
def _unchanged_log() -> Iterator[None]:
    """Fail the test that leaves the log of its process changed, not those that read it later."""
    root, own = logging.getLogger(), logging.getLogger(logs.NAME)
    before = (root.level, own.level, own.disabled, logs._written)
    yield
    assert (root.level, own.level, own.disabled, logs._written) == before


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Return the one browser of a worker: to start another one takes a second and a half of a core.

    What is stored by pages is in a context, of which each test makes its own.
    """
    # To import what drives it takes half a second, also where no test needs it.
    async with importlib.import_module("tests.clients.pages").chromium() as opened:
        yield opened


def _do_nothing(_number: int, _frame: object) -> None:
    pass
