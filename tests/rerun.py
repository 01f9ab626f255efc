"""Run the tests, and what has failed once more: alone, one at a time.

`python -m tests.rerun ...` takes the arguments of pytest. What passes the second time is printed
last, under FLAKY, and fails nothing; what fails twice does.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests import outcomes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tests.outcomes import Failure, Outcomes

# As pytest ends. To import it takes half as long as to run a test with it.
OK, TESTS_FAILED, INTERRUPTED = range(3)
LOGS = Path("test-failures")
MAX_RERUN = 20
"""A busy machine fails a test or two; when more fail than this, something is broken, and running
each alone would only keep it back."""
MAX_LOGS = 5 * MAX_RERUN
"""Of the last few runs; older ones are removed."""
MAX_LOG_BYTES = 1 << 20
"""What a server printed is in it, too; its end tells the most."""
ENDS_S = 10.0
"""How long pytest may take after Ctrl-C to end what its tests have started. Then it is told once
more, as Python misses a signal that comes just before a call that waits, and after as long again it
is killed."""
LINE = 78


class Rerun(NamedTuple):
    """A test that failed at first, where its log is, and whether it passed alone."""

    failure: Failure
    log: Path
    passed: bool


def run(arguments: Sequence[str], logs: Path = LOGS) -> int:
    """Both runs; the exit status is pytest's own unless everything that failed passed alone."""
    status, first = _pytest(arguments)
    if status != TESTS_FAILED or first is None:
        return status
    if (reason := reason_to_leave_it(first)) is not None:
        _say(f"\nNothing is run again: {reason}.")
        return status
    _say(f"\n{' What failed, alone '.center(LINE, '=')}")
    reruns = [_alone(failure, first.seed, logs) for failure in first.failures]
    _prune(logs)
    _say("\n".join(_report(first, reruns)))
    return 0 if all(one.passed for one in reruns) else TESTS_FAILED


def reason_to_leave_it(first: Outcomes) -> str | None:
    """Why the failures of a run are not tried again; None when they are."""
    if not first.is_whole or not first.failures:
        return "more went wrong than tests, or the run was cut short"
    if len(first.failures) > MAX_RERUN:
        return f"{len(first.failures)} failed, and over {MAX_RERUN} are no matter of chance"
    return None


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - between what pytest prints, and after it


def _alone(failure: Failure, seed: int | None, logs: Path) -> Rerun:
    """Only the seed is kept of the first run's options: they chose the test, and it is named."""
    log = _keep(failure, seed, logs)
    status, _ = _pytest([failure.node_id, "-n", "0", *_seeded(seed)])
    return Rerun(failure, log, passed=status == OK)


def _seeded(seed: int | None) -> list[str]:
    return ["-p", "no:randomly"] if seed is None else [f"--randomly-seed={seed}"]


def _pytest(arguments: Iterable[str]) -> tuple[int, Outcomes | None]:
    """A process of its own, so that nothing but the seed goes from one run to the other."""
    with tempfile.NamedTemporaryFile(prefix="headgate-outcomes-") as file:
        command = [sys.executable, "-m", "tests.recorder", file.name, *arguments]
        process = subprocess.Popen(command)
        try:
            status = process.wait()
        except KeyboardInterrupt:  # the terminal told pytest, too, which has fixtures to end
            _end(process)
            raise
        return status, outcomes.read(Path(file.name))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a run that was told to end, and see to it that it comes."""
    for end in (partial(process.send_signal, signal.SIGINT), process.kill):
        try:
            process.wait(ENDS_S)
        except subprocess.TimeoutExpired:
            end()
        else:
            return
    process.wait()


def _keep(failure: Failure, seed: int | None, logs: Path) -> Path:
    """Write what the first run told of a failure."""
    logs.mkdir(exist_ok=True)
    name = re.sub(r"\W+", "-", failure.node_id)[-120:].strip("-")
    path = logs / f"{seed or 'unseeded'}-{name}.log"
    path.write_bytes(failure.told.encode(errors="replace")[-MAX_LOG_BYTES:])
    return path


def _prune(logs: Path) -> None:
    kept = sorted(logs.glob("*.log"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in kept[MAX_LOGS:]:
        path.unlink()


def _report(first: Outcomes, reruns: Sequence[Rerun]) -> Iterator[str]:
    """What failed twice, what did not, and a closing line as pytest has it."""
    failed = [one for one in reruns if not one.passed]
    flaky = [one for one in reruns if one.passed]
    if failed:
        yield f"\n{' FAILED TWICE '.center(LINE, '=')}"
        yield from (_line(one, first.seed) for one in failed)
    if flaky:
        yield f"\n{' FLAKY '.center(LINE, '=')}"
        yield "These failed once and passed alone; they do not fail the run."
        yield from (_line(one, first.seed) for one in flaky)
    counts = [(first.passed + len(flaky), "passed"), (len(failed), "failed"), (len(flaky), "flaky")]
    told = ", ".join(f"{count} {word}" for count, word in counts if count)
    yield f" {told} ".center(LINE, "=")


def _line(one: Rerun, seed: int | None) -> str:
    order = "-p no:randomly" if seed is None else f"--randomly-seed={seed}"
    return f"{one.failure.node_id}\n    {order}, first log: {one.log}"


def main() -> int:
    """Ctrl-C ends everything."""
    try:
        return run(sys.argv[1:])
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
