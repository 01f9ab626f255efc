"""The applications of the pages, as files in a folder, and their servers as real processes."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.client.printed_urls import PRINTED
from tests.support.ports import accepts, free_port
from tests.support.processes import AT_ONCE, ROOT
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pytest

BIN = Path(sys.executable).parent
BLOCK = re.compile(r"```python\n# (\S+)\n(.*?)```", re.DOTALL)

# In place of a model: it says what it is asked word by word, and may go on for ever.
MODEL = """
import time


def produce(question):
    for word in question.split():
        yield f"{word} "
        time.sleep(0.1)
    while question.endswith("forever"):
        yield "and "
        time.sleep(0.1)
"""


def programs(page: str, *headings: str) -> dict[str, str]:
    """Return the files that a page shows below its headings, up to the next one."""
    text = (ROOT / "docs/client" / page).read_text()
    for level, heading in zip(("##", "###"), headings, strict=False):
        text = text.split(f"\n{level} {heading}\n")[1].split(f"\n{level} ")[0]
    if headings:
        text = text.split("\n###")[0]
    return dict(BLOCK.findall(text))


def write(folder: Path, files: Mapping[str, str], url: str, *options: str) -> None:
    """Write the files, with this URL and options of runs. Settings are added to those there."""
    arguments = ", ".join([f'"{url}"', *options])
    assert any(PRINTED.search(program) for program in files.values())
    for name, program in files.items():
        path = folder / name
        before = path.read_text() if name.endswith("/settings.py") else ""
        path.write_text(before + re.sub(f'"{PRINTED.pattern}"', arguments, program))


def started(folder: Path, *command: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a program of this environment in a folder; what it writes is in its `log`."""
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, BIN / command[0], *command[1:]],
            cwd=folder,
            env={**os.environ, **AT_ONCE, "PYTHONPATH": str(folder), **environment},
            stdout=log,
            stderr=log,
        )


@contextlib.contextmanager
def process(folder: Path, *command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is killed when the block ends."""
    running = started(folder, *command, environment=environment)
    try:
        yield running
    finally:
        running.kill()
        running.wait()


@contextlib.contextmanager
def web_server(folder: Path, *command: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A web server, whose port is PORT in its command, and its URL."""
    port = free_port()
    words = [word.replace("PORT", str(port)) for word in command]
    with process(folder, *words) as running:

        def accepts_connections() -> bool:
            assert running.poll() is None, (folder / "log").read_text()
            return accepts(port)

        wait_until(accepts_connections, told=(folder / "log").read_text)
        yield running, f"http://127.0.0.1:{port}"


NAMES = ("app", "model", "work")  # of the modules of a page's application


@contextlib.contextmanager
def application(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module `app` of a folder, in this process; its runs are closed when the block ends."""
    monkeypatch.syspath_prepend(folder)
    for name in NAMES:  # another test may have imported its own module of this name
        sys.modules.pop(name, None)
    module = import_module("app")
    try:
        yield module
    finally:
        module.runs.close(wait=0)
        for name in NAMES:
            sys.modules.pop(name, None)
