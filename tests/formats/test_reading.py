"""What each version has written is read whole by this one, and goes on."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.formats import seen
from tests.formats.fixtures import VERSIONS, advised, expected, unpack
from tests.formats.going_on import create_again, go_on, produce, work
from tests.formats.served import STREAMS, TOKENS, Place, Served, serving
from tests.formats.settings_files import values_in
from tests.support.processes import AT_ONCE, HEADGATE, run, start

if TYPE_CHECKING:
    from pathlib import Path

assert VERSIONS, "there are no fixtures"
pytestmark = [
    pytest.mark.parametrize("version", VERSIONS),
    pytest.mark.usefixtures("processes"),
    pytest.mark.timeout(240),  # a busy machine takes ten times as long
]


def folders(folder: Path, access: Path) -> Place:
    return Place(f"file:{folder}/streams", f"file:{folder}/kept", access)


def read_whole(served: Served, known: dict[str, Any]) -> None:
    """Read all that was there, and compare it."""
    seen.wait_for_owner(served)
    assert seen.differences(known["lasting"], seen.lasting(served, known)) == []


def read_whole_and_go_on(place: Place, known: dict[str, Any]) -> None:
    """Read all that was there, compare it, go on, and read what was added after a restart."""
    with serving(place) as served:
        read_whole(served, known)
        assert seen.read_on(served, place) == "four five"
        produce(served, known)
        create_again(served, known)
        added = go_on(served, known)
        work(served, known)
        assert served.server.terminate() == 0
    with serving(place) as served:
        assert {url: served.stream("GET", url).body for url in added} | added == added
        old = seen.repeated(served, known["producers"])
        assert {it[:3] for name, it in old.items() if name.endswith("is outdated")} <= {
            "403",
            "409",
        }


@pytest.mark.smoke
def test_a_data_folder_is_read_whole_and_goes_on(version: str, tmp_path: Path) -> None:
    access = unpack(version, "access", tmp_path / "access")
    folder = unpack(version, "folder", tmp_path / "folder")
    with advised(version):
        read_whole_and_go_on(folders(folder, access), expected(version)["folder"])


def test_a_backup_is_restored_and_read_whole(version: str, tmp_path: Path) -> None:
    access = unpack(version, "access", tmp_path / "access")
    backup = unpack(version, "backup", tmp_path / "backup")
    with advised(version):
        for name in ("streams", "kept"):
            for words in (("restore", backup / name, tmp_path / name), ("verify", tmp_path / name)):
                done = run([HEADGATE, "data", *map(str, words)])
                assert done.returncode == 0, done.stderr.decode()
        with serving(folders(tmp_path, access)) as served:
            read_whole(served, expected(version)["folder"])


@pytest.mark.smoke
def test_files_of_settings_have_the_same_effect_and_no_warning(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = unpack(version, "settings", tmp_path / "settings")
    monkeypatch.chdir(folder)
    with advised(version):
        for name, was in expected(version)["settings"].items():
            now = values_in(folder / name)
            assert seen.differences(was, json.loads(json.dumps(now)), name) == []
            words = [HEADGATE, "config", "check", "--json", "--config", name]
            pipe = subprocess.PIPE
            process = start(words, stdout=pipe, stderr=pipe, folder=folder)
            told, refused = process.communicate()
            assert process.wait() == 0, refused.decode()
            assert json.loads(told)["warnings"] == []


@pytest.mark.smoke
def test_the_named_servers_of_a_user_are_known(version: str, tmp_path: Path) -> None:
    access = unpack(version, "access", tmp_path / "access")
    home = {"XDG_CONFIG_HOME": str(access)}
    words: list[str | Path] = [HEADGATE, "config", "context", "list"]
    with advised(version):
        done = run(words, environment={**os.environ, **AT_ONCE, **home})
        lines = done.stdout.decode().splitlines()
        assert [line for line in lines if "http://127.0.0.1:4437/v1/stream" in line]
        assert [line for line in lines if "*" in line and "https://streams.example.com" in line]


# ---- copies, which are the way from a format that is read no more


def content(served: Served, path: str) -> tuple[str, bool, str | None, bytes]:
    """Return what a copy promises of a stream: its type, its end, its lifetime, and its content."""
    head = served.stream("HEAD", path).fields
    lifetime = head["Stream-TTL"] or head["Stream-Expires-At"]
    body, offset, is_over = b"", "-1", False
    while not is_over:
        answer = served.stream("GET", f"{path}?offset={offset}")
        offset = answer.fields["Stream-Next-Offset"]
        is_over = answer.fields["Stream-Up-To-Date"] is not None
        part = answer.body.strip()[1:-1] if "json" in head["Content-Type"] else answer.body
        body += part
    return head["Content-Type"], head["Stream-Closed"] is not None, lifetime, body


def test_the_command_of_a_refusal_copies_all_streams_from_the_older_server(
    version: str, tmp_path: Path
) -> None:
    access = unpack(version, "access", tmp_path / "access")
    folder = unpack(version, "folder", tmp_path / "folder")
    refused = unpack(version, "folder", tmp_path / "refused") / "streams"
    with (refused / "headgate.db").open("r+b") as file:
        file.seek(60)  # the field of SQLite's header that has the number of the format
        file.write(struct.pack(">I", 99))
    told = run([HEADGATE, "serve", "--storage", f"file:{refused}"]).stderr.decode()
    printed = re.search(r"`headgate (data copy (\S+) file:(\S+) --names names.txt)`", told)
    assert printed is not None, told
    environment = {**os.environ, **AT_ONCE, "STREAM_AUTH": f"Bearer {TOKENS['all']}"}
    names = tmp_path / "names.txt"
    known = expected(version)["folder"]
    with advised(version), serving(folders(folder, access)) as older:
        url = {"STREAM_URL": older.server.streams, "STREAM_ADMIN_URL": older.server.admin_url}
        listed = run([HEADGATE, "ls"], environment={**environment, **url}).stdout
        names.write_bytes(listed)
        words = (
            printed[1].replace(printed[2], older.server.streams).replace("names.txt", str(names))
        )
        done = run([HEADGATE, *words.split()], environment=environment)
        assert done.returncode == 0, done.stderr.decode()
        copied = folders(tmp_path / "newer", access)._replace(streams=f"file:{printed[3]}")
        with serving(copied) as newer:
            below = f"{older.server.streams}/"  # with which an odd name is listed
            listed_names = [line.split()[-1] for line in listed.decode().splitlines()]
            paths = [f"{STREAMS}/{name.removeprefix(below)}" for name in listed_names]
            assert {*known["lasting"]["listed"]} <= {it.removeprefix(f"{STREAMS}/") for it in paths}
            for path in paths:
                if not path.startswith(f"{STREAMS}/wake/"):  # the older server writes there
                    assert content(newer, path) == content(older, path), path


def test_a_copy_from_log_to_log_keeps_offsets_and_producers(version: str, tmp_path: Path) -> None:
    access = unpack(version, "access", tmp_path / "access")
    folder = unpack(version, "folder", tmp_path / "folder")
    known = expected(version)["folder"]
    copy = tmp_path / "copy"
    with advised(version):
        for name in ("streams", "kept"):
            done = run([HEADGATE, "data", "copy", f"file:{folder / name}", f"file:{copy / name}"])
            assert done.returncode == 0, done.stderr.decode()
        with serving(folders(copy, access)) as served:
            assert seen.repeated(served, known["producers"]) == known["lasting"]["repeated"]
            for path, one in known["lasting"]["streams"].items():
                reads = {at: told for at, told in one["reads"].items() if told.startswith("200")}
                now = seen.stream(served, path, reads)["reads"]
                assert {at: without_tag(it) for at, it in now.items()} == {
                    at: without_tag(it) for at, it in reads.items()
                }


def without_tag(told: str) -> str:
    """Return what was read without its ETag: the copy of a stream is another stream."""
    return re.sub(r" \| etag: \S+", "", told)
