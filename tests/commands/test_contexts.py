"""Contexts: named servers, their credentials, and what goes before them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.commands.conftest import CommandLine
from tests.support.blocking_origin import BlockingOrigin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.commands.conftest import Stream
    from tests.support.blocking_origin import Exchange
    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")

NO_SERVER = "http://127.0.0.1:9/v1/stream"


@pytest.fixture
def plain(server: Headgate, tmp_path: Path) -> Iterator[CommandLine]:
    """The command line with an empty folder for contexts, and no variables."""
    made = CommandLine(server.streams)
    made.environment |= {"XDG_CONFIG_HOME": str(tmp_path), "STREAM_URL": "", "STREAM_AUTH": ""}
    yield made
    made.kill()


def test_a_context_in_use_is_where_commands_go(
    plain: CommandLine, server: Headgate, text: Stream, tmp_path: Path
) -> None:
    text.append(b"data")
    plain.output("config", "context", "add", "here", server.streams)
    plain.output("config", "context", "add", "there", NO_SERVER)
    plain.output("config", "context", "use", "here")
    assert plain.output("read", text.name) == b"data"
    assert plain("read", text.name, "--context", "there").returncode == 69
    assert plain.output("config", "context", "list").decode() == (
        f"* here   {server.streams}\n  there  {NO_SERVER}\n"
    )
    file = tmp_path / "headgate" / "contexts.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text()) == {
        "use": "here",
        "contexts": {"here": {"url": server.streams}, "there": {"url": NO_SERVER}},
    }


def test_operators_commands_go_to_the_server_of_a_context_alone(
    plain: CommandLine, server: Headgate
) -> None:
    """The admin listener of the settings is another server's."""
    plain.output("config", "context", "add", "there", NO_SERVER)
    plain.environment["HEADGATE_ADMIN"] = f"127.0.0.1:{server.admin_port}"
    refused = plain("config", "reload", "--context", "there")
    assert refused.returncode == 2
    assert b"the admin listener of http://127.0.0.1:9/v1/stream is not known" in refused.stderr


def test_an_admin_url_that_is_none_is_named_by_its_option_or_variable(plain: CommandLine) -> None:
    wrong = b" must be a URL: write http://h:4439."
    assert b"--admin" + wrong in plain("ls", "--admin", "h:4439").stderr
    by_variable = plain("ls", environment={"STREAM_ADMIN_URL": "h:4439"})
    assert b"STREAM_ADMIN_URL" + wrong in by_variable.stderr


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("status --admin h:4439", "--admin must be a URL: write http://h:4439."),
        ("top --admin [::1]:4439", "--admin must be a URL: write http://[::1]:4439."),
        ("ls --admin user:pw@h:4439", "--admin must be a URL such as http://127.0.0.1"),
        ("doctor cdn h:4437", "URL below which streams are: write http://h:4437/v1/stream"),
        ("doctor redis h:6379", "rediss for redis means TLS: write redis://h:6379."),
        ("doctor redis :pw@h:6379", "URL must be a redis:// URL"),
        ("doctor redis", "redis://127.0.0.1:6379, or the settings by --config"),
        ("read h:4437/s", "write http://h:4437/s, or /h:4437/s for a name"),
        ("config context add a h:1", "URL must be a URL: write http://h:1."),
    ],
)
def test_a_host_and_port_in_the_place_of_a_url_is_refused_with_what_to_write(
    words: str, hint: str, plain: CommandLine
) -> None:
    refused = plain(*words.split())
    assert refused.returncode == 2
    assert hint in " ".join(refused.stderr.decode().split())
    assert b"pw" not in refused.stderr


def test_flag_environment_and_context_go_before_each_other_in_this_order(
    plain: CommandLine, server: Headgate, text: Stream
) -> None:
    text.append(b"data")
    plain.output("config", "context", "add", "here", server.streams)
    plain.output("config", "context", "add", "nowhere", NO_SERVER)
    plain.output("config", "context", "use", "nowhere")
    with_variable = {"STREAM_URL": server.streams}
    assert plain("read", text.name).returncode == 69
    assert plain("read", text.name, environment=with_variable).stdout == b"data"
    by_flag = plain("read", text.name, "--context", "nowhere", environment=with_variable)
    assert by_flag.returncode == 69
    assert plain.output("read", text.name, "--context", "here") == b"data"


def test_the_authorization_of_a_context_goes_to_its_server_alone(
    plain: CommandLine, tmp_path: Path
) -> None:
    secret = tmp_path / "auth"
    secret.write_text("Bearer of-the-file\n")
    seen: dict[str | None, None] = {}  # in order; a refused HEAD is asked again by GET

    def refuse(exchange: Exchange) -> None:
        seen[exchange.field("authorization")] = None
        exchange.answer(b"", status="404 Not Found")

    with BlockingOrigin() as own, BlockingOrigin() as other:
        own.play = other.play = refuse
        plain.output("config", "context", "add", "own", f"{own.url}/s", "--auth-file", str(secret))
        plain.output("config", "context", "use", "own")
        plain("head", "chat")
        plain("head", f"{other.url}/s/chat")
        plain("head", "chat", environment={"STREAM_AUTH": "Bearer of-the-variable"})
    assert [*seen] == ["Bearer of-the-file", None, "Bearer of-the-variable"]


