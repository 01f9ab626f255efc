from __future__ import annotations

import json
import os
import pty
import shlex
import signal
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.admin.asking import api, told
from tests.commands.conftest import TOKEN, CommandLine
from tests.support.blocking_origin import BlockingOrigin
from tests.support.http1 import ask
from tests.support.processes import headgate
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.blocking_origin import Exchange
    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")

MANY = 600  # more than a page
LONG = 1500  # of which a server has not deleted all when a command has listed them
STREAM = ("Content-Type: text/plain", "Stream-Next-Offset: 1", "Stream-Up-To-Date: true")


@pytest.fixture
def deleter(server: Headgate) -> Iterator[CommandLine]:
    """The command line, to which the admin listener is known."""
    made = CommandLine(server.streams)
    made.environment |= {"STREAM_ADMIN_URL": server.admin_url}
    yield made
    made.kill()


def names(cli: CommandLine, prefix: str) -> list[str]:
    return [line.split("\t")[-1] for line in cli.output("ls", prefix).decode().splitlines()]


def make(server: Headgate, *created: str) -> None:
    for name in created:
        assert ask(server.port, "PUT", f"/v1/stream/{name}", b"").status == 201


def test_delete_prefix_with_yes_deletes_all_pages_and_nothing_else(
    deleter: CommandLine, server: Headgate
) -> None:
    make(server, *(f"old/{number}" for number in range(MANY)), "older", "keep")
    done = deleter("delete", "--prefix", "old/", "--yes")
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.decode() == f"Deleted {MANY} streams.\n"
    assert names(deleter, "old/") == []
    assert names(deleter, "o") == ["older"]
    assert names(deleter, "keep") == ["keep"]
    again = deleter.output("delete", "--prefix", "old/", "--yes", "--json")
    assert json.loads(again) == {"deleted": 0, "gone": 0}


@pytest.mark.parametrize(("typed", "is_deleted"), [("2", True), ("y", False), ("", False)])
def test_delete_prefix_deletes_only_if_the_number_of_streams_is_typed(
    typed: str, is_deleted: bool, deleter: CommandLine, server: Headgate
) -> None:
    make(server, f"typed{typed}/a", f"typed{typed}/b")
    ours, theirs = pty.openpty()
    process = deleter.start("delete", "--prefix", f"typed{typed}/", stdin=theirs)
    os.write(ours, f"{typed}\n".encode())
    assert process.stderr is not None
    said = process.stderr.read().decode()
    os.close(ours)
    os.close(theirs)
    assert f"2 streams: {server.streams}/typed{typed}/*. Type 2 to delete them" in said
    assert process.wait(20) == (0 if is_deleted else 1)
    assert ("headgate: nothing was deleted." in said) is not is_deleted
    assert len(names(deleter, f"typed{typed}/")) == (0 if is_deleted else 2)


def test_a_stream_that_is_created_again_after_the_count_is_not_deleted(
    deleter: CommandLine, server: Headgate
) -> None:
    make(server, "again/a", "again/b")
    ours, theirs = pty.openpty()
    process = deleter.start("delete", "--prefix", "again/", stdin=theirs)
    assert process.stderr is not None
    said = b""
    while b"to delete them" not in said:
        said += os.read(process.stderr.fileno(), 4096)
    assert ask(server.port, "DELETE", "/v1/stream/again/a").status == 204
    make(server, "again/a", "again/c")
    os.write(ours, b"2\n")
    said += process.stderr.read()
    os.close(ours)
    os.close(theirs)
    assert process.wait(20) == 0
    assert b"Deleted 1 stream; 1 was gone already." in said
    assert names(deleter, "again/") == ["again/a", "again/c"]


def test_streams_are_listed_and_deleted_by_a_part_of_their_names_and_by_a_glob(
    deleter: CommandLine, server: Headgate
) -> None:
    make(server, "find/a/events", "find/b/events", "find/b/x", "find/%3Cb%3E", "find/a*b")
    listed = deleter.output("ls", "find/", "--contains", "/ev").decode().splitlines()
    assert [line.split("\t")[-1] for line in listed] == ["find/a/events", "find/b/events"]
    listed = deleter.output("ls", "--glob", "find/[[]*").decode().splitlines()
    assert listed == []
    done = deleter("delete", "--glob", "find/*/events", "--yes")
    assert done.stderr.decode() == "Deleted 2 streams.\n"
    done = deleter("delete", "--prefix", "find/", "--contains", "<", "--yes")
    assert done.stderr.decode() == "Deleted 1 stream.\n"
    done = deleter("delete", "--glob", "find/a[*]b", "--yes")
    assert done.stderr.decode() == "Deleted 1 stream.\n"
    assert names(deleter, "find/") == ["find/b/x"]
    too_long = deleter("ls", "--glob", "x" * 300)
    assert too_long.returncode != 0
    assert b"glob may have at most 256 characters" in too_long.stderr


