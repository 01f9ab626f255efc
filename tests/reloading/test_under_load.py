"""A short version of `python -m campaigns.reloads`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.reloading.under_load import Load

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("processes")
async def test_reloads_under_load_lose_no_reader_no_message_and_no_request(tmp_path: Path) -> None:
    measured = await Load(tmp_path, 200).play(6)
    assert (measured.readers_lost, measured.failed) == (0, 0)
    assert measured.ratio_during == 1.0
