"""The sums of a route's streams, as the recorder has them: no stream is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_admin.model.streams import StreamSums
from headgate_admin.record import figures
from headgate_admin.record.logs import SIZE, USED

if TYPE_CHECKING:
    from headgate_admin.record.recorder import Recorder


def sums(recorder: Recorder, prefix: str, now: float) -> StreamSums:
    """Return the sums of a route, which are of all gateways where they share a log."""
    until = recorder.until(now)
    numbers = recorder.gauges.of(prefix).plain
    stored = numbers.get("headgate_storage_streams")
    received = figures.COLUMN["received_bytes"]
    hour = [row for row in recorder.history.of(prefix, "1h", until) if row is not None]
    latest, live = recorder.history.now(prefix, until), recorder.fleet.live(prefix)
    return StreamSums(
        streams=None if stored is None else int(stored),
        size=numbers.get(USED, numbers.get(SIZE)),
        growth=sum(row[received] for row in hour) if hour else None,
        rate=figures.value(figures.rate("appends"), latest),
        readers=figures.value(figures.rate(*figures.TRANSPORTS), live),
    )
