"""A data file without its end: a start that refuses it leaves file and WAL as it found them."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.errors import StartError
from headgate_gateway.logs.sqlite.log import SqliteLog
from tests.logs.contract import created, data_file

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 4096
NAMES = ("headgate.db", "headgate.db-wal", "headgate.reserve")
STREAMS = 60  # of 70,000 bytes: more than the WAL of 1,000 pages that a commit copies into the file


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a server leaves that is killed after a checkpoint, with later commits in the WAL."""
    return asyncio.run(_left(tmp_path_factory.mktemp("left")))


async def _left(folder: Path) -> Path:
    async with data_file(folder / "running") as log:
        for number in range(STREAMS):
            await log.commit([created(log, f"s{number}", b"x" * 70_000)])
        shutil.copytree(folder / "running", folder / "left")
    return folder / "left"


async def test_a_file_whose_newest_pages_are_in_a_wal_opens(left: Path, tmp_path: Path) -> None:
    async with data_file(shutil.copytree(left, tmp_path / "log")) as log:
        assert (await log.load(f"s{STREAMS - 1}")).path_state.state is not None


@pytest.mark.parametrize("with_wal", [True, False], ids=["wal", "no-wal"])
@pytest.mark.parametrize(
    "keep", [0.9, 0.5, 0.1, 3 * PAGE + 100, 2 * PAGE, PAGE, PAGE - 1, 100, 99, 0]
)
def test_a_start_with_a_cut_file_is_refused_and_changes_no_file(
    keep: float, with_wal: bool, left: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(left, tmp_path / "log")
    file = folder / NAMES[0]
    if not with_wal:
        (folder / NAMES[1]).unlink()
    os.truncate(file, int(keep * file.stat().st_size) if keep < 1 else int(keep))
    files = [folder / name for name in NAMES]
    before = [one.read_bytes() if one.exists() else b"" for one in files]
    log = SqliteLog(folder)
    with pytest.raises(StartError, match=re.escape(str(file))) as refused:
        asyncio.run(log.open())
    assert [one.read_bytes() if one.exists() else b"" for one in files] == before
    assert re.search("is cut|malformed|not a Headgate data file|is gone", str(refused.value))
