from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from headgate_gateway.__main__ import cli as command
from headgate_gateway.commands.command_group import CommandGroup
from headgate_gateway.commands.command_tree import commands_of as commands_in
from headgate_gateway.commands.options.typed_secrets import warnings
from headgate_gateway.features.kinds import subscriptions
from headgate_gateway.settings import describe_settings
from tests.commands.conftest import CERTIFICATE
from tests.support.given_settings import variables
from tests.support.ports import free_port
from tests.support.processes import AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from click.testing import Result

    from tests.commands.conftest import CommandLine
    from tests.support.processes import Headgate

ROOT = Path(__file__).parents[2]

GROUPS = ("", "stream", "data", "doctor", "monitor", "config")

BEN = f"""\
[[tokens]]
name = "ben"
token = "sha256:{"0" * 64}"
grants = [{{ streams = "/v1/stream/*", operations = ["read"] }}]
"""


def invoke(*arguments: str) -> tuple[int, str]:
    """The exit status and everything that is said, without a process of its own."""
    result = CliRunner(env=AT_ONCE).invoke(command, arguments, prog_name="headgate")
    return result.exit_code, result.output


def checked(*arguments: str, environment: Mapping[str, str] | None = None) -> Result:
    """What `headgate config check` does, without a process of its own."""
    runner = CliRunner(env=AT_ONCE | dict(environment or {}))
    return runner.invoke(command, ["config", "check", *arguments], prog_name="headgate")


def commands_of(context: click.Context) -> Iterator[tuple[str, click.Command]]:
    """Yield the command and those below it, each with the words that it is typed by."""
    yield context.command_path.removeprefix("headgate").strip(), context.command
    group = context.command
    if isinstance(group, click.Group):
        for word in group.list_commands(context):
            below = group.get_command(context, word)
            assert below is not None
            yield from commands_of(click.Context(below, info_name=word, parent=context))


COMMANDS = dict(
    commands_of(click.Context(command, info_name="headgate", **command.context_settings))
)


@pytest.mark.parametrize("arguments", [tuple(name.split()) for name in COMMANDS])
def test_dash_h_and_dash_dash_help_print_the_same_for_every_command(
    arguments: tuple[str, ...],
) -> None:
    short, long = invoke(*arguments, "-h"), invoke(*arguments, "--help")
    assert short == long
    assert short[0] == 0
    assert short[1].startswith(f"Usage: headgate {' '.join(arguments)}".rstrip())


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("arguments", ["--help", "stream --help", "config --help"])
def test_a_list_of_commands_imports_none_of_them(arguments: str) -> None:
    program = (
        "import sys; from headgate_gateway.__main__ import cli;"
        "cli(sys.argv[1:], 'headgate', standalone_mode=False); print(*sys.modules)"
    )
    command = [sys.executable, "-c", program, *arguments.split()]
    modules = subprocess.check_output(command, text=True).splitlines()[-1].split()
    assert {"aiohttp", "asyncio", "pydantic"}.isdisjoint(modules)
    listed = {it.target.partition(":")[0] for name in GROUPS for it in commands_in(name, "")}
    assert listed.isdisjoint(modules)


def test_the_commands_of_a_feature_are_in_the_group_that_it_declares() -> None:
    (declared,) = subscriptions.KIND.commands
    assert (declared.group, declared.name) == ("stream", "subscriptions")
    assert declared in commands_in("stream", "")
    status, said = invoke("stream", "--help")
    assert status == 0
    assert re.search(rf"^  subscriptions +{re.escape(declared.help)}$", said, re.M)


