"""Whatever a flipped bit of a data file alters for readers is named by a verification."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.logs.flipped_files import flips
from tests.support.examples import IS_WHOLE

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_flipped_bit_that_alters_what_is_served_is_found_and_mostly_its_stream_is_named(
    tmp_path: Path,
) -> None:
    found = await flips(tmp_path, 2000 if IS_WHOLE else 30, seed=11)
    assert [flip for flip in found if flip.outcome == "MISSED"] == []
    outcomes = Counter(flip.outcome for flip in found)
    # Of the 434,176 bytes some 80 % are records, and few are the file's own structure.
    assert outcomes["the streams are named"] > 0.6 * len(found)
    assert outcomes["the file is named"] < 0.05 * len(found)
    assert outcomes["not served differently"] > 0
