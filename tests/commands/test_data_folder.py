"""`headgate data verify`, `backup` and `restore`, of the folders of real servers."""

from __future__ import annotations

import fcntl
import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.support.http1 import ask
from tests.support.processes import HEADGATE, Headgate, headgate, run

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.support.http1 import Answer

pytestmark = pytest.mark.usefixtures("processes")

TEXT = {"Content-Type": "text/plain"}


def command(*words: str | Path) -> subprocess.CompletedProcess[bytes]:
    return run([HEADGATE, "data", *map(str, words)], timeout_s=60)


def request(
    server: Headgate, method: str, name: str, body: bytes | None = None, **headers: str
) -> Answer:
    sent = {"Cache-Control": "no-cache", **TEXT, **{_field(key): headers[key] for key in headers}}
    return ask(server.port, method, f"/v1/stream/{name}", body, **sent)


def _field(name: str) -> str:
    return name.replace("_", "-")


def by_producer(server: Headgate, name: str, seq: int, body: bytes) -> Answer:
    return request(
        server, "POST", name, body, Producer_Id="w", Producer_Epoch="0", Producer_Seq=str(seq)
    )


def write_streams(server: Headgate) -> None:
    """Write a stream of each kind: with a producer, closed, with a lifetime, and a fork."""
    assert request(server, "PUT", "short", Stream_TTL="3600").status == 201
    for name in ("plain", "closed"):
        assert request(server, "PUT", name).status == 201
    for name in ("plain", "closed", "short"):
        assert request(server, "POST", name, b"first ").status == 204
    assert by_producer(server, "plain", 0, b"second ").status == 200
    assert request(server, "POST", "closed", b"last", Stream_Closed="true").status == 204
    forked = request(server, "PUT", "fork", Stream_Forked_From="/v1/stream/plain")
    assert forked.status == 201
    assert request(server, "POST", "fork", b"own").status == 204


def test_a_restored_backup_has_producers_lifetimes_closure_and_forks(tmp_path: Path) -> None:
    with headgate(f"file:{tmp_path / 'data'}") as server:
        write_streams(server)
        done = command("backup", f"file:{tmp_path / 'data'}", tmp_path / "copy")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(b"Backed up 4 streams with 32 bytes to ")
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    assert sorted(it.name for it in tmp_path.iterdir()) == ["copy", "data"]
    done = command("restore", tmp_path / "copy", tmp_path / "other")
    assert (done.returncode, done.stderr) == (0, b"")
    with headgate(f"file:{tmp_path / 'other'}") as server:
        assert request(server, "GET", "plain").body == b"first second "
        assert request(server, "GET", "fork").body == b"first second own"
        assert request(server, "HEAD", "short").get("Stream-TTL") == "3600"
        assert request(server, "HEAD", "closed").get("Stream-Closed") == "true"
        assert request(server, "POST", "closed", b"more").status == 409
        assert by_producer(server, "plain", 0, b"second ").status == 204  # a duplicate
        assert by_producer(server, "plain", 1, b"third").status == 200
        assert request(server, "GET", "plain").body == b"first second third"


def test_backup_and_restore_as_json_print_the_sizes_of_the_copy(tmp_path: Path) -> None:
    with headgate(f"file:{tmp_path / 'data'}") as server:
        write_streams(server)
    copied, folder = tmp_path / "copy", tmp_path / "other"
    found = json.loads(command("backup", tmp_path / "data", copied, "--json").stdout)
    assert found.pop("file_bytes") == copied.stat().st_size
    assert found == {"file": str(copied), "streams": 4, "records_bytes": 32}
    found = json.loads(command("restore", copied, folder, "--json").stdout)
    assert (found["folder"], found["streams"], found["records_bytes"]) == (str(folder), 4, 32)


