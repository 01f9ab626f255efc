"""The applications of the pages, as files in a folder, and their servers as real processes."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.client.printed_urls import PRINTED
from tests.support.ports import accepts, free_port
from tests.support.processes import ROOT
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BLOCK = re.compile(r"```python\n# (\S+)\n(.*?)```", re.DOTALL)


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


def of_python(name: str) -> tuple[str, ...]:
    """Return the command of a program of this environment."""
    return sys.executable, str(Path(sys.executable).with_name(name))


@contextlib.contextmanager
def process(folder: Path, *command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a folder that is killed after the block; what it writes is in the `log`."""
    # The SDK's client wants certificates that it can load.
    environment = {**os.environ, "SSL_CERT_FILE": "", "PYTHONPATH": str(folder), **environment}
    with (folder / "log").open("ab") as log:
        running = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        yield running
    finally:
        running.kill()
        running.wait()


@contextlib.contextmanager
def web_server(
    folder: Path, *command: str, port: int | None = None, **environment: str
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A web server, whose port is PORT in its command, and its URL."""
    port = port or free_port()
    words = [word.replace("PORT", str(port)) for word in command]
    with process(folder, *words, **environment) as running:

        def accepts_connections() -> bool:
            assert running.poll() is None, (folder / "log").read_text()
            return accepts(port)

        wait_until(accepts_connections, told=(folder / "log").read_text)
        yield running, f"http://127.0.0.1:{port}"
