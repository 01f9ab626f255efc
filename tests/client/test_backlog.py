from __future__ import annotations

import tracemalloc

import pytest
from headgate.sending.backlog import CHUNK_BYTES, Backlog, Limits

LIMITS = Limits(
    0.010, max_batch_bytes=10, max_batch_chunks=3, max_buffer_bytes=20 + 2 * CHUNK_BYTES
)


def filled(*chunks: bytes) -> Backlog:
    backlog = Backlog(LIMITS)
    for chunk in chunks:
        backlog.take(chunk, lambda: 5.0)
    return backlog


@pytest.mark.parametrize(
    ("chunks", "is_full"),
    [
        ((b"a", b"b"), False),
        ((b"a", b"b", b"c"), True),
        ((b"a" * 9,), False),
        ((b"a" * 10,), True),
        ((b"a" * 11,), True),
    ],
)
def test_a_batch_is_full_at_its_limit_of_chunks_or_of_bytes(
    chunks: tuple[bytes, ...], is_full: bool
) -> None:
    assert filled(*chunks).is_full is is_full


def test_a_backlog_of_tiny_chunks_uses_no_more_memory_than_its_limit() -> None:
    backlog = Backlog(Limits(0.010, 10, 3, max_buffer_bytes=1 << 16))
    tracemalloc.start()
    try:
        while backlog.has_room(2):
            backlog.take(b"%02d" % (backlog.taken % 100), lambda: 5.0)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert backlog.taken == (1 << 16) // (2 + CHUNK_BYTES)
    assert held <= 1 << 16


def test_a_batch_is_due_one_interval_after_its_first_chunk() -> None:
    backlog = filled(b"a")
    backlog.take(b"b", lambda: 5.009)
    assert backlog.due_at == pytest.approx(5.010)


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
    Limits(**right)
    with pytest.raises(ValueError, match=named):
        Limits(**(right | wrong))  # type: ignore[arg-type]
