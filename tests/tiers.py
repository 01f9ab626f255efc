"""What a test needs says what plays it: `make test`, or `make test-all` with all of the rest.

`make test` collects the modules for which the packages of group `test` are enough. Of their tests
it plays those that start no process. One that does asks for the fixture `processes`, else it fails
(a value of a parameter, for which alone it does, is marked with `processes`);
`make test` plays it as well if it is marked with `smoke`, for which it may start only what comes
with packages of Python or is Node.js. A module of which one of the two plays nothing is not even
imported by it, if its source shows that.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.asked import asking, not_asking
from tests.support.examples import leave_to_torture
from tests.support.imports import lacking, modules_of_tests

if TYPE_CHECKING:
    from collections.abc import Generator

FIXTURE = "processes"
SMOKE = "smoke"
STARTS = {"subprocess.Popen", "os.fork", "os.posix_spawn", "os.system"}
MOST_FLAKY = 20  # a busy machine fails a test or two; more are no matter of chance
# Programs of every machine, before the command that they run.
PREFACES = {"env", "prlimit", "sh"}
TOLD = "headgate_left"
LACKING = pytest.StashKey[set[Path]]()  # modules that `make test` has no packages for
IGNORED = pytest.StashKey[set[Path]]()  # modules of which nothing is played
LEFT = pytest.StashKey[int]()

_playing: pytest.Item | None = None


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the commands that play tests."""
    group = parser.getgroup("tiers", "which tests are played")
    group.addoption("--tier", choices=("test", "rest"), help="those of make test, or all others")
    group.addoption(
        "--flaky", action="store_true", help="call flaky what passes: it has just failed"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Read what modules need, once for all workers, and watch what is started."""
    told = getattr(config, "workerinput", {}).get(TOLD)
    if told is not None:
        config.stash[LACKING], config.stash[IGNORED] = ({*map(Path, one)} for one in told)
    elif config.getoption("tier"):
        for one in config.args:  # which pytest itself does not look at where workers play
            if not Path(one.partition("::")[0]).exists():
                raise pytest.UsageError(f"file or directory not found: {one}")
        modules = [*modules_of_tests(config.args)]
        lacks = {*lacking(modules)}
        config.stash[LACKING] = lacks
        config.stash[IGNORED] = (
            {*lacks, *asking(modules, FIXTURE, unless=SMOKE)}
            if config.getoption("tier") == "test"
            else {*not_asking(modules, FIXTURE)} - lacks
        )
    sys.addaudithook(_on_event)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker."""
    stash = node.config.stash
    node.workerinput[TOLD] = [[*map(str, stash.get(key, ()))] for key in (LACKING, IGNORED)]


# Collection


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the modules of which nothing is played, which perhaps could not be imported."""
    return True if collection_path in config.stash.get(IGNORED, ()) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of the other tier, and what only `make torture` plays."""
    tier, left = config.getoption("tier"), 0
    kept, others = leave_to_torture(items)
    if tier:
        all_kept, kept = kept, []
        for item in all_kept:
            (kept if tier_of(item) == tier else others).append(item)
        left = len(all_kept) - len(kept)
    config.stash[LEFT] = left
    if others:
        config.hook.pytest_deselected(items=others)
    items[:] = kept


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse to play again more than a busy machine fails, now that those that failed are known."""
    count = len(session.items)
    if session.config.getoption("flaky") and count > MOST_FLAKY:
        message = f"{count} failed, and over {MOST_FLAKY} are no matter of chance"
        raise pytest.UsageError(message)


def tier_of(item: pytest.Item) -> str:
    """Return which tier a test is of."""
    is_alone = not _asks(item) or item.get_closest_marker(SMOKE) is not None
    is_light = item.path not in item.config.stash[LACKING]
    return "test" if is_alone and is_light else "rest"


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _asks(item: pytest.Item) -> bool:
    """Return whether a test asks for the fixture, or a value of its parameters for processes."""
    is_marked = item.get_closest_marker(FIXTURE) is not None
    return is_marked or FIXTURE in getattr(item, "fixturenames", ())


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Refuse a module that leaves itself out, such as by `importorskip`."""
    report = yield
    _refuse_skip(report, collector.nodeid)
    if report.failed and _is_worker(collector.config):
        # Each worker reports it: texts are compared, so that it is printed once.
        report.longrepr = str(report.longrepr)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Play nothing after an error of collection, with workers as pytest does without them."""
    errors = session.testsfailed
    if not errors or not _is_worker(session.config):
        return None
    session.shouldstop = f"{errors} error{'s' if errors > 1 else ''} during collection"
    return True


# Playing


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Remember which test is being played."""
    global _playing
    _playing = item
    try:
        return (yield)
    finally:
        _playing = None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that skips itself: nobody would see that it is not played."""
    report = yield
    if not hasattr(report, "wasxfail"):
        _refuse_skip(report, item.nodeid)
    return report


def _refuse_skip(report: pytest.CollectReport | pytest.TestReport, name: str) -> None:
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{name} skips itself: what a test needs is told by fixtures and imports"


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in STARTS or _playing is None:
        return
    if not _asks(_playing):
        raise AssertionError(f"{_playing.nodeid} starts a process without the fixture {FIXTURE}")
    is_smoke = _playing.get_closest_marker(SMOKE) is not None
    if is_smoke and event != "os.fork" and not _comes_with_packages(os.fsdecode(arguments[0])):
        raise AssertionError(
            f"{_playing.nodeid} is marked with smoke and starts {arguments[0]}, "
            "which comes with no package of Python"
        )


def _comes_with_packages(program: str) -> bool:
    path = Path(shutil.which(program) or program)
    return path.is_relative_to(sys.prefix) or path.name in PREFACES


# What is told at the end


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the first process how many tests were left out."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[TOLD] = session.config.stash.get(LEFT, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear it from a worker."""
    if TOLD in getattr(node, "workeroutput", {}):  # one that has died tells nothing
        node.config.stash[LEFT] = node.workeroutput[TOLD]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what has passed alone after it had failed."""
    passed = terminalreporter.stats.get("passed", [])
    if passed and terminalreporter.config.getoption("flaky"):
        terminalreporter.section("FLAKY")
        terminalreporter.line("These failed once and passed alone; they do not fail the run.")
        for report in passed:
            terminalreporter.line(report.nodeid)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End with a line of counts, and with what plays the rest."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    tier = config.getoption("tier")
    if reporter is None or not tier or _is_worker(config):
        return
    passed = "flaky" if config.getoption("flaky") else "passed"
    counts = [(len(reporter.stats.get("passed", [])), passed)]
    counts += [(len(reporter.stats.get(word, [])), word) for word in ("failed", "error")]
    line = ", ".join(f"{count:,} {word}" for count, word in counts if count) or "nothing was played"
    left = config.stash.get(LEFT, 0)
    if tier == "test":
        modules = len(config.stash[IGNORED])
        line += f"; {left:,} tests and {modules} modules more are played by: make test-all"
    reporter.write_line(line, bold=True)
