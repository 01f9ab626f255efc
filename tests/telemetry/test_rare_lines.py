"""Lines about what happens often: at once, then at most so often, and nothing is left out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from headgate_gateway.telemetry import rare_lines
from headgate_gateway.telemetry.rare_lines import OutageLine, RareLine
from tests.support import virtual_time
from tests.support.log_lines import capture_logs
from tests.support.waiting import until

if TYPE_CHECKING:
    import pytest


def told(lines: Any) -> list[tuple[str, int]]:
    return [(line["path"], line["times"]) for line in lines]


async def test_the_first_rare_event_is_logged_at_once_and_later_events_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rare_lines, "EVERY_S", 0.05)
    line = RareLine("it.happened")
    with capture_logs() as lines:
        for path in ("/a", "/b", "/c"):
            line.note(path=path)
        assert told(lines) == [("/a", 1)]
        await until(lambda: len(lines) == 2)
        assert told(lines) == [("/a", 1), ("/c", 2)]
        line.note(path="/d")
        await until(lambda: len(lines) == 3)
    assert told(lines)[2:] == [("/d", 1)]


async def test_rare_events_not_yet_logged_are_logged_at_close() -> None:
    line = RareLine("it.happened")
    with capture_logs() as lines:
        line.close()
        assert lines == []
        for path in ("/a", "/b"):
            line.note(path=path)
        line.close()
        line.close()
    assert told(lines) == [("/a", 1), ("/b", 1)]


class Answers:
    """The answers of a server so far."""

    number = 0

    def count(self) -> int:
        return self.number


def test_an_outage_is_logged_at_once_then_ever_more_rarely_and_its_end_once() -> None:
    """The server fails each second for an hour, and then answers."""
    answers = Answers()

    async def hour() -> tuple[list[Any], float]:
        line = OutageLine("it.failed", "it.recovered", answers.count)
        loop = asyncio.get_running_loop()
        began = loop.time()
        with capture_logs() as lines:
            while loop.time() - began < 3600:
                line.note(path="/a")
                await asyncio.sleep(1)
            in_outage = len(lines)
            answers.number += 1
            await asyncio.sleep(60)
            line.close()
        return list(lines), in_outage

    lines, in_outage = virtual_time.run(hour())
    assert 15 <= in_outage <= 25
    assert [line["event"] for line in lines[:2]] == ["it.failed"] * 2
    assert lines[0]["times"] == 1
    ended = [line for line in lines if line["event"] == "it.recovered"]
    assert ended == lines[-1:]
    assert ended[0]["log_level"] == "info"
    assert sum(line["times"] for line in lines[:-1]) == ended[0]["times"]
    assert 3590 < ended[0]["lasted_s"] < 3601


def test_an_outage_lasts_while_failures_alternate_with_answers_or_answers_are_missing() -> None:
    answers = Answers()

    async def flapping() -> list[Any]:
        line = OutageLine("it.failed", "it.recovered", answers.count)
        with capture_logs() as lines:
            for _ in range(100):
                line.note(path="/a")
                answers.number += 1
                await asyncio.sleep(3)
            line.note(path="/a")
            await asyncio.sleep(1000)
            line.close()
        return list(lines)

    lines = virtual_time.run(flapping())
    assert {line["event"] for line in lines} == {"it.failed"}
    assert sum(line["times"] for line in lines) == 101
    assert len(lines) < 15
