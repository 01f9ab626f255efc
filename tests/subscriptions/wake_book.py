"""What the workers of a subscription saw and said: wakes by generation, and acknowledged ends."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

AWAY = {502, 503, 504}  # the log, or the origin: it was not carried out, or nobody knows
OVER = {401, 409, *AWAY}  # the token has expired, or the wake is over


class Outcome:
    """The status of a request; None while nobody knows how it ended."""

    status: int | None = None


class WakeBook:
    """The wakes of one subscription, and how far its workers may have moved the cursors."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.wakes = 0
        self.stale = 0  # requests for wakes that were over, all refused
        self.faults: list[str] = []
        self.covered: dict[str, str] = {}  # by acks that were, or may have been, taken
        self.latest = 0  # generation
        self._ids: dict[int, str] = {}
        self._holders: dict[int, str] = {}

    def note(
        self, wake: Mapping[str, Any], holder: str | None = None, after: int | None = None
    ) -> None:
        """Note a wake: a generation has one id and one holder, and none follows a later one.

        A claim was sent `after` a generation. While its response is under way, its lease may end,
        and another worker may be told of a later generation first.
        """
        generation, wake_id = wake["generation"], wake["wake_id"]
        self.wakes += 1
        if self._ids.setdefault(generation, wake_id) != wake_id:
            self.faults.append(f"{self.name}: two wakes of generation {generation}")
        if holder is not None and generation in self._holders:
            self.faults.append(f"{self.name}: two claims of generation {generation}")
        if holder is not None:
            self._holders[generation] = holder
        after = self.latest if after is None else after
        if generation < after:
            self.faults.append(f"{self.name}: generation {generation} behind {after}")
        self.latest = max(self.latest, generation)
        if not any(one["has_pending"] for one in wake["streams"]):
            self.faults.append(f"{self.name}: generation {generation} has nothing pending")

    def is_over(self, wake: Mapping[str, Any]) -> bool:
        """Return whether a later wake has been seen."""
        return int(wake["generation"]) < self.latest

    def acknowledges(self, wake: Mapping[str, Any]) -> None:
        """Note that the ends of a wake may be acknowledged from now on."""
        for one in wake["streams"]:
            end = one["tail_offset"]
            self.covered[one["path"]] = max(self.covered.get(one["path"], ""), end)

    @contextlib.contextmanager
    def acknowledging(self, wake: Mapping[str, Any]) -> Iterator[Outcome]:
        """Note what a request acknowledges, unless it is refused."""
        outcome = Outcome()
        try:
            yield outcome
        finally:
            if outcome.status in {None, 200, *AWAY}:
                self.acknowledges(wake)

    def refused(self, wake: Mapping[str, Any], status: int) -> None:
        """Note how an ack of a wake that is over was answered."""
        self.stale += status == 409
        if status not in OVER:
            self.faults.append(f"{self.name}: an ack of generation {wake['generation']}: {status}")

    def compare(self, cursors: Mapping[str, str], appended: Mapping[str, str]) -> None:
        """Compare the cursors with what was acknowledged, and that with what was appended."""
        for path, tail in appended.items():
            if self.covered.get(path, "") < tail:
                self.faults.append(f"{self.name}: no ack has covered {tail} of {path}")
        for path, cursor in cursors.items():
            if cursor not in {"-1", self.covered.get(path)} and cursor > self.covered.get(path, ""):
                self.faults.append(f"{self.name}: {path} is at {cursor}, which nobody acknowledged")
