from __future__ import annotations

import tracemalloc

import pytest
from headgate.sending.backlog import CHUNK_BYTES, Backlog


def test_a_backlog_of_tiny_chunks_uses_no_more_memory_than_its_limit() -> None:
    backlog = Backlog(0.010, 10, 3, max_buffer_bytes=1 << 16)
    tracemalloc.start()
    try:
        while backlog.has_room(2):
            backlog.take(b"%02d" % (backlog.taken % 100), lambda: 5.0)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert backlog.taken == (1 << 16) // (2 + CHUNK_BYTES)
    assert held <= 1 << 16


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"flush_interval": -0.1}, "flush_interval"),
        ({"flush_interval": float("nan")}, "flush_interval"),
        ({"max_batch_bytes": 0}, "max_batch_bytes"),
        ({"max_batch_chunks": 0}, "max_batch_chunks"),
        ({"max_buffer_bytes": 0}, "max_buffer_bytes"),
    ],
)
def test_writer_limits_of_zero_or_nan_are_refused(wrong: dict[str, float], named: str) -> None:
    right: dict[str, int] = {
        "flush_interval": 0,
        "max_batch_bytes": 1,
        "max_batch_chunks": 1,
        "max_buffer_bytes": 1,
    }
    Backlog(**right)
    with pytest.raises(ValueError, match=named):
        Backlog(**(right | wrong))  # type: ignore[arg-type]
