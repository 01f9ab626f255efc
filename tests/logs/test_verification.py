"""What a verification does to a server that writes to the same file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.logs.sqlite import recent
from headgate_gateway.tools.backups.source import SourceFile
from headgate_gateway.tools.backups.verification import SNAPSHOT_BYTES, FileVerification
from tests.support.http1 import ask
from tests.support.processes import headgate

if TYPE_CHECKING:
    from pathlib import Path

STREAM = "/v1/stream/s"
TEXT = {"Content-Type": "text/plain"}
RECORD_BYTES = SNAPSHOT_BYTES // 2 + 1  # two of them fill a snapshot
RECORDS = 4
FIRST_ROW = recent.RECORD_BYTES + len(b"short")
DAMAGE = "data=cast('x' || substr(data, 2) as blob)"


@pytest.mark.usefixtures("processes")
def test_a_damage_is_reported_at_once_and_outside_of_a_snapshot(tmp_path: Path) -> None:
    with headgate(f"file:{tmp_path}") as server:
        assert ask(server.port, "PUT", STREAM, None, **TEXT).status == 201
        for _ in range(RECORDS):
            assert ask(server.port, "POST", STREAM, b"a" * RECORD_BYTES, **TEXT).status == 204
        assert ask(server.port, "POST", STREAM, b"short", **TEXT).status == 204
        server.kill()
    with closing(sqlite3.connect(tmp_path / "headgate.db", isolation_level=None)) as writer:
        assert writer.execute(f"update messages set {DAMAGE}").rowcount == RECORDS
        assert writer.execute(f"update recent set {DAMAGE}").rowcount == 1
        # For SQLite, the index lacks all streams without a deadline.
        writer.execute("pragma writable_schema=on")
        definition = "replace(sql, 'deadline is not null', 'deadline is null')"
        writer.execute(f"update sqlite_schema set sql={definition} where name='streams_deadline'")
        read_at_damages = []
        with SourceFile.open(tmp_path) as source:
            check = FileVerification(source, lambda: None)
            for damage in check.run():
                read_at_damages.append((check.bytes, damage.problem))
                writer.execute("update meta set value=value")
                busy, *_ = writer.execute("pragma wal_checkpoint(truncate)").fetchone()
                assert busy == 0, "the WAL cannot be taken into the file amid a snapshot"
    wrong, whole = "does not match its checksum", RECORDS * RECORD_BYTES + len(b"short")
    assert [
        *((2 * RECORD_BYTES, f"a record {wrong}"),) * 2,
        *((4 * RECORD_BYTES, f"a record {wrong}"),) * 2,
        (whole, f"a recent record (row {FIRST_ROW}) {wrong}"),
        (whole, "row 1 missing from index streams_deadline"),
    ] == read_at_damages
