"""Questions about the runs of a route, and the answers."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from headgate_gateway.features.questions.streams import PAGE

RunStatus = Literal["active", "finished", "stopped", "failed", "orphaned"]


class ListRuns(msgspec.Struct, tag=True, frozen=True):
    """A page of a route's runs: active ones, then the newest, after the page with this `after`."""

    route: str
    status: RunStatus | None = None
    after: str = ""
    limit: int = PAGE


class AnswerRow(msgspec.Struct, frozen=True):
    """More of a run that is an answer of a model route: its model, tokens and stream's `route`."""

    route: str
    model: str | None
    input_tokens: int | None
    output_tokens: int | None


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """A run as one process knows it. Times are epoch seconds; None is what is not known.

    This process has stored `items`, with `seen_bytes` of the stream's `size`; `first_items` of them
    came with the first one of the source. `counted` are all items, where the log counts them.
    """

    name: str  # below the prefix of its stream's route
    status: RunStatus
    error: str | None = None
    created_at: int | None = None  # in whole seconds, by the log
    started_at: float | None = None
    first_item_at: float | None = None
    last_item_at: float | None = None
    ended_at: float | None = None
    items: int = 0
    first_items: int = 0
    seen_bytes: int = 0
    size: int = 0
    counted: int | None = None
    answer: AnswerRow | None = None

    @property
    def rank(self) -> RunRank:
        """The run's place in the sorted list."""
        return RunRank.of(self.status, self.created_at, self.name)


class RunRank(NamedTuple):
    """The sort key of a run in the list: first the runs that go on, then the newest."""

    is_over: bool
    minus_created_at: int
    name: str

    @classmethod
    def of(cls, status: RunStatus, created_at: int | None, name: str) -> RunRank:
        """Return the rank of a run."""
        return cls(status != "active", -(created_at or 0), name)


class RunPage(msgspec.Struct, tag=True, frozen=True):
    """Runs, and where the next page begins; None when there is none."""

    rows: tuple[RunRow, ...]
    after: str | None = None
    is_cut: bool = False  # True if the log has more streams than were looked at for runs
