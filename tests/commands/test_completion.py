from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from headgate_gateway.commands.options.stream_names import LONGEST_S, MOST_NAMES
from tests.support.blocking_origin import BlockingOrigin
from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.processes import headgate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.commands.conftest import CommandLine
    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["headgate", "app"], "append"),
        (["headgate", "mon"], "monitor"),
        (["headgate", "stream", "sub"], "subscriptions"),
        (["headgate", "config", "context", "u"], "use"),
        (["headgate", "tail", "--from"], "--from-start"),
    ],
    ids=["a shorthand", "a group", "of a feature", "of a group in a group", "an option"],
)
def test_bash_completes_with_the_printed_script(
    words: list[str], completed: str, cli: CommandLine
) -> None:
    script = cli.output("config", "completion", "bash").decode()
    asked = " ".join(f"'{word}'" for word in words)
    program = (
        f"PATH={Path(cli.program).parent}:$PATH\n{script}\nCOMP_WORDS=({asked})\n"
        f'COMP_CWORD={len(words) - 1}\n_headgate_completion headgate\necho "${{COMPREPLY[@]}}"'
    )
    told = subprocess.check_output(
        ["bash", "--norc", "-c", program], text=True, env=cli.environment
    )
    assert told == f"{completed}\n"


@pytest.mark.parametrize(
    "words", ["config context use pr", "config context remove pr", "tail --context pr"]
)
def test_bash_completes_names_of_contexts_where_one_is_meant(
    words: str, cli: CommandLine, tmp_path: Path
) -> None:
    cli.environment["XDG_CONFIG_HOME"] = str(tmp_path)
    for name in ("prod", "other", "preview"):
        cli.output("config", "context", "add", name, f"https://{name}.example.com/v1/stream")
    typed = ["headgate", *words.split()]
    test_bash_completes_with_the_printed_script(typed, "preview prod", cli)


def test_a_damaged_file_of_contexts_completes_nothing_without_a_message(
    cli: CommandLine, tmp_path: Path
) -> None:
    file = tmp_path / "headgate" / "contexts.json"
    file.parent.mkdir()
    file.write_text("{")
    environment = {
        "XDG_CONFIG_HOME": str(tmp_path),
        "_HEADGATE_COMPLETE": "bash_complete",
        "COMP_WORDS": "headgate config context remove ",
        "COMP_CWORD": "4",
    }
    done = subprocess.run(
        [cli.program], capture_output=True, check=False, env={**cli.environment, **environment}
    )
    assert (done.stdout, done.stderr) == (b"\n", b"")


# ---------------------------------------------------------------- streams and targets


@pytest.fixture(scope="module")
def listed(processes: None) -> Iterator[Headgate]:
    """Yield a server with streams, of which some have names that a shell would change or run."""
    with headgate() as server:
        for name in ("chat/a", "chat/b", "other", "chat/$(x)", "chat/a b", "chat/`x`", "chat/a;b"):
            path = f"/v1/stream/{quote(name)}"
            assert ask(server.port, "PUT", path, b"").status == 201
        for number in range(MOST_NAMES + 20):
            assert ask(server.port, "PUT", f"/v1/stream/many/{number}", b"").status == 201
        yield server


