"""The sums of what became of the streams of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from admin.model.bulk import BulkFailure, BulkProgress

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_CAUSES = 10  # each with the name of a stream; what follows is counted as others
LONGEST_CAUSE = 300  # characters; an origin words its own
OTHERS = "other causes"


class StreamResult(NamedTuple):
    """The outcome of the change of one stream; `cause` is the reason of a failure.

    A stream is `left` where the job stopped before it was known.
    """

    name: str
    kind: Literal["changed", "gone", "failed", "left"]
    cause: str = ""
    is_unavailable: bool = False  # the log or the listener, rather than this stream


def added(progress: BulkProgress, results: Iterable[StreamResult]) -> BulkProgress:
    """Return the progress with further results; those that are left do not count."""
    changed, gone = progress.changed, progress.gone
    failures = {it.cause: it for it in progress.failures}
    for result in results:
        changed += result.kind == "changed"
        gone += result.kind == "gone"
        if result.kind == "failed":
            cause = result.cause[:LONGEST_CAUSE]
            if cause not in failures and len(failures) >= MOST_CAUSES:
                cause = OTHERS
            known = failures.get(cause, BulkFailure(cause, 0, result.name))
            failures[cause] = BulkFailure(cause, known.streams + 1, known.example)
    return BulkProgress(changed, gone, tuple(failures.values()))
