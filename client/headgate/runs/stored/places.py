"""The URLs of a run's streams."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from headgate.names import BESIDE, stream_url

if TYPE_CHECKING:
    from headgate.stream_requests import StreamRequests

# Half of the 2,048 bytes that a Headgate takes as a path: the other half is for what is before it.
MOST_ID_BYTES = 1024
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Place:
    """The streams of a run: its items, its producer's lease, the index of its marks.

    And where it may be taken over, `wait`: a lease that outlives the producer's own. `stop` is
    closed by whoever wants the run stopped, and `grace` exists for as long as its source may take.
    """

    id: str
    items: StreamRequests
    lease: StreamRequests
    index: StreamRequests
    wait: StreamRequests
    stop: StreamRequests
    grace: StreamRequests


def check_type(run_id: object) -> None:
    """Raise TypeError for what is no str, such as a number, or the function `id`."""
    if not isinstance(run_id, str):
        raise TypeError(f"the id of a run is a str, not {type(run_id).__name__}")


def place(base: StreamRequests, run_id: str) -> Place:
    """Return the streams of a run; raise TypeError or ValueError for an id that no URL can hold."""
    check_type(run_id)
    if run_id in {"", ".", ".."} or _CONTROL.search(run_id):
        raise ValueError(f"{run_id!r} cannot be the id of a run: no segment of a path can be that")
    size = len(quote(run_id, safe=""))
    if size > MOST_ID_BYTES:
        raise ValueError(
            f"the id of a run has at most {MOST_ID_BYTES} bytes when it is percent-encoded, "
            f"not {size}"
        )
    url = stream_url(base.url, run_id)
    beside = (f"{url}/{name}" for name in BESIDE)
    return Place(run_id, *map(base.beside, (url, *beside)))
