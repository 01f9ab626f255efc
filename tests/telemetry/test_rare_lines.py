"""Lines about what happens often: at once, then at most so often, and nothing is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from structlog.testing import capture_logs

from gateway.telemetry import rare_lines
from gateway.telemetry.rare_lines import RareLine
from tests.support.waiting import until

if TYPE_CHECKING:
    import pytest


def told(lines: Any) -> list[tuple[str, int]]:
    return [(line["path"], line["times"]) for line in lines]


async def test_the_first_is_told_at_once_and_the_others_together(
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


async def test_what_is_left_is_told_at_the_end() -> None:
    line = RareLine("it.happened")
    with capture_logs() as lines:
        line.close()
        assert lines == []
        for path in ("/a", "/b"):
            line.note(path=path)
        line.close()
        line.close()
    assert told(lines) == [("/a", 1), ("/b", 1)]
