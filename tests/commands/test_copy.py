from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.tools.copying.server_place import is_same_message
from tests.commands.conftest import CommandLine
from tests.commands.copying import carried, exact, fill, opened
from tests.streams.service import Service
from tests.support.ports import free_port
from tests.support.processes import headgate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def copier() -> Iterator[CommandLine]:
    """The command line without a server of its own."""
    made = CommandLine("http://127.0.0.1:9/v1/stream")
    yield made
    made.kill()


@pytest.mark.usefixtures("processes")
async def test_streams_are_equal_after_copies_of_every_pair_that_were_killed(
    tmp_path: Path,
) -> None:
    legs, killed = await carried(tmp_path, streams=60, kills=3, seed=7)
    assert len(legs) == 5
    assert not any(leg.paths for leg in legs), legs
    assert killed  # a run may end before it is killed on a busy machine


@pytest.mark.usefixtures("processes")
async def test_a_repeated_copy_changes_nothing_and_a_grown_stream_is_gone_on_with(
    copier: CommandLine, tmp_path: Path
) -> None:
    source, target = f"file:{tmp_path / 'a'}", f"file:{tmp_path / 'b'}"
    paths = await fill(tmp_path / "a", 20, seed=1)
    first = json.loads(copier.output("data", "copy", source, target, "--json"))
    assert (first["streams"], first["changed"]) == (20, 20)
    again = json.loads(copier.output("data", "copy", source, target, "--json"))
    nothing = dict.fromkeys(again, 0)
    assert again == {**nothing, "streams": 20}
    assert {"changed", "bytes", "subscriptions"} <= again.keys()
    async with opened(source) as log:
        await Service(log).create("grown", b"more")
    third = json.loads(copier.output("data", "copy", source, target, "--json"))
    assert (third["changed"], third["bytes"]) == (1, 4)
    paths.append("grown")
    assert await exact(source, paths) == await exact(target, paths)


@pytest.mark.usefixtures("processes")
async def test_a_stream_with_other_content_is_refused_by_name_and_the_others_are_copied(
    copier: CommandLine, tmp_path: Path
) -> None:
    source, target = f"file:{tmp_path / 'a'}", f"file:{tmp_path / 'b'}"
    async with opened(source) as log:
        for name in ("first", "second", "third"):
            await Service(log).create(name, b"of the source")
    async with opened(target) as log:
        await Service(log).create("second", b"of another")
    done = copier("data", "copy", source, target)
    assert done.returncode == 4
    assert done.stderr.decode() == (
        "headgate: second: the stream that is there already has other content than the source.\n"
        "Copied 2 of 2 streams, 26 bytes; 1 could not be copied.\n"
    )
    async with opened(target) as log:
        assert await Service(log).data("second") == b"of another"
        assert await Service(log).data("third") == b"of the source"


@pytest.mark.usefixtures("processes")
async def test_only_streams_with_the_prefix_or_in_the_file_of_names_are_copied(
    copier: CommandLine, tmp_path: Path
) -> None:
    source, target = f"file:{tmp_path / 'a'}", f"file:{tmp_path / 'b'}"
    async with opened(source) as log:
        for name in ("a/1", "a/2", "b%20c/1", "d"):
            await Service(log).create(name, b"x")
    assert json.loads(
        copier.output("data", "copy", source, target, "--prefix", "a/", "--json")
    ) == {
        "streams": 2,
        "changed": 2,
        "gone": 0,
        "refused": 0,
        "bytes": 2,
        "subscriptions": 0,
    }
    place = tmp_path / "place"  # as one with a password is given
    place.write_text(f"{source}\n")
    options = ("--names", "-", "--json")
    named = copier.output("data", "copy", f"@{place}", target, *options, stdin=b"b c/1\nno\n")
    assert (json.loads(named)["changed"], json.loads(named)["gone"]) == (1, 1)
    found = await exact(target, ["a/1", "a/2", "b%20c/1", "d"])
    assert [path for path, one in found.items() if one] == ["a/1", "a/2", "b%20c/1"]


@pytest.mark.usefixtures("processes")
def test_a_folder_that_a_server_has_open_is_refused_in_words(
    copier: CommandLine, tmp_path: Path
) -> None:
    with headgate(f"file:{tmp_path / 'a'}"):
        done = copier("data", "copy", f"file:{tmp_path / 'a'}", f"file:{tmp_path / 'b'}")
    assert done.returncode == 1
    assert done.stderr.decode() == (
        f"headgate: file:{tmp_path / 'a'} is in use: end its server, or give the server's URL in "
        "place of it.\n"
    )


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("source", "target", "status", "said"),
    [
        pytest.param(
            "file:{0}/none", "file:{0}/b", 2, "FROM: {0}/none does not exist", id="no-source"
        ),
        pytest.param("file:{0}/a", "file:{0}/./a", 2, "are the same place", id="same-folder"),
        pytest.param("memory:", "file:{0}/b", 2, "FROM: it must be file:PATH", id="memory"),
        pytest.param("h/s", "file:{0}/b", 2, "or the URL below which a server", id="no-url"),
        pytest.param("h:1/s", "file:{0}/b", 2, "its streams: write http://h:1/s.", id="no-scheme"),
        pytest.param("file:{0}/a", "chat", 2, "TO: it must be file:PATH", id="a-name"),
        pytest.param("file:{0}/a", "http://h/s", 2, "TO: it must be file:PATH", id="to-a-server"),
        pytest.param("redis://:hush@", "file:{0}/b", 2, "FROM: it must have HOST", id="no-host"),
        pytest.param("http://127.0.0.1:9/x", "file:{0}/b", 2, "by --names", id="no-list"),
        pytest.param("@{0}/no", "file:{0}/b", 2, "FROM: {0}/no cannot be read", id="no-file"),
    ],
)
def test_places_that_cannot_be_copied_are_refused_in_words(
    source: str, target: str, status: int, said: str, copier: CommandLine, tmp_path: Path
) -> None:
    done = copier("data", "copy", source.format(tmp_path), target.format(tmp_path))
    assert said.format(tmp_path) in done.stderr.decode()
    assert b"hush" not in done.stderr
    assert done.returncode == status
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (b'{"a": 1.0, "b": 2}', b'{"b":2,"a":1}', True),
        (b"12345678901234567890", b"12345678901234567000", True),
        (b"-0", b"0", True),
        (b"1", b"true", False),
        (b'"1"', b"1", False),
    ],
)
def test_messages_are_the_same_if_javascript_reads_the_same(
    one: bytes, other: bytes, *, is_same: bool
) -> None:
    assert is_same_message(one, other) is is_same


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("is_source", [True, False], ids=["from", "to"])
async def test_a_redis_that_cannot_be_reached_is_named_in_one_sentence(
    copier: CommandLine, tmp_path: Path, *, is_source: bool
) -> None:
    folder, port = f"file:{tmp_path / 'a'}", free_port()
    await fill(tmp_path / "a", 2, seed=1)
    (tmp_path / "redis").write_text(f"redis://:secret@127.0.0.1:{port}")
    redis = f"@{tmp_path / 'redis'}"
    done = copier("data", "copy", *((redis, folder) if is_source else (folder, redis)))
    assert done.returncode == 69
    said = done.stderr.decode()
    shown = f"redis://:***@127.0.0.1:{port}"
    assert said.startswith(f"headgate: {shown}: the log cannot be reached: Connection refused; ")
    assert said.count("\n") == 1
