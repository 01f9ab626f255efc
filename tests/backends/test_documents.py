"""Documents beside the streams: what is written is there, in the order of names, and alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import apsw
import pytest

from gateway.backends.memory import MemoryLog
from gateway.backends.sqlite.backups.copying import back_up, restore
from gateway.backends.sqlite.backups.source import SourceFile
from gateway.backends.sqlite.backups.verification import FileVerification
from gateway.backends.sqlite.log import SqliteLog
from tests.backends.abilities import needed
from tests.backends.contract import created

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.backends.contract import Documents, Log


@pytest.fixture(params=["memory", "file"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Log]:
    one: Log = MemoryLog() if request.param == "memory" else SqliteLog(tmp_path / "log")
    await one.open()
    yield one
    await one.close()


async def everything(documents: Documents, limit: int = 2) -> dict[str, bytes]:
    """Return all documents, page by page."""
    found: list[tuple[str, bytes]] = []
    while page := await documents.read(found[-1][0] if found else "", limit):
        assert len(page) <= limit
        found += page
    assert [name for name, _ in found] == sorted(name for name, _ in found)
    return dict(found)


async def test_documents_are_stored_replaced_and_removed_together(log: Log) -> None:
    documents = needed(log.documents)
    assert await everything(documents) == {}
    await documents.write({"b": b"1", "a/x": b"\x00\xff", "c": b""})
    assert await everything(documents) == {"a/x": b"\x00\xff", "b": b"1", "c": b""}
    await documents.write({"b": b"2", "c": None, "nothing": None, "d": b"4"})
    assert await everything(documents) == {"a/x": b"\x00\xff", "b": b"2", "d": b"4"}


async def test_documents_are_no_streams(log: Log) -> None:
    await log.commit((created(log, "s"),))
    await needed(log.documents).write({"s": b"x", "t": b"x"})
    listed = await needed(log.listing).page("", "", 10)
    assert [state.path for state in listed.states] == ["s"]
    assert (await log.load("t")).place.state is None
    assert needed(log.counts).numbers()["streams"] <= 1


async def test_documents_of_a_file_survive_a_restart_and_are_in_backups(tmp_path: Path) -> None:
    for text in (b"1", b"2"):
        log = SqliteLog(tmp_path / "log")
        await log.open()
        await log.documents.write({"a": text, text.decode(): text})
        await log.close()
    backup = tmp_path / "backup"
    back_up(tmp_path / "log", backup, lambda *_: None)
    restore(backup, tmp_path / "restored", lambda *_: None)
    log = SqliteLog(tmp_path / "restored")
    await log.open()
    assert await everything(log.documents) == {"1": b"1", "2": b"2", "a": b"2"}
    await log.close()


async def test_a_damaged_document_is_left_out_and_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = SqliteLog(tmp_path / "log")
    await log.open()
    await log.documents.write({"a": b"1", "b": b"2", "c": b"3"})
    await log.close()
    connection = apsw.Connection(str(tmp_path / "log" / "headgate.db"))
    connection.execute("update documents set body=x'00' where name in ('a', 'b')")
    connection.close()
    with SourceFile.open(tmp_path / "log") as source:
        damages = list(FileVerification(source, lambda: None).run())
    assert [it.problem for it in damages] == [
        f"the document {name} does not match its checksum" for name in ("a", "b")
    ]
    log = SqliteLog(tmp_path / "log")
    await log.open()
    assert await everything(log.documents, 1) == {"c": b"3"}
    await log.close()
    assert capsys.readouterr().out.count("log.document_damaged") == 2
