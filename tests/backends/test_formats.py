"""Data files as earlier versions of Headgate have written them: `old_formats` has what they had."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import pytest
from structlog.testing import capture_logs

from gateway.backends.sqlite.backups.copying import back_up, restore
from gateway.backends.sqlite.backups.source import SourceFile
from gateway.backends.sqlite.backups.verification import FileVerification
from gateway.backends.sqlite.data_folder import SCHEMA_VERSION
from gateway.backends.sqlite.log import SqliteLog
from gateway.errors import StartError
from gateway.protocol.streams.state import ProducerState
from tests.backends.contract import appended, opened

OLD = sorted((Path(__file__).parent / "old_formats").glob("*.sql"))
CONTENT = {
    "plain": b"first second third " + b"x" * 5000,
    "closed": b"all done",
    "short": b"soon over",
    "fork": b"first second own",
}


def made(old: Path, folder: Path) -> Path:
    """Make the data file in a folder."""
    folder.mkdir()
    with closing(apsw.Connection(str(folder / "headgate.db"))) as connection:
        connection.execute(old.read_text())
    return folder


def assert_sound(place: Path, version: int) -> None:
    with SourceFile.open(place) as source:
        assert source.version == version
        check = FileVerification(source, lambda: None)
        assert list(check.run()) == []
        assert (check.streams, check.bytes) == (4, sum(map(len, CONTENT.values())) - 13)


async def assert_content(folder: Path) -> None:
    """Check all of the streams, and append to one."""
    async with opened("sqlite", folder) as log:
        for path, content in CONTENT.items():
            found = await log.load(path)
            state = found.place.state
            assert state is not None
            assert b"".join((await log.read(state, 0, state.tail)).records) == content
            assert state.closed == (path == "closed")
            assert state.lifetime.ttl_s == (3600 if path == "short" else None)
            known = {"w": ProducerState(2, 7, 1750000000.5)} if path == "plain" else {}
            assert found.producers == known
            if path == "fork":
                await log.commit([appended(state, b" more")])


@pytest.mark.parametrize("old", OLD, ids=[file.stem for file in OLD])
async def test_a_file_of_an_earlier_version_is_upgraded_with_all_that_it_has(
    old: Path, tmp_path: Path
) -> None:
    folder = made(old, tmp_path / "data")
    version = int(old.stem.removeprefix("format_")[0])
    assert_sound(folder, version)
    with capture_logs() as lines:
        await assert_content(folder)
    told = [(line["was"], line["format"]) for line in lines if line["event"] == "log.upgraded"]
    assert told == [(version, SCHEMA_VERSION)] * (version < SCHEMA_VERSION)
    assert int.from_bytes((folder / "headgate.db").read_bytes()[60:64]) == SCHEMA_VERSION
    async with opened("sqlite", folder) as log:
        state = (await log.load("fork")).place.state
        assert state is not None
        assert b"".join((await log.read(state, 0, state.tail)).records) == (
            CONTENT["fork"] + b" more"
        )


@pytest.mark.parametrize("old", OLD, ids=[file.stem for file in OLD])
async def test_a_backup_of_an_earlier_version_is_restored_and_upgraded(
    old: Path, tmp_path: Path
) -> None:
    folder = made(old, tmp_path / "data")
    before = (folder / "headgate.db").read_bytes()
    back_up(folder, tmp_path / "copy", lambda *_: None)
    assert (folder / "headgate.db").read_bytes() == before
    restore(tmp_path / "copy", tmp_path / "other", lambda *_: None)
    await assert_content(tmp_path / "other")


@pytest.mark.parametrize("old", OLD, ids=[file.stem for file in OLD])
async def test_an_upgrade_that_fails_changes_nothing(old: Path, tmp_path: Path) -> None:
    folder = made(old, tmp_path / "data")
    with closing(apsw.Connection(str(folder / "headgate.db"))) as connection:
        connection.execute("create index streams_trim on streams (tail)")  # in the upgrade's way
    before = (folder / "headgate.db").read_bytes()
    log = SqliteLog(folder)
    with pytest.raises(StartError, match="index streams_trim already exists"):
        await log.open()
    with closing(apsw.Connection(str(folder / "headgate.db"))) as connection:
        connection.execute("pragma journal_mode=delete").fetchall()
    after = (folder / "headgate.db").read_bytes()
    # SQLite counts its changes of the journal's mode in the header.
    assert [at for at in range(len(before)) if before[at] != after[at] and at >= 100] == []
    assert after[60:64] == before[60:64]
