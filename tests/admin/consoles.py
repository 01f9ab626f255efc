"""Admin applications for tests, over a source whose answers are set by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from admin.source import Health, Setup
from gateway.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.telemetry.inspection import Answer, Question
    from gateway.telemetry.metrics import Snapshot


@dataclass
class Switchboard:
    """A source that tells what a test has set."""

    state: dict[str, str | None] = field(default_factory=dict)
    notes: dict[str, str | None] = field(default_factory=dict)
    numbers: Snapshot = ()
    answers: Callable[[Question], Sequence[Answer]] = lambda _: ()
    asked: list[Question] = field(default_factory=list)

    async def health(self) -> Health:
        return Health(self.state, self.notes)

    async def measure(self) -> Snapshot:
        return self.numbers

    async def ask(self, question: Question) -> Sequence[Answer]:
        self.asked.append(question)
        return self.answers(question)


NOW = 1_800_000_000.0


def setup(clock: Callable[[], float] = lambda: NOW, **settings: Any) -> Setup:
    """What an application is told, with these settings besides the defaults."""
    return Setup(Settings(**settings), {"data file": "1"}, clock)
