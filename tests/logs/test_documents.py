"""Documents beside the streams: what is written is there, in the order of names, and alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import apsw
import pytest

from headgate_gateway.errors import LogUnavailable
from headgate_gateway.features.redis.documents import RedisDocuments, RedisOwnership
from headgate_gateway.features.redis.mailboxes import RedisMailboxes
from headgate_gateway.features.redis.store import NOBODY
from headgate_gateway.features.subscriptions.delivery.documents import FileDocuments, documents_in
from headgate_gateway.logs.memory import MemoryLog
from headgate_gateway.logs.sqlite.log import SqliteLog
from headgate_gateway.tools.backups.copying import back_up, restore
from headgate_gateway.tools.backups.source import SourceFile
from headgate_gateway.tools.backups.verification import FileVerification
from tests.logs.abilities import needed
from tests.logs.contract import created, kinds
from tests.logs.redis_logs import connected
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from headgate_gateway.features.subscriptions.delivery.documents import Documents
    from headgate_gateway.logs.contract import Log
    from headgate_gateway.logs.redis.names import RedisNames
    from tests.support.log_lines import Lines
    from tests.support.redis_servers import RedisServer


@pytest.fixture(params=kinds(["memory", "file", "redis"]))
async def log(
    request: pytest.FixtureRequest, tmp_path: Path, names: RedisNames
) -> AsyncIterator[Log]:
    if request.param == "redis":
        server = request.getfixturevalue("server")
        async with connected(f"{server.url}?prefix={names.prefix}") as shared:
            yield shared
        return
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
    documents = needed(documents_in(log))
    assert await everything(documents) == {}
    await documents.write({"b": b"1", "a/x": b"\x00\xff", "c": b""})
    assert await everything(documents) == {"a/x": b"\x00\xff", "b": b"1", "c": b""}
    assert [await documents.read_one(name) for name in ("b", "c", "d")] == [b"1", b"", None]
    await documents.write({"b": b"2", "c": None, "nothing": None, "d": b"4"})
    assert await everything(documents) == {"a/x": b"\x00\xff", "b": b"2", "d": b"4"}


async def test_documents_are_no_streams(log: Log) -> None:
    await log.commit((created(log, "s"),))
    await needed(documents_in(log)).write({"s": b"x", "t": b"x"})
    listed = await needed(log.listing).page("", "", 10)
    assert [state.path for state in listed.states] == ["s"]
    assert (await log.load("t")).path_state.state is None
    assert log.numbers().get("streams", 1) <= 1


async def test_only_the_owner_writes_documents_and_each_owner_has_a_later_number(
    server: RedisServer, names: RedisNames
) -> None:
    url = f"{server.url}?prefix={names.prefix}"
    async with connected(url) as log, connected(url) as other:
        ownership = RedisOwnership(log.store)
        assert await ownership.read() == (NOBODY, False)
        first = await ownership.acquire(NOBODY, "one")
        assert first == (1, "one")
        assert await RedisOwnership(other.store).acquire(NOBODY, "two") is None
        await ownership.documents_of(first).write({"a": b"1"})
        assert await RedisOwnership(other.store).read() == (first, True)
        second = await RedisOwnership(other.store).acquire(first, "two")
        assert second == (2, "two")
        for changes in ({"a": b"2"}, {"a": None}, {}):
            with pytest.raises(LogUnavailable, match="taken over"):
                await ownership.documents_of(first).write(changes)
        await RedisOwnership(other.store).documents_of(second).write({"b": b"2"})
        assert await everything(RedisDocuments(log.store)) == {"a": b"1", "b": b"2"}
        await ownership.resign(first)
        assert (await ownership.read())[0] == second
        await RedisOwnership(other.store).resign(second)
        assert (await ownership.read())[0] == (2, "")
        with pytest.raises(LogUnavailable, match="taken over"):
            await RedisOwnership(other.store).documents_of(second).write({"b": b"3"})


async def test_a_parcel_has_one_taker_and_a_message_tells_whether_it_was_heard(
    server: RedisServer, names: RedisNames
) -> None:
    url = f"{server.url}?prefix={names.prefix}"
    heard: list[bytes | None] = []
    async with connected(url) as log, connected(url) as other:
        mailboxes = RedisMailboxes(other.store)
        assert not await mailboxes.send("a", b"nobody")
        RedisMailboxes(log.store).open("a", heard.append)
        await until(lambda: heard == [None])
        assert await mailboxes.send_parcel("a", "key", b"content", b"come")
        await until(lambda: heard == [None, b"come"])
        taken = await asyncio.gather(*(mailboxes.claim_parcel("a", "key") for _ in range(2)))
        assert sorted(taken, key=str) == [None, b"content"]
        RedisMailboxes(log.store).close("a")
        assert server.command("KEYS", f"{names.prefix}:*mailbox*") == []


async def test_documents_of_a_file_survive_a_restart_and_are_in_backups(tmp_path: Path) -> None:
    for text in (b"1", b"2"):
        log = SqliteLog(tmp_path / "log")
        await log.open()
        await FileDocuments(log).write({"a": text, text.decode(): text})
        await log.close()
    backup = tmp_path / "backup"
    back_up(tmp_path / "log", backup, lambda *_: None)
    restore(backup, tmp_path / "restored", lambda *_: None)
    log = SqliteLog(tmp_path / "restored")
    await log.open()
    assert await everything(FileDocuments(log)) == {"1": b"1", "2": b"2", "a": b"2"}
    await log.close()


async def test_a_damaged_document_is_left_out_and_logged(tmp_path: Path, logged: Lines) -> None:
    log = SqliteLog(tmp_path / "log")
    await log.open()
    await FileDocuments(log).write({"a": b"1", "b": b"2", "c": b"3"})
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
    assert await everything(FileDocuments(log), 1) == {"c": b"3"}
    await log.close()
    assert [line["event"] for line in logged].count("log.document_damaged") == 2
