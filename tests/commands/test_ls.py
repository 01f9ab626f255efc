from __future__ import annotations

import contextlib
import json
import re
import time
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.tools.server import listing
from tests.commands.conftest import CommandLine
from tests.support.blocking_origin import BlockingOrigin
from tests.support.http1 import ask
from tests.support.processes import Headgate, headgate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("processes")

ADMIN_TOKEN = "admin-token-of-32-characters-0001"


@pytest.fixture
def lister(server: Headgate) -> Iterator[CommandLine]:
    """The command line, to which the admin listener is known."""
    made = CommandLine(server.streams)
    made.environment |= {"STREAM_ADMIN_URL": server.admin_url}
    yield made
    made.kill()


def names(output: bytes) -> list[str]:
    return [line.split("\t")[-1] for line in output.decode().splitlines()]


def test_ls_prints_state_size_readers_rate_expiry_and_name(
    lister: CommandLine, server: Headgate
) -> None:
    lister.output("create", "ls/open", "--data", "12345")
    lister.output("create", "ls/closed", "--closed", "--expires-at", "2099-01-01T00:00:00Z")
    lister.output("create", "other")
    assert lister.output("ls", "ls/").decode() == (
        "closed\t0\t0\t0.00\t2099-01-01T00:00:00Z\tls/closed\nopen\t5\t0\t0.00\t-\tls/open\n"
    )
    first, second = map(json.loads, lister.output("ls", "/ls/", "--json").splitlines())
    assert first["closed"]
    assert first["expires_at"] == "2099-01-01T00:00:00Z"
    offset = second.pop("next_offset")
    assert re.fullmatch(r"0{16}_0{15}5", offset)
    assert second == {
        "name": "ls/open",
        "url": f"{server.streams}/ls/open",
        "content_type": "text/plain",
        "closed": False,
        "size": 5,
        "readers": 0,
        "rate": 0.0,
        "growth": None,
        "last_append_at": None,
        "expires_at": None,
    }


@pytest.mark.parametrize(
    ("arguments", "note"),
    [
        (("none/",), "headgate: 0 streams are named none/*.\n"),
        (("--sort", "readers", "--json"), "headgate: 0 streams.\n"),
    ],
    ids=["of-a-name", "of-readers"],
)
def test_ls_of_nothing_prints_only_a_note(
    arguments: tuple[str, ...], note: str, lister: CommandLine
) -> None:
    done = lister("ls", *arguments)
    assert (done.returncode, done.stdout, done.stderr.decode()) == (0, b"", note)


def test_ls_counts_live_readers(lister: CommandLine) -> None:
    lister.output("create", "watched")
    tail = lister.start("tail", "watched", "--from-start")
    deadline = time.monotonic() + 20
    while lister.output("ls", "watched").split(b"\t")[2] != b"1":
        assert time.monotonic() < deadline
    tail.kill()


@pytest.mark.parametrize(
    ("order", "listed"),
    [("size", ["big", "busy", "small"]), ("rate", ["busy"]), ("growth", ["busy"]), ("readers", [])],
)
def test_ls_lists_the_largest_first(order: str, listed: list[str]) -> None:
    with headgate() as own:
        lister = CommandLine(own.streams)
        for name, size in {"big": 9, "busy": 1, "small": 2}.items():
            lister.output("create", name, "--data", "x" * size)
        for _ in range(2):
            lister.output("append", "busy", "--data", "x")
        assert names(lister.output("ls", "--sort", order, "--admin", own.admin_url)) == listed


def test_ls_leaves_out_a_route_that_cannot_be_sorted_so_and_says_which(server: Headgate) -> None:
    with contextlib.closing(Headgate()) as own:
        own.serve_routes(
            {"prefix": "/files", "storage": "memory:"},
            {"prefix": "/other", "origin": server.streams},
        )
        own.start()
        lister = CommandLine(own.url)
        lister.environment |= {"STREAM_ADMIN_URL": own.admin_url}
        for name, size in {"big": 9, "small": 2}.items():
            lister.output("create", f"files/{name}", "--data", "x" * size)
        both = lister("ls", "--sort", "size")
        alone = lister("ls", "other/", "--sort", "size")
        by_readers = lister("ls", "--sort", "readers")
    why = "headgate: /other leads to an origin, whose streams cannot be sorted by size"
    assert (both.returncode, names(both.stdout)) == (0, ["files/big", "files/small"])
    assert both.stderr.decode() == f"{why}: those of the other routes follow.\n"
    assert (alone.returncode, alone.stdout, alone.stderr.decode()) == (1, b"", f"{why}.\n")
    assert by_readers.returncode == 0