WRONG = {
    "read": "Missing argument 'STREAM'.",
    "serve --workrs x": "'--workrs'. Did you mean '--workers'?",
    "serve --port 8000": "'--port'. Did you mean '--listen'?",
    "ls --prefix x": "No such option '--prefix'. Write PREFIX without --prefix.",
    "config check h.toml": "argument (h.toml). A file of settings is given by --config FILE.",
    "cdn render ngnix --upstream h:1": "there is no target 'ngnix'; the nearest is nginx: ",
    "tale chat": 'No such command "tale". Did you mean "headgate stream tail"?',
    "check": 'Did you mean "headgate config check" or "headgate cdn check"?',
    "list": 'No such command "list". Did you mean "headgate stream ls"?',
    "rm chat": 'No such command "rm". Did you mean "headgate stream delete"?',
    "config validate": 'Did you mean "headgate config check"?',
    "start": 'No such command "start". Did you mean "headgate serve"?',
    "version": 'No such command "version". Did you mean "headgate --version"?',
    "revoke name x": 'No such command "revoke". Did you mean "headgate token revoke"?',
    "doctor http://h/s": "A command must come first: cdn, redis, debug, health.",
    "subscriptions list": 'Did you mean "headgate stream subscriptions"?',
    "create localhost:4437/x": "write http://localhost:4437/x, or /localhost:4437/x",
    "create chat --ttl -1": "'-1' must be seconds, at least 1, or a duration such as 90s, 5m",
    "create chat --ttl 0": "'0' must be seconds, at least 1, or a duration such as 90s, 5m",
    "create chat --ttl 1w": "'1w' must be seconds, at least 1, or a duration such as 90s, 5m",
    "create chat --ttl 1.5s": "'1.5s' must be whole seconds, such as 90 or 90s, 5m",
    "top --interval 0.1s": "'0.1s' must be seconds, at least 0.5 and at most 3600",
    "monitor events --since 1y": "'1y' must be seconds, at least 0",
    "data retention chat --age 0.5s": "'0.5s' must be whole seconds",
    "create chat --expires-at tomorrow": "'tomorrow' must be a time such as",
    "create chat --expires-at 2099-02-30T00:00:00Z": "must be a time such as",
    "create chat --expires-at 2001-01-01t01:00:00+01:00": "is in the past",
    "create chat --ttl 1 --expires-at=2100-01-01T00:00:00Z": "exclude each other",
    "create chat --fork-offset 1": "--fork-offset needs --fork-from.",
    "create chat --fork-sub-offset 1": "--fork-sub-offset needs --fork-offset.",
    "create chat --fork-from http://other/x": "must be on the same server",
    "create chat --fork-from http://127.0.0.1:4438/v1/stream/x": "must be on the same server",
    "create chat --fork-from https://127.0.0.1:4437/v1/stream/x": "must be on the same server",
    "append chat --lines --data x": "excludes --data",
    "append chat --lines --seq x": "excludes --lines",
    "append chat --epoch 1": "--epoch needs --producer.",
    "read chat --offset 1 --offset-file x": "exclude each other",
    "doctor cdn http://127.0.0.1:1/v1 --digest nginx/xyz": "it is like nginx/4b377d",
    "read chat --json --raw": "--json and --raw exclude each other",
    "tail chat --json --raw": "--json and --raw exclude each other",
    "tail chat --from-start --offset 1": "exclude each other",
    "head http://host": "a stream has a name",
    "append chat --seq '1\n2'": r"'--seq': '1\n2' must be one line of text",
    "append chat --producer 'p\r'": r"'--producer': 'p\r' must be one line",
    "append chat -t 'text/\x01'": r"'text/\x01' must be one line of text",
    "create chat -t 'text/\x7f'": r"'text/\x7f' must be one line of text",
    "create a --fork-from b --fork-offset '\n'": r"'\n' must be one line",
    "read chat --offset '\udcff'": r"'\udcff' must be one line of text",
    "tail chat --offset '1\t'": r"'1\t' must be one line of text",
    "head http://host:99999/x": "a port goes up to 65535",
}


@pytest.mark.parametrize(("typed", "complaint"), WRONG.items(), ids=map(ascii, WRONG))
def test_a_wrong_command_line_is_explained_and_exits_with_2(typed: str, complaint: str) -> None:
    status, said = invoke(*shlex.split(typed))
    assert status == 2
    assert complaint in said


