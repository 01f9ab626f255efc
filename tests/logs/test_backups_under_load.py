"""A short campaign of backups beside appends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.logs.backups_under_load import play

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("processes")
async def test_a_backup_beside_appends_has_all_acknowledged_before_it(tmp_path: Path) -> None:
    found = await play(tmp_path, backups=1, kills=2, megabytes=8, seed=1)
    assert found.rate > 0
    assert found.beside, "nothing was appended while a backup was made"
