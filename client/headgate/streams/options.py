"""The options of what a client makes, by the names that its classes have them under."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable


class WriterOptions(TypedDict, total=False):
    """Options of `StreamWriter`."""

    producer_id: str | None
    epoch: int
    flush_interval: float
    max_batch_bytes: int
    max_batch_chunks: int
    max_buffer_bytes: int
    retry_for: float
    note: Callable[[str], None]


class WorkerOptions(TypedDict, total=False):
    """Options of `Worker`."""

    name: str | None
    concurrency: int
    stop_grace: float