def test_delete_prefix_without_a_terminal_needs_yes(deleter: CommandLine, server: Headgate) -> None:
    make(server, "asked/a", "asked/b")
    for prefix, number, them in (("asked/", "2 streams", "them"), ("asked/a", "1 stream", "it")):
        done = deleter("delete", "--prefix", prefix)
        assert done.returncode == 2
        assert done.stderr.decode().endswith(
            f"Error: {number}: {server.streams}/{prefix}*. There is nobody to ask: give --yes to "
            f"delete {them}.\n"
        )
    assert names(deleter, "asked/") == ["asked/a", "asked/b"]


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("none/*", "--prefix none/"),
        ("*", "--prefix /"),
        ("none/*/events", "--glob 'none/*/events'"),
        ("none/?", "--glob 'none/?'"),
        ("none/[ab]", "--glob 'none/[ab]'"),
        ("none/[", None),
        ("none/a", None),
    ],
)
def test_delete_of_an_absent_name_with_wildcards_names_the_option_for_many(
    name: str, option: str | None, deleter: CommandLine, server: Headgate
) -> None:
    done = deleter("delete", name)
    assert done.returncode == 3
    advice = "" if option is None else f"; to delete many, give {option}"
    assert done.stderr.decode().endswith(f"(404 Not Found){advice}.\n")
    if option is not None:  # which is one that the command takes
        named = deleter("delete", *shlex.split(option))
        assert b"nobody to ask" in named.stderr or named.returncode == 0
    make(server, quote(name))
    assert deleter("delete", name).returncode == 0  # such a name can be one stream's


@pytest.mark.parametrize(
    "command",
    [("ls", "--contains"), ("ls", "--glob"), ("delete", "--yes", "--contains")],
    ids=" ".join,
)
def test_a_search_for_bytes_that_are_not_utf_8_is_refused_in_words(
    command: tuple[str, ...], deleter: CommandLine
) -> None:
    done = deleter(*command, "a\udcff")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().endswith("headgate: an argument is no UTF-8 text.\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Give either STREAM or --prefix, --contains or --glob."),
        (["a", "--prefix", "b"], "Give either STREAM or --prefix, --contains or --glob."),
        (["a", "--glob", "b"], "Give either STREAM or --prefix, --contains or --glob."),
        pytest.param(
            ["--prefix", "", "--contains", "x", "--yes"],
            '--prefix is empty: give --prefix "/"',
            id="an-empty-prefix-with-another-condition",
        ),
        (["--prefix", "", "--yes"], '--prefix is empty: give --prefix "/"'),
    ],
)
def test_delete_of_nothing_or_of_everything_by_accident_is_refused(
    arguments: list[str], said: str, deleter: CommandLine
) -> None:
    done = deleter("delete", *arguments)
    assert done.returncode == 2
    assert said in done.stderr.decode()


def test_an_interrupted_deletion_says_how_far_it_is_and_can_be_repeated() -> None:
    with headgate() as server:
        cli = CommandLine(server.streams)
        cli.environment |= {"STREAM_ADMIN_URL": server.admin_url}
        make(server, *(f"cut/{number}" for number in range(MANY)))
        process = cli.start("delete", "--prefix", "cut/", "--yes")
        wait_until(lambda: len(names(cli, "cut/")) < MANY - 8, "some are deleted")
        again = cli("delete", "--prefix", "cut/", "--yes")
        assert (again.returncode, b"is under way" in again.stderr) == (4, True)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr is not None
        said = process.stderr.read().decode()
        left = len(names(cli, "cut/"))
        assert left > 0
        done = f"{MANY - left} of {MANY} streams deleted"
        assert said == f"Interrupted: {done}; the same command goes on.\n"
        cli.output("delete", "--prefix", "cut/", "--yes")
        assert names(cli, "cut/") == []
        cli.kill()