def test_offsets_of_what_came_after_the_backup_are_refused_once_it_is_restored(
    tmp_path: Path,
) -> None:
    with headgate(f"file:{tmp_path / 'data'}") as server:
        write_streams(server)
        kept = request(server, "HEAD", "plain").next_offset
        assert command("backup", tmp_path / "data", tmp_path / "copy").returncode == 0
        lost = request(server, "POST", "plain", b"lost").next_offset
    assert command("restore", tmp_path / "copy", tmp_path / "other").returncode == 0
    with headgate(f"file:{tmp_path / 'other'}") as server:
        assert request(server, "POST", "plain", b"other data").status == 204
        assert request(server, "GET", f"plain?offset={kept}").body == b"other data"
        assert request(server, "GET", f"plain?offset={lost}").status == 410


def test_a_damaged_record_is_named_with_its_stream_and_offset_and_is_not_backed_up(
    tmp_path: Path,
) -> None:
    with headgate(f"file:{tmp_path}") as server:
        write_streams(server)
        assert command("verify", tmp_path).returncode == 0
        server.terminate()
    with closing(sqlite3.connect(tmp_path / "headgate.db")) as connection:
        connection.execute(
            "update messages set data=cast('x' || substr(data, 2) as blob) where end=16"
        )
        connection.commit()
    before = (tmp_path / "headgate.db").read_bytes()
    done = command("verify", f"file:{tmp_path}")
    assert done.returncode == 1
    assert done.stdout.decode().splitlines() == [
        "fork at 0000000000000000_0000000000000013: a record does not match its checksum",
        f"Damaged in 1 place: 4 streams with 32 bytes in {tmp_path}/headgate.db, format 4.",
    ]
    first, last = map(json.loads, command("verify", "--json", tmp_path).stdout.splitlines())
    assert (first["path"], first["offset"]) == ("fork", "0000000000000000_0000000000000013")
    assert last["damages"] == 1
    done = command("backup", tmp_path, tmp_path / "copy")
    assert done.returncode == 1
    assert b"is damaged, fork at 0000000000000000_0000000000000013" in done.stderr
    assert not list(tmp_path.glob("copy*"))
    assert (tmp_path / "headgate.db").read_bytes() == before


def test_a_damaged_recent_append_is_named_with_its_stream_and_offset(tmp_path: Path) -> None:
    with headgate(f"file:{tmp_path}") as server:
        for name in ("plain", "other"):
            assert request(server, "PUT", name).status == 201
            assert request(server, "POST", name, b"first ").status == 204
            assert request(server, "POST", name, b"second").status == 204
        server.kill()
    with closing(sqlite3.connect(tmp_path / "headgate.db")) as connection:
        ((last,),) = connection.execute("select max(nr) from recent").fetchall()
        damaged = "update recent set data=cast('x' || substr(data, 2) as blob) where nr=?"
        connection.execute(damaged, (last,))
        connection.commit()
    done = command("verify", tmp_path)
    assert done.returncode == 1
    assert done.stdout.decode().splitlines()[0] == (
        f"other at 0000000000000000_0000000000000006: a recent record (row {last}) does not"
        " match its checksum"
    )


def test_a_folder_of_a_killed_server_is_backed_up_with_what_is_in_its_wal(tmp_path: Path) -> None:
    with headgate(f"file:{tmp_path / 'data'}") as server:
        write_streams(server)
        server.kill()
    assert command("verify", tmp_path / "data").returncode == 0
    done = command("backup", tmp_path / "data", tmp_path / "copy")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"Backed up 4 streams with 32 bytes to ")


