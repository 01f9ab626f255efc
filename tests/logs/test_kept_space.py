"""A data file does not grow by more than what its streams keep, and a fixed amount."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_gateway.protocol.streams.limits import Retention
from tests.logs.kept_space import DAY_S, FIXED_BYTES, Writing, size_after
from tests.support.examples import cases

if TYPE_CHECKING:
    from pathlib import Path

WRITING = Writing(streams=5, appends=1, size=200_000)  # a megabyte an hour
OF_A_DAY = 24 * WRITING.appends


RETENTIONS = {
    "age": Retention(max_age_s=DAY_S),
    "size": Retention(max_bytes=OF_A_DAY * WRITING.size),
    "messages": Retention(max_messages=OF_A_DAY),
}


@pytest.mark.parametrize("kind", cases(RETENTIONS, {"age"}, "one kind: room is freed alike"))
async def test_a_data_file_is_bounded_after_days_with_retention(kind: str, tmp_path: Path) -> None:
    sizes = await size_after(tmp_path, 5, WRITING, RETENTIONS[kind])
    assert 0.9 <= sizes.kept / (OF_A_DAY * WRITING.size * WRITING.streams) <= 1.15
    assert sizes.are_bounded
    assert sizes.written > 1.5 * (sizes.kept + FIXED_BYTES)  # else it would be bounded anyway