def test_a_deletion_that_the_console_stops_ends_the_command_with_what_was_deleted() -> None:
    with headgate() as server:
        cli = CommandLine(server.streams)
        cli.environment |= {"STREAM_ADMIN_URL": server.admin_url}
        make(server, *(f"cut/{number}" for number in range(MANY)))
        process = cli.start("delete", "--prefix", "cut/", "--yes")
        wait_until(lambda: len(names(cli, "cut/")) < MANY - 8, "some are deleted")
        found = api(server, "streams/deletion")
        stop = {"id": found["id"]}
        assert told(server, "POST", "/api/v1/streams/deletion/stop", stop, token="")[0] == 200
        assert process.wait(20) == 1
        assert process.stderr is not None
        done = MANY - len(names(cli, "cut/"))
        said = process.stderr.read().decode()
        assert said.endswith(f"the deletion was stopped; {done} of {MANY} streams deleted.\n")
        cli.kill()


def test_a_deletion_that_a_restart_of_the_server_ends_is_named_with_what_was_deleted(
    tmp_path: Path,
) -> None:
    with headgate(f"file:{tmp_path}/data") as server:
        cli = CommandLine(server.streams)
        cli.environment |= {"STREAM_ADMIN_URL": server.admin_url}
        make(server, *(f"cut/{number}" for number in range(LONG)))
        process = cli.start("delete", "--prefix", "cut/", "--yes")
        wait_until(lambda: len(names(cli, "cut/")) < LONG - 8, "some are deleted")
        server.kill()
        server.start()
        assert process.wait(20) == 1
        assert process.stderr is not None
        said = process.stderr.read().decode().splitlines()[-1]
        ended = "the server restarted, or counted another deletion, which ended this one"
        assert said.startswith(f"headgate: /v1/stream: {ended}; ")
        assert said.endswith(f" of {LONG:,} streams deleted.")
        cli.output("delete", "--prefix", "cut/", "--yes")
        assert names(cli, "cut/") == []
        cli.kill()


def test_an_origin_decides_by_the_authorization_of_the_command() -> None:
    with BlockingOrigin() as origin, headgate(f"{origin.url}/v1/stream") as server:
        status = "404 Not Found"

        def answer(exchange: Exchange) -> None:
            if exchange.method == "GET":
                exchange.answer(b"x", *STREAM)
            else:
                exchange.answer(b"", status=status)

        origin.play = answer
        for name in ("x/a", "x/b"):
            assert ask(server.port, "GET", f"/v1/stream/{name}?offset=-1").status == 200
        cli = CommandLine(server.streams)
        cli.environment |= {"STREAM_ADMIN_URL": server.admin_url}
        status = "403 Forbidden"
        refused = cli("delete", "--prefix", "x/", "--yes")
        assert refused.returncode == 5
        said = refused.stderr.decode()
        assert "/v1/stream is before an origin: only what it caches or follows is known.\n" in said
        assert said.endswith("; 0 of 2 streams deleted.\n")
        deletions = [it for it in origin.seen if it.method == "DELETE"]
        assert [it.field("authorization") for it in deletions] == [TOKEN, TOKEN]
        assert TOKEN not in server.output()
        status = "404 Not Found"
        done = json.loads(cli.output("delete", "--prefix", "x/", "--yes", "--json"))
        assert done == {"deleted": 0, "gone": 2}


# ---------------------------------------------------------------- --json of the other commands


def test_json_prints_the_result_of_each_writing_command(cli: CommandLine, server: Headgate) -> None:
    url = f"{server.streams}/results"

    def result(*arguments: str, stdin: bytes = b"") -> dict[str, object]:
        done = cli(*arguments, "--json", stdin=stdin)
        assert (done.returncode, done.stderr) == (0, b"")
        return dict(json.loads(done.stdout))

    made = result("create", "results", "--data", "1")
    offset = made.pop("next_offset")
    assert made == {"url": url, "is_new": True, "content_type": "text/plain", "closed": False}
    assert result("create", "results")["is_new"] is False
    once = result("append", "results", "--data", "2", "--producer", "p")
    assert (once["url"], once["is_duplicate"], once["closed"]) == (url, False, False)
    assert once["next_offset"] != offset
    assert result("append", "results", "--data", "2", "--producer", "p")["is_duplicate"] is True
    lines = result("append", "results", "--lines", stdin=b"a\nb\n")
    assert (lines["lines"], lines["duplicates"], lines["closed"]) == (2, 0, False)
    closed = result("close", "results")
    assert closed == {"url": url, "next_offset": lines["next_offset"], "closed": True}
    assert result("delete", "results") == {"url": url, "deleted": 1}
