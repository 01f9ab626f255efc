"""`headgate cdn`: what is printed, what is written, and what is refused without a file."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from headgate_cdn.options import Options
from headgate_cdn.render import render
from headgate_cdn.targets import TARGETS
from headgate_gateway.__main__ import cli

if TYPE_CHECKING:
    from pathlib import Path

HOST = "streams.example.com"
KEY = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"  # of RFC 8037, appendix A.2
SETTINGS = """
listen = "10.0.0.5:4000"
auth = "none"
live.long_poll_timeout = 30
[[routes]]
prefix = "/chat"
origin = "https://streams.example.com"
identity_headers = ["X-Shop"]
"""


DEFAULTS = (
    "headgate: no --config was given, so the settings are the defaults and the environment's: if "
    "your gateway has others, name its file by --config.\n"
)
FOR_DEFAULTS = DEFAULTS.replace(
    "\n",
    " Made for one own log at /v1/stream: nobody signs in, unless by Authorization, a token in the "
    "URL or the cookie __Secure-headgate; no other cookie counts.\n",
)


def headgate(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """The exit status, and what is on stdout and stderr."""
    ours = {"HEADGATE_CONFIG": None, "HEADGATE_ORIGIN": None, "XDG_RUNTIME_DIR": os.devnull}
    runner = CliRunner(env={**ours, **environment})
    result = runner.invoke(cli, ["cdn", *arguments], prog_name="headgate")
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "headgate.toml"
    path.write_text(SETTINGS)
    return str(path)


def test_cdn_list_prints_every_target_with_its_state_and_title() -> None:
    status, listed, said = headgate("list")
    assert (status, said) == (0, "")
    rows = [re.split(r" {2,}", line, maxsplit=2) for line in listed.splitlines()]
    assert rows == [[one.name, one.state, one.title] for one in TARGETS.values()]


def test_cdn_list_as_json_prints_an_object_for_each_target() -> None:
    status, listed, said = headgate("list", "--json")
    assert (status, said) == (0, "")
    assert [json.loads(line) for line in listed.splitlines()] == [
        {"name": one.name, "state": one.state, "title": one.title} for one in TARGETS.values()
    ]


@pytest.mark.usefixtures("processes")
def test_cdn_check_as_json_prints_the_report_and_keeps_its_status(tmp_path: Path) -> None:
    file = tmp_path / "site.conf"
    assert headgate("render", "nginx", "--host", HOST, "-o", str(file))[0] == 0
    status, printed, _ = headgate("check", str(file), "--json")
    found = json.loads(printed)
    assert (status, found["file"], found["is_fine"]) == (0, str(file), True)
    made = file.read_text()
    file.write_text(made.replace("proxy_cache_lock on", "proxy_cache_lock off"))
    status, printed, _ = headgate("check", str(file), "--json")
    found = json.loads(printed)
    assert (status, found["is_fine"], found["target"]) == (1, False, "nginx")
    assert "-        proxy_cache_lock off;\n" in found["difference"]


def test_cdn_render_takes_addresses_and_times_from_the_settings(config: str) -> None:
    printed = headgate("render", "nginx", "--config", config, "--host", HOST)
    assert printed[0] == 0, printed
    assert "server 10.0.0.5:4000;" in printed[1]
    assert "proxy_read_timeout 75s;" in printed[1]
    assert "${http_x_shop}" in printed[1]


def test_options_of_cdn_render_override_the_settings(tmp_path: Path) -> None:
    (tmp_path / "headgate.toml").write_text("")
    status, printed, said = headgate(
        "render",
        "nginx-njs",
        *("--config", str(tmp_path / "headgate.toml")),
        *("--upstream", "gateway:1", "--host", HOST, "--listen", "9000"),
        *("--credentials", "per-credential", "--cache-size", "2GiB", "--purge", "--standalone"),
    )
    assert (status, said) == (0, "")
    assert printed == render(
        TARGETS["nginx-njs"],
        Options(
            upstream="gateway:1",
            is_upstream_given=True,
            host=HOST,
            listen=9000,
            credentials="per-credential",
            cache_size=2 << 30,
            purge=True,
            standalone=True,
        ),
    )


@pytest.mark.usefixtures("processes")
def test_a_file_just_written_by_cdn_render_passes_cdn_check(tmp_path: Path) -> None:
    file = tmp_path / "headgate.conf"
    assert headgate("render", "nginx", "--host", HOST, "-o", str(file)) == (
        0,
        "",
        f"headgate: wrote {file}.\n{FOR_DEFAULTS}",
    )
    assert headgate("check", str(file)) == (
        0,
        f"{file} is what the settings ask for (nginx).\nnginx takes the file.\n",
        DEFAULTS,
    )


def test_cdn_render_writes_over_a_file_that_differs_only_by_force(tmp_path: Path) -> None:
    file = tmp_path / "headgate.conf"
    file.write_text("mine")
    arguments = ("render", "nginx", "--host", HOST, "-o", str(file))
    status, _, said = headgate(*arguments)
    assert (status, file.read_text()) == (1, "mine")
    assert said == f"headgate: {file} is there already and differs: write over it by --force.\n"
    for more in ("--force",), ():  # the second finds what it would write
        assert headgate(*arguments, *more)[0] == 0
        assert f"server_name {HOST};" in file.read_text()


@pytest.mark.usefixtures("processes")
def test_cdn_render_writes_all_files_of_a_target_into_a_folder(tmp_path: Path) -> None:
    given = ("render", "cloudflare-durable", "--upstream", "gateway.example.com:443")
    names = {"worker.js", "wrangler.jsonc", "package.json"}
    for host in (HOST, f"other.{HOST}"):
        status, printed, said = headgate(*given, "--host", host, "-o", str(tmp_path), "--force")
        assert (status, printed, said.count("headgate: wrote ")) == (0, "", 3)
        assert {file.name for file in tmp_path.iterdir()} == names
        assert f'"pattern": "{host}"' in (tmp_path / "wrangler.jsonc").read_text()
        for name in names:
            assert headgate("check", str(tmp_path / name))[0] == 0


def test_cdn_render_writes_nothing_into_a_folder_with_a_foreign_file(tmp_path: Path) -> None:
    mine = tmp_path / "package.json"
    mine.write_text("{}")
    given = ("render", "cloudflare-worker", "--upstream", "gateway.example.com:443")
    status, _, said = headgate(*given, "-o", str(tmp_path))
    assert (status, list(tmp_path.iterdir()), mine.read_text()) == (1, [mine], "{}")
    assert said.startswith(f"headgate: {mine} is there already and differs")


def test_cdn_render_with_a_named_config_prints_no_reminder_of_defaults(config: str) -> None:
    assert headgate("render", "nginx", "--config", config, "--host", HOST)[2] == ""


SIGNED_IN = (
    " is for readers who sign in, and nobody does by the settings, as no --config was given: give "
    "the gateway's settings by --config FILE, or have the gateway itself make the file by --admin "
    "URL.\n"
)
OF_READERS = [
    ("nginx-njs", "--credentials", "per-credential"),
    ("nginx", "--credentials", "reader-key"),
    ("varnish", "--credentials", "asked"),
    ("cloudflare-worker", "--credentials", "verified"),
    ("haproxy", "--compress-private"),
]


@pytest.mark.parametrize("options", OF_READERS, ids=" ".join)
def test_without_config_cdn_render_refuses_an_option_for_readers_who_sign_in(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "new"
    target, *option = options
    given = ("render", target, *option, "--host", HOST, "--upstream", "a.example:1")
    assert headgate(*given, "-o", str(file)) == (2, "", f"headgate: {' '.join(option)}{SIGNED_IN}")
    assert not file.exists()


@pytest.mark.parametrize("options", OF_READERS, ids=" ".join)
@pytest.mark.parametrize("named", ["HEADGATE_CONFIG", "--config", "its variables"])
def test_settings_that_are_named_decide_whether_readers_sign_in(
    options: tuple[str, ...], named: str, tmp_path: Path
) -> None:
    file, keys = tmp_path / "headgate.toml", tmp_path / "keys.json"
    headgate_keys = json.dumps({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": KEY}]})
    keys.write_text(headgate_keys)
    keys.chmod(0o600)
    file.write_text(
        f'auth = "read-tokens"\ncredentials.keys_file = "{keys}"\nlisten = "127.0.0.1:4437"\n'
    )
    given = ("render", *options, "--host", HOST, "--upstream", "a.example:1")
    if named == "--config":
        printed = headgate(*given, "--config", str(file))
    elif named == "HEADGATE_CONFIG":
        printed = headgate(*given, HEADGATE_CONFIG=str(file))
    else:
        printed = headgate(
            *given, HEADGATE_AUTH="read-tokens", HEADGATE_CREDENTIALS__KEYS_FILE=str(keys)
        )
    assert printed[0] == 0, printed


def test_an_origin_named_by_its_variable_has_readers_who_sign_in() -> None:
    given = ("render", "varnish", "--credentials", "per-credential", "--host", HOST)
    status, printed, said = headgate(*given, HEADGATE_ORIGIN="http://a.example")
    assert status == 0
    assert "# Made for one origin at /v1/stream: readers sign in by Authorization, any" in printed
    assert " Made for one origin at /v1/stream: readers sign in by Authorization, any" in said


def test_without_config_cdn_render_refuses_several_gateways() -> None:
    given = ("render", "haproxy", "--host", HOST, "--upstream", "a.example:1,b.example:1")
    status, printed, said = headgate(*given)
    assert (status, printed) == (2, "")
    assert said == (
        "headgate: several gateways in --upstream cannot share the folder of /v1/stream, as one "
        "process alone can keep its data in a folder, and no --config was given: give the "
        "gateway's settings by --config FILE, or have the gateway itself make the file by --admin "
        "URL.\n"
    )
    assert headgate(*given, HEADGATE_STORAGE="redis://127.0.0.1:1")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("apache",), f"there is no target 'apache': {', '.join(TARGETS)}."),
        (("nginx",), "nginx needs the host name that readers use: give --host."),
        (
            ("nginx", "--host", "a.example\nserver {"),
            "--host 'a.example\\nserver {' is no host name in lower case.",
        ),
        (
            ("nginx", "--host", HOST, "--cache-size", "1G"),
            "--cache-size must be in B, KiB, MiB or GiB: write 1GiB.",
        ),
    ],
    ids=lambda value: " ".join(value).splitlines()[0] if isinstance(value, tuple) else "",
)
def test_cdn_render_refuses_bad_options_in_one_sentence_and_writes_no_file(
    tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    file = tmp_path / "new"
    assert headgate("render", *arguments, "-o", str(file)) == (2, "", f"headgate: {sentence}\n")
    assert not file.exists()


def test_a_refused_cdn_render_leaves_the_existing_file_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "headgate.conf"
    file.write_text("before")
    assert headgate("render", "nginx", "-o", str(file))[0] == 2
    assert file.read_text() == "before"


def test_cdn_render_into_a_missing_folder_prints_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "none" / "headgate.conf"
    said = f"headgate: {file} cannot be written: No such file or directory.\n"
    assert headgate("render", "nginx", "--host", HOST, "-o", str(file)) == (1, "", said)


@pytest.mark.usefixtures("processes")
def test_cdn_check_prints_the_differences_and_the_errors_of_the_checker(tmp_path: Path) -> None:
    file = tmp_path / "headgate.conf"
    headgate("render", "nginx", "--host", HOST, "-o", str(file))
    made = file.read_text().replace("proxy_cache_lock on", "proxy_cache_lock maybe")
    file.write_text(made.replace('proxy_set_header Forwarded "";', ""))
    status, printed, _ = headgate("check", str(file))
    assert status == 1
    assert "-        proxy_cache_lock maybe;\n+        proxy_cache_lock on;\n" in printed
    assert f"\n{file} differs from what the settings ask for (nginx).\n" in printed
    assert 'is missing: proxy_set_header Forwarded "";.\n' in printed
    assert printed.endswith("nginx refuses the file.\n")
    assert 'invalid value "maybe"' in printed


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory."),
        (b"", "the file bears no mark of headgate cdn render, which is its first line: check a "),
        (b"server {}", "check a file as that command wrote it, or render one."),
        ("# headgate cdn nginx {}".encode("utf-16-le"), "the file has NUL characters, as UTF-16 "),
        (b"\xff\xfe#\x00", "is UTF-16 text, as its byte order mark says: save it as UTF-8."),
        (b"# headgate cdn apache {}", "there is no target 'apache': "),
    ],
    ids=["missing", "empty", "not rendered", "no mark of UTF-16", "another encoding", "no target"],
)
def test_cdn_check_of_an_unreadable_or_unmarked_file_prints_one_line(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    file = tmp_path / "headgate.conf"
    if content is not None:
        file.write_bytes(content)
    status, printed, told = headgate("check", str(file))
    assert (status, printed) == (2, "")
    assert said in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("name", TARGETS)
def test_cdn_explain_prints_every_statement_of_a_target_in_80_columns(name: str) -> None:
    status, printed, said = headgate("explain", name)
    assert (status, said) == (0, "")
    assert max(map(len, printed.splitlines())) <= 80
    flowing = " ".join(printed.split())
    one = TARGETS[name]
    assert [text for text in (*one.does, *one.does_not) if text not in flowing] == []


def test_cdn_explain_repeats_few_lines_of_one_target_for_another() -> None:
    lines = {name: set(headgate("explain", name)[1].splitlines()) for name in ("nginx", "haproxy")}
    assert len(lines["nginx"] & lines["haproxy"]) < 15
