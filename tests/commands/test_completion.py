from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.commands.conftest import CommandLine

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
