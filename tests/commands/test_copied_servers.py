"""Copies from servers: repeated runs, long texts and what goes wrong."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from typing import TYPE_CHECKING

import pytest

from tests.commands.conftest import CommandLine
from tests.commands.copying import Copies, exact, seen_at, seen_in
from tests.support.blocking_origin import BlockingOrigin
from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.processes import headgate
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.processes import Headgate

TEXT, JSON = "text/plain", "application/json"


@pytest.fixture
def copier(server: Headgate) -> Iterator[CommandLine]:
    """The command line, to which the admin listener of the first server is known."""
    made = CommandLine(server.streams)
    made.environment |= {"STREAM_ADMIN_URL": server.admin_url}
    yield made
    made.kill()


def made(server: Headgate, name: str, *bodies: bytes, kind: str = TEXT) -> None:
    """Create a stream with these appends."""
    path = f"/v1/stream/{name}"
    assert ask(server.port, "PUT", path, None, **{"Content-Type": kind}).status == 201
    for body in bodies:
        append(server, name, body, kind=kind)


def append(server: Headgate, name: str, body: bytes, *, kind: str = TEXT) -> None:
    """Append to a stream."""
    answer = ask(server.port, "POST", f"/v1/stream/{name}", body, **{"Content-Type": kind})
    assert answer.status in {200, 204}, answer


def data(server: Headgate, name: str) -> bytes | None:
    answer = ask(server.port, "GET", f"/v1/stream/{name}", None, **{"Cache-Control": "no-cache"})
    return None if answer.status == 404 else answer.body


@pytest.mark.usefixtures("processes")
def test_a_repeated_copy_appends_what_a_server_has_got_since(
    copier: CommandLine, server: Headgate, tmp_path: Path
) -> None:
    target = f"file:{tmp_path / 'b'}"
    arguments = ("data", "copy", server.streams, target, "--prefix", "again/", "--json")
    made(server, "again/1", b"one ")
    assert json.loads(copier.output(*arguments))["bytes"] == 4
    append(server, "again/1", b"two")
    made(server, "again/2", b'{"n":1}', kind=JSON)
    ask(server.port, "POST", "/v1/stream/again/1", b"", **{"Stream-Closed": "true"})
    assert json.loads(copier.output(*arguments))["changed"] == 2
    assert json.loads(copier.output(*arguments))["changed"] == 0
    with headgate(target) as copy:
        assert data(copy, "again/1") == b"one two"
        assert data(copy, "again/2") == b'[{"n":1}]'
        assert ask(copy.port, "HEAD", "/v1/stream/again/1").get("Stream-Closed") == "true"
        old = ask(server.port, "HEAD", "/v1/stream/again/1").next_offset
        refused = ask(copy.port, "GET", f"/v1/stream/again/1?offset={old}")
        assert refused.status == 410


@pytest.mark.usefixtures("processes")
def test_the_list_that_a_server_of_any_version_prints_names_the_streams_to_copy(
    copier: CommandLine, server: Headgate, tmp_path: Path
) -> None:
    made(server, "list%20ed/1%202", b"one")
    made(server, "listed", b"two")
    names = tmp_path / "names.txt"
    # Of 0.1.0 before it was released, whose API this version does not read.
    names.write_text("open\t3\t0\t-\tlist ed/1 2\nclosed\t3\t0\t2027-11-30T18:08:16Z\tlisted\n")
    copy = ("data", "copy", server.streams, f"file:{tmp_path / 'b'}", "--json")
    assert json.loads(copier.output(*copy, "--names", str(names)))["changed"] == 2
    names.write_bytes(copier.output("ls", "list"))
    again = json.loads(copier.output(*copy, "--names", str(names)))
    assert (again["streams"], again["changed"], again["gone"]) == (2, 0, 0)


@pytest.mark.usefixtures("processes")
def test_a_server_that_lists_its_streams_otherwise_is_copied_by_names(
    copier: CommandLine, server: Headgate, tmp_path: Path
) -> None:
    other = ("--admin", f"http://127.0.0.1:{server.port}")
    done = copier("data", "copy", server.streams, f"file:{tmp_path / 'b'}", *other)
    assert done.returncode == 1
    assert "; give its streams by --names FILE, as its own `headgate ls` prints them" in (
        done.stderr.decode()
    )


@pytest.mark.usefixtures("processes")
async def test_copies_that_are_killed_amid_writers_are_equal_once_the_writers_have_stopped(
    tmp_path: Path,
) -> None:
    paths = [f"s{number}" for number in range(6)]
    kinds = {path: TEXT if number % 2 else JSON for number, path in enumerate(paths)}
    stop = threading.Event()
    with redis_server(tmp_path / "redis") as redis, headgate(redis.url) as server:
        for path, kind in kinds.items():
            made(server, path, kind=kind)

        def write() -> None:
            for number in itertools.count():
                for path, kind in kinds.items():
                    append(server, path, b'{"n": %d}' % number, kind=kind)
                if stop.is_set():
                    return

        writing = asyncio.create_task(asyncio.to_thread(write))
        places = {
            f"file:{tmp_path / 'a'}": (server.streams, "--admin", server.admin_url),
            f"file:{tmp_path / 'b'}": (redis.url,),
        }
        for seed, (target, (source, *more)) in enumerate(places.items()):
            await asyncio.to_thread(Copies(5, seed).copy, source, target, *more)
        stop.set()
        await writing
        seen = await seen_at(server.streams, paths)
        for target, (source, *more) in places.items():
            result = await asyncio.to_thread(Copies(0, 0).copy, source, target, *more)
            assert result["changed"] == len(paths)
            assert await seen_in(target, paths) == seen
        assert await exact(redis.url, paths) == await exact(target, paths)


@pytest.mark.usefixtures("processes")
def test_long_text_is_cut_into_appends_between_characters(
    copier: CommandLine, server: Headgate, tmp_path: Path
) -> None:
    text = "aä€😀" * 100_000
    made(server, "long/s", text.encode())
    target = f"file:{tmp_path / 'b'}"
    copier.output("data", "copy", server.streams, target, "--prefix", "long/")
    with headgate(target) as copy:
        answer = ask(copy.port, "GET", "/v1/stream/long/s")
        rest = ask(copy.port, "GET", f"/v1/stream/long/s?offset={answer.next_offset}")
    assert 0 < len(answer.body) <= 2 * 256 * 1024  # what a read returns of records of that size
    assert text.startswith(answer.body.decode() + rest.body.decode())
    made_again = json.loads(
        copier.output("data", "copy", server.streams, target, "--prefix", "long/", "--json")
    )
    assert made_again["bytes"] == 0


@pytest.mark.usefixtures("processes")
def test_a_401_ends_the_copy_with_what_to_do_about_the_authorization(
    cli: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "names").write_text("s")
    with BlockingOrigin(lambda exchange: exchange.answer(status="401 Unauthorized")) as origin:
        target = f"file:{tmp_path / 'data'}"
        variables = {"STREAM_URL": "", "STREAM_AUTH": ""}
        words = ("data", "copy", origin.url, target, "--names", str(tmp_path / "names"))
        done = cli(*words, environment=variables)
    assert done.returncode == 5
    assert done.stderr.endswith(b'; set STREAM_AUTH="Bearer TOKEN" in the environment.\n')


@pytest.mark.usefixtures("processes")
def test_a_server_that_is_away_ends_the_copy_with_status_69(
    copier: CommandLine, server: Headgate, tmp_path: Path
) -> None:
    target = f"file:{tmp_path / 'b'}"
    done = copier(
        "data", "copy", server.streams, target, "--admin", f"http://127.0.0.1:{free_port()}"
    )
    assert done.returncode == 69
    assert b"0 streams copied or compared" in done.stderr


@pytest.mark.usefixtures("processes")
def test_a_folder_that_cannot_be_made_ends_the_copy_with_a_sentence(
    copier: CommandLine, server: Headgate
) -> None:
    done = copier("data", "copy", server.streams, "file:/proc/none")
    assert done.returncode == 1
    assert b"/proc/none cannot be used" in done.stderr
