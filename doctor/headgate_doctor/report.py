"""Runs an examination, and prints what was found."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING

from headgate_doctor.advice import ADVICE
from headgate_doctor.checks.polls import READERS
from headgate_doctor.examination import LONGEST_S, examine
from headgate_doctor.finding import CheckVerdict, ProbeFailed
from headgate_doctor.output import counted, filled, note, report
from headgate_doctor.probe_sender import MOST_REQUESTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_doctor.deployment import ExaminationOptions
    from headgate_doctor.examination import Examination
    from headgate_doctor.finding import Finding
    from headgate_doctor.target import ExaminedTarget

MARGIN = 16
COLOURS: dict[str, str] = {
    CheckVerdict.PASS.value: "green",
    CheckVerdict.FAIL.value: "red",
    CheckVerdict.UNKNOWN.value: "yellow",
}
# Exit statuses, as shells and click have them.
DONE, FAILED, UNUSABLE = 0, 1, 2
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM


def run(url: str, target: ExaminedTarget, options: ExaminationOptions, *, as_json: bool) -> int:
    """Examine a deployment, print the findings, and return the exit status.

    `url` is its URL without secrets.
    """
    note(
        f"{url} is sent at most {MOST_REQUESTS} requests, {2 * READERS} of them "
        "long-polls, for streams that are created and removed again. This takes a few seconds more "
        "than a long-poll, or than the pause between two comments of an SSE response, and at most "
        f"{LONGEST_S:g} s."
    )
    found: dict[str, object]
    try:
        examined = asyncio.run(_until_sigterm(target, options))
    except KeyboardInterrupt:
        return INTERRUPTED
    except asyncio.CancelledError:
        return TERMINATED
    except ProbeFailed as why:
        note(f"{url} cannot be examined: {why}.")
        status, found = UNUSABLE, {"url": url, "error": str(why)}
        text = ""
    else:
        status = FAILED if _count(examined, CheckVerdict.FAIL) else DONE
        found, text = _object(url, examined), "".join(_lines(url, examined))
    if as_json:
        text = f"{json.dumps(found, ensure_ascii=False)}\n"
    return status if report(text, COLOURS) else FAILED


async def _until_sigterm(target: ExaminedTarget, options: ExaminationOptions) -> Examination:
    """Turn SIGTERM, by which pipelines end a program, into an exit that deletes the streams."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await examine(target, note, options)


def _object(url: str, examined: Examination) -> dict[str, object]:
    return {
        "url": url,
        "requests": examined.requests,
        "seconds": round(examined.took_s, 1),
        "checks": [
            {
                "check": finding.check,
                "verdict": finding.verdict,
                "saw": finding.saw,
                "change": _change(finding),
            }
            for finding in examined.findings
        ],
        "left": examined.leftovers,
    }


def _change(finding: Finding) -> str:
    return ADVICE[finding.advice or finding.check] if finding.is_failure else ""


def _lines(url: str, examined: Examination) -> Iterator[str]:
    yield f"{url}\n\n"
    for finding in examined.findings:
        yield filled(f"{finding.check}: {finding.saw}.", finding.verdict, MARGIN) + "\n"
        if change := _change(finding):
            yield filled(change, "", MARGIN) + "\n"
    yield f"\n{_summary(examined)}\n"
    if _count(examined, CheckVerdict.FAIL):
        yield (
            "headgate cdn render TARGET --config FILE makes a configuration that has none of this, "
            "for the routes of FILE.\n"
        )


def _summary(examined: Examination) -> str:
    counts = ", ".join(f"{_count(examined, verdict)} {verdict}" for verdict in CheckVerdict)
    return f"{counts}; {counted(examined.requests, 'request')} in {examined.took_s:.1f} s."


def _count(examined: Examination, verdict: CheckVerdict) -> int:
    return sum(finding.verdict is verdict for finding in examined.findings)