def test_ls_asks_for_every_page_and_prints_names_sorted(
    lister: CommandLine, server: Headgate
) -> None:
    made = sorted(f"pages/{number}" for number in range(listing.PAGE + 20))
    for name in made:
        assert ask(server.port, "PUT", f"/v1/stream/{name}", b"").status == 201
    assert names(lister.output("ls", "pages/")) == made


def test_a_listed_name_can_be_given_to_a_command(lister: CommandLine) -> None:
    for name in ("odd/é x", "odd/a%2Fb", "odd/a?b"):
        lister.output("create", name, "--data", name)
        assert name in names(lister.output("ls", "odd/"))
    lister.output("create", "odd/a\u202eb", "--data", "reversed")
    *_, reversed_name = names(lister.output("ls", "odd/a\u202e"))
    assert reversed_name.isascii()
    assert lister.output("read", reversed_name) == b"reversed"
    lister.output("delete", reversed_name)
    for name in names(lister.output("ls", "odd/")):
        assert lister.output("read", name).decode() == name


def test_ls_of_a_base_inside_a_route_lists_what_is_below_it(
    lister: CommandLine, server: Headgate
) -> None:
    lister.output("create", "team/a")
    inside = {"STREAM_URL": f"{server.streams}/team"}
    assert names(lister("ls", environment=inside).stdout) == ["a"]
    elsewhere = lister("ls", environment={"STREAM_URL": f"{server.url}/v2"})
    assert elsewhere.returncode == 1
    assert (
        f"{server.admin_url} has no route for /v2/, so no list of its streams: it has /v1/stream"
        in elsewhere.stderr.decode()
    )


def test_ls_without_a_list_of_streams_says_so(lister: CommandLine, server: Headgate) -> None:
    refused = lister("ls", "--admin", server.url)
    assert refused.returncode == 1
    assert b"answers, and is no admin listener of this version" in refused.stderr
    assert b" (404 Not Found)" in refused.stderr
    unknown = lister("ls", environment={"STREAM_ADMIN_URL": ""})
    assert unknown.returncode == 2
    assert b" is not known: correct this URL, or say where" in unknown.stderr
    assert b"by --admin URL or STREAM_ADMIN_URL" in unknown.stderr
    away = lister("ls", "--admin", "http://127.0.0.1:9")
    assert away.returncode == 69


def test_ls_of_a_server_that_is_no_gateway_says_so(lister: CommandLine) -> None:
    with BlockingOrigin() as origin:
        origin.play = lambda exchange: exchange.answer(b"<html>")
        done = lister("ls", "--admin", origin.url)
    assert done.returncode == 1
    assert b"answers, and is no admin listener of this version" in done.stderr


def test_ls_sends_the_token_of_variable_flag_or_context(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(ADMIN_TOKEN)
    digest = CommandLine("").output("token", "hash", stdin=ADMIN_TOKEN.encode()).decode().strip()
    operator = {"NAME": "ops", "TOKEN": digest, "ROLE": "viewer"}
    tokens = {f"HEADGATE_ADMIN__TOKENS__0__{key}": value for key, value in operator.items()}
    with headgate(environment=tokens) as server:
        cli = CommandLine(server.streams)
        cli.output("create", "a")
        refused = cli("ls", "--admin", server.admin_url)
        assert refused.returncode == 5
        assert refused.stderr.decode().endswith(
            "(401 Unauthorized); give a token of admin.tokens by STREAM_ADMIN_TOKEN or "
            "--admin-token FILE.\n"
        )
        asked = ("ls", "--admin", server.admin_url)
        assert names(cli.output(*asked, "--admin-token", str(token))) == ["a"]
        by_variable = cli(*asked, environment={"STREAM_ADMIN_TOKEN": ADMIN_TOKEN})
        assert names(by_variable.stdout) == ["a"]
        cli.environment["XDG_CONFIG_HOME"] = str(tmp_path)
        files = ("--admin", server.admin_url, "--admin-token", str(token))
        cli.output("config", "context", "add", "here", server.streams, *files)
        assert names(cli.output("ls", "--context", "here")) == ["a"]
