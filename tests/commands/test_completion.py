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
        (["headgate", "token", "ha"], "hash"),
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