def test_a_damaged_wal_is_named(tmp_path: Path) -> None:
    with headgate(f"file:{tmp_path}") as server:
        assert request(server, "PUT", "plain").status == 201
        for number in range(5):
            assert request(server, "POST", "plain", b"%d" % number * 3000).status == 204
        server.kill()
    wal = bytearray((tmp_path / "headgate.db-wal").read_bytes())
    wal[len(wal) // 2] ^= 1
    (tmp_path / "headgate.db-wal").write_bytes(wal)
    done = command("verify", tmp_path)
    assert done.returncode == 1
    assert b"headgate.db-wal is damaged: " in done.stdout
    done = command("backup", tmp_path, tmp_path / "copy")
    assert done.returncode == 1
    assert b"headgate.db-wal is damaged: " in done.stderr
    assert not list(tmp_path.glob("copy*"))


def test_a_backup_writes_over_no_file_and_a_restore_into_no_used_folder(tmp_path: Path) -> None:
    with headgate(f"file:{tmp_path / 'data'}") as server:
        write_streams(server)
        assert command("backup", tmp_path / "data", tmp_path / "copy").returncode == 0
        for words, reason in (
            (("backup", tmp_path / "data", tmp_path / "copy"), "is there already"),
            (("backup", tmp_path / "data", tmp_path), "is a folder: name a file in it"),
            (("backup", tmp_path / "data", tmp_path / "no" / "copy"), "cannot be written"),
            (("restore", tmp_path / "copy", tmp_path / "data"), "in use by another Headgate"),
            (("restore", tmp_path / "copy", tmp_path), "is not empty, there is copy: "),
            (("restore", tmp_path / "data", tmp_path / "new"), "name the file of a backup"),
        ):
            done = command(*words)
            assert (done.returncode, done.stdout) == (1, b"")
            assert reason in done.stderr.decode()
            assert done.stderr.count(b"\n") == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("place", ["missing", "empty"])
@pytest.mark.parametrize("words", ["backup {} {}.new", "restore {} {}.new", "verify {}"])
def test_a_folder_that_is_not_there_has_one_exit_status_in_all_commands(
    words: str, place: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    done = command(*words.format(*[tmp_path / place] * 2).split())
    reason = "does not exist" if place == "missing" else "there is no data file, headgate.db, in"
    if words.startswith("restore") and place == "empty":  # a backup is a file, and not missing
        reason, expected = "name the file of a backup", 1
    else:
        expected = 2
    assert (done.returncode, done.stdout) == (expected, b"")
    assert reason in done.stderr.decode()
    assert not (tmp_path / f"{place}.new").exists()


@pytest.mark.parametrize("words", ["backup {} b", "restore {} b", "verify {}"])
def test_a_url_in_the_place_of_a_data_folder_is_refused_with_the_command_that_takes_one(
    words: str,
) -> None:
    done = command(*words.format("http://127.0.0.1:4437/v1/stream").split())
    assert done.returncode == 2
    assert b" is a folder or file on this machine" in done.stderr
    assert b"headgate data copy URL file:FOLDER" in done.stderr


def test_a_backup_replaces_what_a_killed_one_left_and_waits_for_no_other(tmp_path: Path) -> None:
    draft = tmp_path / "copy.partial"
    with headgate(f"file:{tmp_path / 'data'}") as server:
        write_streams(server)
        draft.write_bytes(b"not a database" * 10_000)
        with draft.open("rb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            done = command("backup", tmp_path / "data", tmp_path / "copy")
            assert done.returncode == 1
            assert b"another backup is writing" in done.stderr
        assert not (tmp_path / "copy").exists()
        assert command("backup", tmp_path / "data", tmp_path / "copy").returncode == 0
    assert not draft.exists()
    assert command("verify", tmp_path / "copy").returncode == 0


def test_a_backup_is_written_only_where_no_other_user_can_exchange_its_files(
    tmp_path: Path,
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"of somebody else")
    with headgate(f"file:{tmp_path / 'data'}") as server:
        write_streams(server)
        for name in ("draft", "name", "old", "group", "others", "sticky"):
            (tmp_path / name).mkdir(0o700)
        (tmp_path / "draft" / "copy.partial").symlink_to(victim)
        (tmp_path / "name" / "copy").symlink_to(tmp_path / "nowhere")
        (tmp_path / "old" / "copy.partial").write_bytes(b"left by a killed backup")
        (tmp_path / "old" / "copy.partial").chmod(0o666)
        (tmp_path / "group").chmod(0o770)
        (tmp_path / "others").chmod(0o703)
        (tmp_path / "sticky").chmod(0o1777)
        for folder, reason in (
            ("draft", "copy.partial is a symbolic link: it was left as it is"),
            ("name", "copy is there already"),
            ("group", "can write in"),
            ("others", "can write in"),
            ("sticky", "can write in"),
        ):
            before = sorted((tmp_path / folder).iterdir())
            done = command("backup", tmp_path / "data", tmp_path / folder / "copy")
            assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
            assert reason in done.stderr.decode()
            assert sorted((tmp_path / folder).iterdir()) == before
        copy = tmp_path / "old" / "copy"
        assert command("backup", tmp_path / "data", copy).returncode == 0
        assert (copy.lstat().st_mode & 0o777, list(copy.parent.iterdir())) == (0o600, [copy])
    assert victim.read_bytes() == b"of somebody else"


def test_a_restore_replaces_what_a_killed_one_left(tmp_path: Path) -> None:
    with headgate(f"file:{tmp_path / 'data'}") as server:
        write_streams(server)
        assert command("backup", tmp_path / "data", tmp_path / "copy").returncode == 0
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "headgate.db.new").write_bytes((tmp_path / "copy").read_bytes()[:20_000])
    (tmp_path / "other" / "headgate.db.new-journal").write_bytes(b"of the part")
    (tmp_path / "other" / "headgate.lock").touch()
    assert command("restore", tmp_path / "copy", tmp_path / "other").returncode == 0
    assert command("verify", tmp_path / "other").returncode == 0
    assert sorted(it.name for it in (tmp_path / "other").glob("*.new*")) == []


@pytest.mark.parametrize("size", [0, 50, 4096, 30_000, -4096])
def test_a_part_of_a_backup_is_never_restored(size: int, tmp_path: Path) -> None:
    with headgate(f"file:{tmp_path / 'data'}") as server:
        write_streams(server)
        assert command("backup", tmp_path / "data", tmp_path / "copy").returncode == 0
    (tmp_path / "copy").write_bytes((tmp_path / "copy").read_bytes()[:size])
    done = command("restore", tmp_path / "copy", tmp_path / "other")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert not (tmp_path / "other" / "headgate.db").exists()


def test_a_backup_without_room_leaves_nothing_and_says_so(tmp_path: Path) -> None:
    with headgate(f"file:{tmp_path / 'data'}") as server:
        write_streams(server)
        assert request(server, "POST", "plain", b"x" * 400_000).status == 204
        limited = (
            f"ulimit -f 256; exec {HEADGATE} data backup {tmp_path / 'data'} {tmp_path / 'copy'}"
        )
        done = run(["bash", "-c", limited], timeout_s=60)
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"cannot be copied to" in done.stderr
    assert not list(tmp_path.glob("copy*"))


@pytest.mark.parametrize("name", ["verify", "backup", "restore"])
def test_a_file_of_another_format_is_refused_with_both_versions(name: str, tmp_path: Path) -> None:
    with headgate(f"file:{tmp_path / 'data'}") as server:
        assert command("backup", tmp_path / "data", tmp_path / "copy").returncode == 0
        server.terminate()
    for file in (tmp_path / "copy", tmp_path / "data" / "headgate.db"):
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("pragma user_version=99")
    place = tmp_path / ("copy" if name == "restore" else "data")
    done = command(name, place, *([tmp_path / "new"] if name != "verify" else []))
    assert done.returncode == (2 if name == "verify" else 1)
    assert "is of format 99, and this Headgate knows format 4: it was left as it is; start" in (
        done.stderr.decode()
    )
    assert not (tmp_path / "new").exists()
