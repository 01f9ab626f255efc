"""The streams of a run, and the claim by which only the newest producer may write to its items.

The server keeps the epoch of a claim, so that an older producer is refused from the moment on at
which a newer one has written anything. Whatever a claim writes, it is written once.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from headgate.errors import Closed, Fenced, ProtocolError
from headgate.names import BESIDE, PRODUCER, stream_url
from headgate.retries import Retries
from headgate.sending.framing import JSON, json_array
from headgate.stream_requests import ProducerStamp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headgate.stream_requests import StreamRequests

log = logging.getLogger("headgate.runs")

# Half of the 2,048 bytes that a Headgate takes as a path: the other half is for what is before it.
MOST_ID_BYTES = 1024
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Each round is lost to another claim; so many at the same moment are no users but a mistake.
MOST_ROUNDS = 1000
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 2.0
# A newer producer writes on, or a process that found the run without one has ended it.
TAKEN = (Fenced, Closed)


@dataclass(frozen=True, slots=True)
class Place:
    """The streams of a run: its items, and beside them the lease of its producer.

    Where the run may be taken over, the lease `wait` outlives the producer's own. `stop` is closed
    by a client that wants the run stopped, and `grace` exists for as long as its source may take.
    """

    id: str
    items: StreamRequests
    lease: StreamRequests
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


async def _always() -> bool:
    return True


async def claim(
    stream: StreamRequests,
    items: list[bytes],
    *,
    is_closing: bool = False,
    may_claim: Callable[[], Awaitable[bool]] = _always,
) -> int | None:
    """Append under an epoch that no producer has had, and return the epoch.

    Return None if `may_claim` says before an attempt that the claim is not wanted any more. Raises
    Closed when the run has ended.
    """
    body, epoch = json_array(items), 0
    for _ in range(MOST_ROUNDS):
        if not await may_claim():
            return None
        try:
            stamp = ProducerStamp(PRODUCER, epoch, 0)
            appended = await stream.append(
                body, content_type=JSON, producer=stamp, is_closing=is_closing
            )
        except Fenced as fenced:
            epoch = fenced.epoch + 1
        else:
            if not appended.is_duplicate:
                return epoch
            # Somebody else has written under this epoch; ours was not.
            epoch += 1
    raise ProtocolError(f"no epoch was free in {MOST_ROUNDS} attempts", stream=stream.shown)


async def end(stream: StreamRequests, epoch: int, items: list[bytes], retry_for_s: float) -> bool:
    """Append the last items and close the stream, as who has claimed `epoch`.

    False when the run is somebody else's by now. It goes under the next epoch, so that it may be
    unknown what became of the append before.
    """
    body, stamp = json_array(items), ProducerStamp(PRODUCER, epoch + 1, 0)
    try:
        appended = await Retries(retry_for_s, (FIRST_WAIT_S, LONGEST_WAIT_S), log.info).run(
            lambda: stream.append(body, content_type=JSON, producer=stamp, is_closing=True)
        )
    except TAKEN:
        return False
    return appended.is_closed