# A secret of each kind that a command line could have, `hush` and `hush-hush`, and what is told.
TYPED = {
    "head http://me:hush@127.0.0.1:1/x": "give it by STREAM_AUTH.",
    "head http://127.0.0.1:1/x?a=b&token=hush": "a token in a URL on the command line stays",
    "config context add x http://:hush@h/s?": "by --auth-file FILE.",
    "status --admin=http://a:hush@127.0.0.1:1 --span 1x": "or --admin-token FILE.",
    "data copy redis://:hush@127.0.0.1:1 memory:": "by a file with the whole URL, written @FILE.",
    "data copy http://a:hush@127.0.0.1:1/s memory:": "give it by STREAM_AUTH.",
    "doctor redis rediss://:hush@127.0.0.1:1x": "by HEADGATE_STORAGE or a file of settings.",
    **{
        f"{command} hush-hush": "no such file. A secret that is typed here stays in the shell's"
        for command in (
            "ls --admin-token",
            "ls --admin http://127.0.0.1:1 --admin-token",
        )
    },
    **{
        f"{command} hush-hush": "it asks for the secret, or reads it from stdin. One that is typed"
        for command in ("token hash", "token verify", "config hash-password")
    },
}


@pytest.mark.parametrize(("typed", "told"), TYPED.items(), ids=TYPED)
def test_a_secret_on_the_command_line_is_told_to_be_in_the_history_and_not_repeated(
    typed: str, told: str
) -> None:
    status, said = invoke(*typed.split())
    assert status
    assert "stays in the shell's history" in " ".join(said.split())
    assert told in " ".join(said.split())
    assert "hush" not in said


UNSUSPICIOUS = [
    "head http://127.0.0.1:1/x@y:z",
    "head http://127.0.0.1:1/x?tokens=1&rk=2",
    "head redis://me@h",
]


@pytest.mark.parametrize("typed", UNSUSPICIOUS)
def test_a_url_without_a_secret_of_ours_is_no_reason_to_warn(typed: str) -> None:
    assert [*warnings(typed.split())] == []


@pytest.mark.usefixtures("processes")
def test_version_names_the_packages_also_of_python_dash_m_gateway(cli: CommandLine) -> None:
    printed = cli.output("--version").decode()
    ours, _, below = printed.rstrip(")\n").partition(" (")
    assert ours.startswith("headgate ")
    versions = dict(each.split(" ") for each in below.split(", "))
    assert [*versions] == ["aiohttp", "apsw", "hiredis", "redis", "uvloop", "python"]
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    module = [sys.executable, "-m", "headgate_gateway", "--version"]
    assert (
        subprocess.run(module, capture_output=True, check=True, cwd=ROOT).stdout.decode() == printed
    )


# ---------------------------------------------------------------- check


@pytest.mark.usefixtures("processes")
def test_check_prints_every_route_with_its_access(tmp_path: Path) -> None:
    config = tmp_path / "h.toml"
    config.write_text(
        """
        listen = "[::1]:80"
        [[routes]]
        prefix = "/a"
        storage = "memory:"
        [[routes]]
        prefix = "/a/deep"
        storage = "file:./deep"
        auth = "tokens"
        anonymous = "read"
        """
    )
    tokens = tmp_path / "tokens.toml"
    tokens.write_text("")
    settings = {"HEADGATE_CREDENTIALS__TOKENS_FILE": str(tokens)}
    done = checked("--config", str(config), environment=settings)
    assert done.stdout == (
        "Valid: streams on [::1]:80, console on 127.0.0.1:4439.\n"
        f"  /a/deep  file:{Path.cwd()}/deep\n"
        "           To read or write, a client needs one of: a token of the tokens file. "
        "Everybody may read.\n"
        "  /a       memory:\n"
        "           Everybody may read and write.\n"
    )


