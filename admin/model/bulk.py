"""Changes of many streams: what an operator asks for, and jobs as pages and the API show them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from admin.model.streams import StreamSearch

BulkAction = Literal["delete", "close"]
# A job is counting, then counted until somebody confirms it, running, and in one of the others.
BulkState = Literal["counting", "counted", "running", "done", "stopped", "failed"]
OPEN_STATES = frozenset({"counting", "counted", "running"})

# Streams of a selection: two pages of the list have as many. More are found by a search.
MOST_SELECTED = 100
USUAL_RATE = 100
# Streams a second. Each change is a commit, which a usual disk syncs some thousand times a second:
# others who write must get most of them.
HIGHEST_RATE = 500

Pattern = Annotated[str, msgspec.Meta(max_length=2048)]
Rate = Annotated[int, msgspec.Meta(ge=1, le=HIGHEST_RATE)]


class BulkWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The streams to count, for a change: those that a search finds, or those with these `names`.

    Names are percent-encoded, as in URLs. Empty conditions hold for every name.
    """

    action: BulkAction
    route: str
    begins: Pattern = ""
    contains: Pattern = ""
    glob: Pattern = ""
    names: Annotated[tuple[Pattern, ...], msgspec.Meta(max_length=MOST_SELECTED)] = ()


class BulkStart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The confirmation of a counted job: its number of streams; `rate` is streams a second."""

    id: str
    confirm: int
    rate: Rate = USUAL_RATE


class BulkReference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A job by its id."""

    id: str


class BulkCount(msgspec.Struct, frozen=True):
    """The streams that were counted. `size` in bytes is None where an origin has the streams.

    With `is_cut` there are more than one job takes; those up to a name are counted.
    """

    streams: int = 0
    size: int | None = 0
    sample: tuple[str, ...] = ()  # the first names
    is_cut: bool = False


class BulkFailure(msgspec.Struct, frozen=True):
    """A reason for which streams could not be changed, and the name of the first of them."""

    cause: str
    streams: int
    example: str


class BulkProgress(msgspec.Struct, frozen=True):
    """The streams that were changed; that were gone, or others by then; and that failed."""

    changed: int = 0
    gone: int = 0
    failures: tuple[BulkFailure, ...] = ()

    @property
    def failed(self) -> int:
        """The number of streams that could not be changed."""
        return sum(it.streams for it in self.failures)

    @property
    def done(self) -> int:
        """The number of streams that the job is through with."""
        return self.changed + self.gone + self.failed


class BulkJob(msgspec.Struct, frozen=True, kw_only=True):
    """A change of many streams. Times are epoch seconds.

    `trouble` says why a job has failed, or what it waits for.
    """

    id: str
    action: BulkAction
    search: StreamSearch
    selected: int = 0  # names that were given one by one
    state: BulkState = "counting"
    by: str
    created_at: float
    count: BulkCount = BulkCount()
    rate: int = USUAL_RATE
    started_by: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    progress: BulkProgress = BulkProgress()
    trouble: str | None = None

    @property
    def is_open(self) -> bool:
        """True until the job has ended."""
        return self.state in OPEN_STATES

    @property
    def left(self) -> int:
        """The number of streams that the job is not through with."""
        return self.count.streams - self.progress.done


class BulkList(msgspec.Struct, frozen=True):
    """All open jobs and the last ones that ended, the newest first."""

    jobs: tuple[BulkJob, ...]