def test_a_refused_authorization_is_reported_with_its_file(
    plain: CommandLine, tmp_path: Path
) -> None:
    secret = tmp_path / "auth"
    secret.write_text("Bearer of-the-file")
    with BlockingOrigin() as origin:
        origin.play = lambda exchange: exchange.answer(b"", status="401 Unauthorized")
        plain.output(
            "config", "context", "add", "own", f"{origin.url}/s", "--auth-file", str(secret)
        )
        done = plain("head", "chat", "--context", "own")
        assert done.stderr.decode().endswith(f"; put another into {secret}.\n")
        assert b"of-the-file" not in done.stderr
        plain.output("config", "context", "add", "open", f"{origin.url}/s")
        done = plain("head", "chat", "--context", "open", environment={"STREAM_AUTH": "Bearer x"})
    assert done.stderr.endswith(b"; add context open again with --auth-file FILE.\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add", "-x", "http://h/s"], "No such option"),
        (["add", ".x", "http://h/s"], "a name has 1 to 64 letters"),
        (["add", "a/b", "http://h/s"], "a name has 1 to 64 letters"),
        pytest.param(
            ["add", "x" * 65, "http://h/s"],
            "a name has 1 to 64 letters",
            id="add-a-name-over-the-limit",
        ),
        (["add", "default", "http://h/s"], "default means no context"),
        (["add", "x", "h/s"], "URL must be a URL such as"),
        (["add", "x", "http://h/s?a=b"], "URL has a query or fragment"),
        pytest.param(
            ["add", "x", "http://h/s", "--admin", "h"],
            "--admin must be a URL such as",
            id="add-an-admin-url-without-a-scheme",
        ),
        pytest.param(
            ["add", "x", "http://h/s", "--auth-file", "/none"],
            "Invalid value for '--auth-file': there is no such file.",
            id="add-an-auth-file-that-does-not-exist",
        ),
        (["add", "known", "http://h/s"], "known is there already"),
        (["use", "prod"], "there is no context 'prod': known are known"),
        (["remove", "prod"], "there is no context 'prod': known are known"),
    ],
)
def test_an_invalid_context_is_refused_in_one_sentence(
    arguments: list[str], said: str, plain: CommandLine
) -> None:
    plain.output("config", "context", "add", "known", "http://h/s")
    done = plain("config", "context", *arguments)
    assert done.returncode == 2
    assert said in done.stderr.decode()


def test_a_removed_context_is_used_no_more(plain: CommandLine, server: Headgate) -> None:
    plain.output("config", "context", "add", "here", server.streams)
    plain.output("config", "context", "use", "here")
    plain.output("config", "context", "remove", "here")
    assert plain.output("config", "context", "list") == b""
    refused = plain("head", "chat", "--context", "here")
    assert refused.returncode == 2
    assert b"there is no context 'here': none is known; add one by" in refused.stderr


def test_a_context_of_the_flag_goes_before_variables_of_the_admin_listener(
    plain: CommandLine, server: Headgate, text: Stream
) -> None:
    plain.output("config", "context", "add", "here", server.streams, "--admin", server.admin_url)
    plain.output("config", "context", "add", "nowhere", NO_SERVER)
    variables = {"STREAM_ADMIN_URL": "http://127.0.0.1:9", "HEADGATE_CONFIG": "/none"}
    listed = plain("ls", "--context", "here", environment=variables)
    assert text.name.encode() in listed.stdout
    variables["STREAM_ADMIN_URL"] = server.admin_url
    for command in ("ls", "status", "doctor health"):
        refused = plain(*command.split(), "--context", "nowhere", environment=variables)
        assert b"the admin listener of http://127.0.0.1:9/v1/stream is not known" in refused.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="becomes a user without an entry and a home")
def test_a_user_without_a_home_has_no_contexts() -> None:
    program = (
        "import os; from headgate_gateway.commands.options.contexts import load_contexts as load;"
        "os.setuid(54321); print(load())"
    )
    printed = subprocess.check_output([sys.executable, "-c", program], env={})
    assert printed == b"Contexts(use='', contexts={})\n"


def test_an_empty_name_is_not_the_default(plain: CommandLine) -> None:
    refused = plain("delete", "chat", "--context", "")
    assert (refused.returncode, b"there is no context ''" in refused.stderr) == (2, True)


def test_use_default_uses_no_context(plain: CommandLine) -> None:
    plain.output("config", "context", "add", "here", "http://me:secret@h/s")
    plain.output("config", "context", "use", "here")
    plain.output("config", "context", "use", "default")
    assert plain.output("config", "context", "list") == b"  here  http://h/s\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "contexts.json: "),
        ('{"use": "gone"}', "there is no context 'gone'"),
        ('{"contexts": {"x": {"url": 1}}}', "Expected `str`, got `int`"),
        ('{"contexts": {"x": {"url": "http://h/s", "urls": ""}}}', "unknown field `urls`"),
    ],
)
def test_a_damaged_file_of_contexts_is_reported(
    text: str, said: str, plain: CommandLine, tmp_path: Path
) -> None:
    file = tmp_path / "headgate" / "contexts.json"
    file.parent.mkdir()
    file.write_text(text)
    done = plain("head", "chat")
    assert done.returncode == 2
    assert said in done.stderr.decode()