@pytest.mark.usefixtures("processes")
def test_check_says_who_may_call_each_provider_and_with_whose_key(tmp_path: Path) -> None:
    (tmp_path / "house.key").write_text("sk-house")
    (tmp_path / "house.key").chmod(0o600)
    (tmp_path / "tokens.toml").write_text("")
    config = tmp_path / "h.toml"
    config.write_text(
        f"""
        storage = "memory:"
        credentials.tokens_file = "{tmp_path}/tokens.toml"
        [[models]]
        prefix = "/open"
        upstream = "https://a.example"
        dialect = "openai"
        streams = "/v1/stream/answers"
        [[models]]
        prefix = "/house"
        upstream = "https://a.example"
        dialect = "openai"
        streams = "/v1/stream/answers"
        key_file = "{tmp_path}/house.key"
        auth = "tokens"
        """
    )
    done = checked("--config", str(config))
    assert done.stdout.endswith(
        "  /open       answers of https://a.example in /v1/stream/answers\n"
        "              Everybody may call it.\n"
        "  /house      answers of https://a.example in /v1/stream/answers\n"
        f"              To call it, with the provider's key in {tmp_path}/house.key, a client "
        "needs one of: a token of the tokens file.\n"
    )


@pytest.mark.usefixtures("processes")
def test_check_names_a_key_file_that_the_server_would_refuse(tmp_path: Path) -> None:
    config = tmp_path / "h.toml"
    model = 'prefix = "/m"\nupstream = "https://a.example"\ndialect = "openai"'
    config.write_text(f'[[models]]\n{model}\nstreams = "/v1/stream/a"\nkey_file = "no.key"\n')
    done = checked("--config", str(config))
    assert done.exit_code == 2
    assert "h.toml:6: models[0].key_file is" in done.stderr
    assert "but must be a file that can be read: No such file or directory" in done.stderr


@pytest.mark.usefixtures("processes")
def test_check_reads_the_environment_and_the_config_file_named_there(tmp_path: Path) -> None:
    config = tmp_path / "h.toml"
    config.write_text('storage = "memory:"\n')
    done = checked(environment={"HEADGATE_CONFIG": str(config), "HEADGATE_ADMIN": "localhost:1"})
    assert (done.exit_code, done.stdout, done.stderr) == (
        0,
        "Valid: streams on 127.0.0.1:4437, console on localhost:1.\n"
        "  /v1/stream  memory:\n"
        "              Everybody may read and write.\n",
        "",
    )


@pytest.mark.usefixtures("processes")
def test_check_names_the_front_and_which_listeners_speak_tls(tmp_path: Path) -> None:
    subprocess.run(["openssl", *CERTIFICATE], cwd=tmp_path, capture_output=True, check=True)
    settings = {
        "HEADGATE_STORAGE": "memory:",
        "HEADGATE_AUTH": "none",
        "HEADGATE_FRONT": "streams.example.com",
        "HEADGATE_FRONT__LISTEN": "127.0.0.1:8443",
        "HEADGATE_ADMIN__TLS__CERTIFICATE": str(tmp_path / "tls.pem"),
        "HEADGATE_ADMIN__TLS__KEY": str(tmp_path / "tls.key"),
    }
    first = checked(environment=settings).stdout.partition("\n")[0]
    assert first == (
        "Valid: streams on 127.0.0.1:4437 and https://streams.example.com:8443, "
        "console on 127.0.0.1:4439 by TLS."
    )


