"""Data files that are damaged, removed or replaced: appends are refused, and somebody is told."""

from __future__ import annotations

import shutil
from contextlib import closing
from typing import TYPE_CHECKING

import apsw
import pytest

from headgate_gateway.logs.sqlite.writer import file_bytes
from tests.faults.disk import append, content, create
from tests.support.http1 import ask
from tests.support.processes import Headgate, headgate
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("processes")

FILE, WAL = "headgate.db", "headgate.db-wal"


def _readiness(server: Headgate) -> tuple[int, dict[str, str]]:
    answer = ask(server.admin_port, "GET", "/readyz")
    return answer.status, answer.json()["checks"]


def test_a_damaged_wal_is_reported_to_readers_and_producers_and_in_the_log(tmp_path: Path) -> None:
    stamp = {"producer_id": "p", "producer_epoch": "0"}
    with headgate(f"file:{tmp_path}") as server:
        create(server, "log", b"first ")
        kept = append(server, "log", b"second ").next_offset
        before = (tmp_path / WAL).stat().st_size
        lost = [
            ask(
                server.port,
                "POST",
                "/v1/stream/log",
                b"lost ",
                content_type="text/plain",
                producer_seq=str(number),
                **stamp,
            ).next_offset
            for number in range(3)
        ]
        server.kill()
        wal = bytearray((tmp_path / WAL).read_bytes())
        wal[before + 1000] ^= 4
        (tmp_path / WAL).write_bytes(wal)
        server.start()
        assert content(server, "log") == b"first second "
        assert append(server, "log", b"LOST LOST LOST ").status == 204
        for offset in lost:
            for live in ("", "&live=long-poll", "&live=sse"):
                answer = ask(server.port, "GET", f"/v1/stream/log?offset={offset}{live}")
                answer.assert_problem(410, "the log has lost", kept)
        answer = ask(server.port, "GET", f"/v1/stream/log?offset={kept}")
        assert (answer.status, answer.body) == (200, b"LOST LOST LOST ")
        assert answer.next_offset > max(lost)
        gap = ask(
            server.port,
            "POST",
            "/v1/stream/log",
            b"more",
            content_type="text/plain",
            producer_seq="3",
            **stamp,
        )
        assert (gap.status, gap.headers["producer-expected-seq"]) == (409, "0")
        ready = (200, dict.fromkeys(("server", "log /v1/stream", "settings", "clock"), "ok"))
        assert _readiness(server) == ready
        assert server.output().count("log.torn") == 1


def _moved_away(file: Path) -> None:
    file.rename(file.with_suffix(".away"))


def _replaced(file: Path) -> None:
    copy = file.with_suffix(".copy")
    shutil.copy(file, copy)
    file.rename(file.with_suffix(".away"))
    copy.rename(file)


@pytest.mark.smoke
@pytest.mark.parametrize("name", [FILE, WAL])
@pytest.mark.parametrize("lose", [_moved_away, _replaced])
def test_a_lost_data_file_is_noticed_at_the_next_commit_and_can_be_put_back(
    lose: Callable[[Path], None], name: str, tmp_path: Path
) -> None:
    file = tmp_path / name
    word = "removed" if lose is _moved_away else "replaced"
    with headgate(f"file:{tmp_path}") as server:
        create(server, "log", b"first ")
        lose(file)
        append(server, "log", b"refused ").assert_problem(503, "nothing of this request was stored")
        status, checks = _readiness(server)
        assert status == 503
        assert f"{file} was {word} under the running server" in checks["log /v1/stream"]
        assert content(server, "log") == b"first "
        file.with_suffix(".away").rename(file)
        assert append(server, "log", b"second ").status == 204
        assert _readiness(server)[0] == 200
        server.kill()
        server.start()
        assert content(server, "log") == b"first second "


@pytest.mark.parametrize("size", [8192, 0])
def test_a_truncated_data_file_is_noticed_at_the_next_commit(size: int, tmp_path: Path) -> None:
    with headgate(f"file:{tmp_path}") as server:
        create(server, "log", b"x" * 100_000)
        assert server.terminate() == 0
        server.start()
        assert append(server, "log", b"more").status == 204
        with (tmp_path / FILE).open("rb+") as file:
            file.truncate(size)
        append(server, "log", b"refused ").assert_problem(503)
        status, checks = _readiness(server)
        assert status == 503
        assert "was cut short" in checks["log /v1/stream"]


def test_a_data_file_that_another_program_shortens_with_its_wal_is_not_lost(
    tmp_path: Path,
) -> None:
    """Litestream takes the WAL into the file, and with it pages that the server has given back."""
    with headgate(f"file:{tmp_path}") as server:
        create(server, "old", b"")
        for _ in range(40):
            assert append(server, "old", b"x" * 250_000).status == 204
        create(server, "log", b"first ")
        other = apsw.Connection(str(tmp_path / FILE))
        other.execute("pragma wal_checkpoint(truncate)").fetchall()
        before = (tmp_path / FILE).stat().st_size
        other.execute("begin; select 1 from streams").fetchall()  # the server cannot shorten it
        assert ask(server.port, "DELETE", "/v1/stream/old").status == 204
        wait_until(lambda: size_in(tmp_path) < before, "the pages are given back")
        assert (tmp_path / FILE).stat().st_size == before
        other.execute("commit")

        def is_taken_in() -> bool:  # not while the server itself writes or checkpoints
            ((is_busy, *_),) = other.execute("pragma wal_checkpoint(truncate)").fetchall()
            return not is_busy

        wait_until(is_taken_in, "the WAL is taken into the file")
        assert (tmp_path / FILE).stat().st_size < before
        assert append(server, "log", b"second").status == 204
        assert content(server, "log") == b"first second"
        other.close()


def size_in(folder: Path) -> int:
    """Return how long the data file is with its WAL in it."""
    with closing(apsw.Connection(str(folder / FILE))) as connection:
        return file_bytes(connection)


def test_a_restart_without_the_data_file_is_refused_until_it_is_back(tmp_path: Path) -> None:
    with headgate(f"file:{tmp_path}") as server:
        create(server, "log", b"first ")
        (tmp_path / FILE).rename(tmp_path / "away")
        server.kill()
        with pytest.raises(AssertionError, match="put the data file back"):
            server.start()
        (tmp_path / "away").rename(tmp_path / FILE)
        server.start()
        assert content(server, "log") == b"first "
