"""Jobs that change many streams, in each of their states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from admin.model.bulk import BulkCount, BulkFailure, BulkJob, BulkProgress
from admin.model.streams import StreamSearch
from admin.streams.bulk.jobs import BulkJobs

if TYPE_CHECKING:
    from collections.abc import Sequence


def _jobs(now: float, names: Sequence[str]) -> tuple[BulkJob, ...]:
    counted = BulkCount(48_210, 1_700_000_000, tuple(names), is_cut=True)
    failures = (BulkFailure("the origin answers 503", 12, names[0]),)
    progress = BulkProgress(12_300, 4, failures)
    of_chats = StreamSearch("/v1/stream", begins="chat/")
    like = StreamSearch("/v1/stream", glob="chat/*/draft")
    return (
        BulkJob(
            id="waits",
            action="delete",
            search=of_chats,
            state="counted",
            by="ada",
            created_at=now - 40,
            count=counted,
        ),
        BulkJob(
            id="runs",
            action="close",
            search=like,
            state="running",
            by="ada",
            created_at=now - 400,
            count=counted,
            started_by="ada",
            started_at=now - 300,
            progress=progress,
            trouble="the log is unreachable",
        ),
        BulkJob(
            id="over",
            action="delete",
            search=StreamSearch("/v1/audit"),
            selected=2,
            state="done",
            by="ada",
            created_at=now - 900,
            count=BulkCount(2, None, tuple(names[:2])),
            started_by="bob",
            started_at=now - 890,
            ended_at=now - 880,
            progress=BulkProgress(2),
        ),
    )


class MadeUpJobs(BulkJobs):
    """Jobs that are only looked at."""

    def __init__(self, now: float, names: Sequence[str]) -> None:
        """Have three jobs, of which one names these streams."""
        self._jobs = {it.id: it for it in _jobs(now, names)}

    async def close(self) -> None:
        pass