@pytest.mark.usefixtures("processes")
def test_check_prints_each_setting_with_its_source_and_no_secret_as_json(tmp_path: Path) -> None:
    config, tokens = tmp_path / "h.toml", tmp_path / "tokens.toml"
    tokens.write_text(f'{BEN}[[revoked]]\nname = "ann"\n')
    config.write_text(f'auth = "tokens"\ncredentials.tokens_file = "{tokens}"\n')
    environment = {
        "HEADGATE_STORAGE": "redis://app:s3cret@h",
        **variables({"admin_tokens": [{"name": "p", "role": "viewer", "token": "t" * 24}]}),
    }
    done = checked("--json", "--config", str(config), environment=environment)

    assert done.exit_code == 0
    assert "s3cret" not in done.stdout + done.stderr
    found = json.loads(done.stdout)
    sources = {it["key"]: (it["value"], it["source"]) for it in found["settings"]}
    assert sources["credentials.tokens_file"] == (str(tokens), f"{config}:2")
    assert sources["storage"] == ("redis://app:***@h:6379", "HEADGATE_STORAGE")
    assert sources["admin.tokens[0].token"] == ("***", "HEADGATE_ADMIN__TOKENS__0__TOKEN")
    assert sources["workers"] == ("1", "default")
    declared = {it.path for it, _ in describe_settings()}
    assert {key.partition("[")[0] for key in sources} == declared
    assert [sentence.partition(", which")[0] for sentence in found["warnings"]] == [
        f"{tokens}: revoked has the name ann"
    ]


def test_check_prints_one_line_per_mistake_of_a_tokens_file(tmp_path: Path) -> None:
    tokens, config = tmp_path / "tokens.toml", tmp_path / "h.toml"
    tokens.write_text('[[tokens]]\nname = "ann"\n[[tokens]]\nname = "ben"\n')
    config.write_text(f'auth = "tokens"\ncredentials.tokens_file = "{tokens}"\n')
    assert invoke("config", "check", "--config", str(config)) == (
        2,
        f"headgate: {tokens}:1: tokens[0].token (name ann) is missing.\n"
        f"headgate: {tokens}:3: tokens[1].token (name ben) is missing.\n",
    )


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("written", "why"),
    [(None, " cannot be read: No such file or directory"), ("x", ": no certificate in it")],
)
@pytest.mark.parametrize(
    ("command", "place"),
    [(["config", "check"], 'origin = "https://h"'), (["serve"], 'storage = "rediss://h"')],
)
def test_unusable_files_are_reported_together_with_all_other_mistakes(
    command: list[str], place: str, written: str | None, why: str, cli: CommandLine, tmp_path: Path
) -> None:
    authority, folder = tmp_path / "ca.pem", tmp_path / "streams"
    if written is not None:
        authority.write_text(written)
    folder.write_text("")
    config = tmp_path / "h.toml"
    config.write_text(
        f"""
        [[routes]]
        prefix = "/a"
        {place}
        tls_ca = "{authority}"
        [[routes]]
        prefix = "/b"
        storage = "file:{folder}"
        [[routes]]
        prefix = "c"
        storage = "memory:"
        """
    )
    done = cli(*command, "--config", str(config))
    assert (done.returncode, done.stdout) == (2, b"")
    first, second, third = done.stderr.decode().splitlines()
    assert f"{config}:5: routes[0].tls_ca is " in first
    assert first.endswith(f", but must be a file of authorities: {authority}{why}.")
    assert f"{config}:8: routes[1].storage is " in second
    assert second.endswith(", but must be a folder, or nothing yet: this is a file.")
    assert f"{config}:10: routes[2].prefix is " in third


MISTAKES = """\
headgate: {config}:1: live.sse_heartbeat is 0, but must be {kind}, from 0.1 to 3,600.
headgate: HEADGATE_LISTN is not a setting; the nearest is HEADGATE_LISTEN.
"""


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("name", ["config check", "serve"])
def test_every_mistake_in_the_settings_is_one_sentence(
    name: str, cli: CommandLine, tmp_path: Path
) -> None:
    config = tmp_path / "h.toml"
    config.write_text("live.sse_heartbeat = 0\n")
    done = cli(*name.split(), "--config", str(config), environment={"HEADGATE_LISTN": "x"})
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == MISTAKES.format(
        config=config, kind="a number of seconds (or 90s, 5m, 1h or 2d)"
    )