def completed(shell: str, words: str, cli: CommandLine) -> list[str]:
    """Return what a shell gets for these words, of which the last one is completed."""
    *_, incomplete = words.split(" ")
    number = words.count(" ")
    # Fish gives the incomplete word itself.
    place = {"COMP_WORDS": words, "COMP_CWORD": incomplete if shell == "fish" else str(number)}
    done = subprocess.run(
        [cli.program],
        capture_output=True,
        check=False,
        text=True,
        env={**cli.environment, **place, "_HEADGATE_COMPLETE": f"{shell}_complete"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for line in done.stdout.splitlines() if line]
    if shell == "zsh":  # type, value and help, a line each
        return lines[1::3]
    return [line.partition(",")[2].partition("\t")[0] for line in lines]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("headgate read ch", ["chat/a", "chat/b"]),
        ("headgate stream tail oth", ["other"]),
        ("headgate ls chat/", ["chat/a", "chat/b"]),
        ("headgate delete --prefix chat/b", ["chat/b"]),
        ("headgate create x --fork-from o", ["other"]),
        ("headgate read none", []),
        ("headgate read chat/$", []),
        ("headgate read http://127.0.0.1:1/", []),
        ("headgate cdn render vcl", []),
        ("headgate cdn render varni", ["varnish"]),
        ("headgate cdn explain fast", ["fastly"]),
    ],
)
def test_each_shell_completes_names_of_streams_and_targets(
    shell: str, words: str, names: list[str], listed: Headgate, cli: CommandLine
) -> None:
    cli.environment |= {"STREAM_URL": listed.streams, "STREAM_ADMIN_URL": listed.admin_url}
    assert completed(shell, words, cli) == names


def test_at_most_as_many_streams_are_completed_as_a_screen_has(
    listed: Headgate, cli: CommandLine
) -> None:
    cli.environment |= {"STREAM_URL": listed.streams, "STREAM_ADMIN_URL": listed.admin_url}
    assert len(completed("bash", "headgate read many/", cli)) == MOST_NAMES


def test_streams_of_the_context_that_was_typed_are_completed(
    listed: Headgate, cli: CommandLine, tmp_path: Path
) -> None:
    cli.environment["XDG_CONFIG_HOME"] = str(tmp_path)
    added = ("config", "context", "add", "prod", listed.streams, "--admin", listed.admin_url)
    cli.output(*added)
    assert completed("bash", "headgate read --context prod oth", cli) == ["other"]


@pytest.mark.parametrize("admin", ["away", "no URL", "another server", "stopped"])
def test_a_server_that_lists_no_streams_completes_none_soon_and_without_a_message(
    admin: str, cli: CommandLine
) -> None:
    with headgate() as server, BlockingOrigin() as other:
        urls = {
            "away": f"http://127.0.0.1:{free_port()}",
            "no URL": "localhost",
            "another server": other.url,
            "stopped": server.admin_url,
        }
        cli.environment |= {"STREAM_URL": server.streams, "STREAM_ADMIN_URL": urls[admin]}
        assert ask(server.port, "PUT", "/v1/stream/s", b"").status == 201
        os.kill(server.pid, signal.SIGSTOP)
        begun = time.monotonic()
        assert completed("bash", "headgate read s", cli) == []
        # A start of the command on a busy machine takes some seconds more.
        assert time.monotonic() - begun < LONGEST_S + 10
        os.kill(server.pid, signal.SIGCONT)


@pytest.mark.parametrize(
    ("shell", "begin"),
    [("zsh", "#compdef headgate"), ("fish", "function _headgate_completion")],
)
def test_each_other_shell_gets_its_own_script(shell: str, begin: str, cli: CommandLine) -> None:
    assert cli.output("config", "completion", shell).decode().lstrip().startswith(begin)


def test_every_command_has_a_man_page_that_groff_formats_without_warning(tmp_path: Path) -> None:
    command = [sys.executable, "scripts/man_pages.py", str(tmp_path)]
    subprocess.run(command, check=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)})
    pages = {path.stem: path for path in tmp_path.iterdir()}
    assert {
        "headgate",
        "headgate-stream-tail",
        "headgate-cdn-render",
        "headgate-config-check",
    } <= set(pages)
    format_all = ["groff", "-man", "-ww", "-Kutf8", "-Tutf8", *map(str, pages.values())]
    formatted = subprocess.run(format_all, capture_output=True, check=True)
    assert formatted.stderr == b""
    shown = subprocess.check_output(
        ["groff", "-man", "-Kutf8", "-Tascii", "-P-cbou", str(pages["headgate-stream-tail"])],
        text=True,
    )
    for part in ("headgate-stream-tail - Print a stream as it grows", "--from-start", "STREAM_URL"):
        assert part in shown
    assert "OPTIONS\n       --offset OFFSET" in shown  # and not the argument, which has no help