# ---------------------------------------------------------------- serve


@pytest.mark.usefixtures("processes")
def test_every_flag_of_serve_is_checked_as_a_setting(cli: CommandLine) -> None:
    arguments = ["--listen", "--admin", "--storage", "--workers", "--auth", "--log-level"]
    done = cli("serve", *(f"{name}=?" for name in arguments))
    assert done.returncode == 2
    named = re.findall(r"^headgate: (--[a-z-]+) is .*, but must be ", done.stderr.decode(), re.M)
    assert sorted(named) == sorted(arguments)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("key", ["listen", "admin"])
def test_serve_on_a_port_in_use_prints_one_sentence_and_leaves_no_folder(
    key: str, cli: CommandLine, server: Headgate, tmp_path: Path
) -> None:
    taken = f"127.0.0.1:{server.port}"
    addresses = {"listen": f"127.0.0.1:{free_port()}", "admin": f"127.0.0.1:{free_port()}"}
    ports = [f"--{name}={it}" for name, it in (addresses | {key: taken}).items()]
    done = cli("serve", *ports, f"--storage=file:{tmp_path}/data")
    assert (done.returncode, done.stdout) == (2, b"")
    sentence = done.stderr.decode().splitlines()[-1]
    assert sentence.startswith(f"headgate: cannot listen on {taken} ({key}): ")
    assert sentence.casefold().count("address already in use") == 1
    assert sentence.endswith(
        "; end what listens there, or choose another address, with "
        f"--{key}, {key} or HEADGATE_{key.upper()}."
    )
    assert not (tmp_path / "data").exists()


@pytest.mark.usefixtures("processes")
def test_serve_on_an_address_of_another_machine_prints_one_sentence(cli: CommandLine) -> None:
    ports = ["--listen", f"127.0.0.1:{free_port()}", "--admin", f"127.0.0.1:{free_port()}"]
    done = cli("serve", *ports, "--listen", "192.0.2.1:4437", "--auth=none", "--storage=memory:")
    assert (done.returncode, done.stdout) == (2, b"")
    sentence = done.stderr.decode().splitlines()[-1]
    assert sentence.startswith("headgate: cannot listen on 192.0.2.1:4437 (listen): ")
    assert "; choose an address of this machine, or 0.0.0.0 for every IPv4 address" in sentence


@pytest.mark.usefixtures("processes")
def test_serve_with_an_impossible_data_folder_prints_one_sentence(
    cli: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    ports = [f"--{name}=127.0.0.1:{free_port()}" for name in ("listen", "admin")]
    done = cli("serve", *ports, "--storage", f"file:{tmp_path}/file/data")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().splitlines()[-1].startswith("headgate: ")


# ---------------------------------------------------------------- the document


def spellings(declared: click.Command) -> set[str]:
    return {
        spelling
        for parameter in declared.params
        if isinstance(parameter, click.Option)
        for spelling in (*parameter.opts, *parameter.secondary_opts)
    }


def test_docs_commands_names_every_command_and_option() -> None:
    text = (ROOT / "docs" / "commands.md").read_text()
    for name, declared in COMMANDS.items():
        headings = [f"## headgate {name}\n", f"## headgate {name.rpartition(' ')[0]}\n"]
        own = next((heading for heading in headings if heading in text), None)
        if own is None:
            assert isinstance(declared, CommandGroup), name
            assert f"| `{name}` |" in text or not name
            continue
        section = text.split(own, 1)[1].split("\n## ", 1)[0]
        assert f"headgate {name}" in text, name
        options = {option for option in spellings(declared) if option.startswith("--")}
        assert set(re.findall(r"--[a-z-]+", section)) >= options, name


def test_docs_commands_names_no_option_that_does_not_exist() -> None:
    text = (ROOT / "docs" / "commands.md").read_text()
    known = {option for declared in COMMANDS.values() for option in spellings(declared)}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) <= known | {"--help"}
