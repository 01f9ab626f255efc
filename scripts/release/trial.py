"""The page *Five minutes*: in the release, and played there as somebody new would follow it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import tempfile
import urllib.request
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scripts.release.links import page_with_links
from scripts.release.making import ROOT
from scripts.sessions import PageDiffers, Terminal, sessions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scripts.release.making import Release

PAGE = "docs/five-minutes.md"
NAME = "README.md"  # of the page in the release
USED = ("headgate-*.whl", "headgate-examples-*")  # on it, of other parts
SAVED = re.compile(r"Save this as `([\w.]+)`.*?\n\n```\w+\n(.*?)```", re.DOTALL)
STREAMS, CONSOLE = "127.0.0.1:4437", "127.0.0.1:4439"
# By which pip reaches its index; nothing else of this environment is known there, least of
# all what keeps pip from saying what it has installed.
ASKED_FOR = re.compile(
    r"PIP_(?!QUIET$)\w+|(https?|all|no)_proxy|SSL_CERT_(FILE|DIR)|\w+_CA_BUNDLE", re.I
)
PIP_S = 600.0  # it downloads some 20 MB
CONSOLE_S = 10.0


def build(release: Release) -> None:
    """Write the page; its links lead into the source archive, which has the documentation."""
    if not all(map(release.files, USED)):
        raise click.ClickException("its page uses other parts: make distributions examples, too")
    title, rest = page_with_links(release, Path(PAGE), Path(NAME)).split("\n", 1)
    archive = f"headgate-{release.version}.tar.gz"
    unpack = f"Its links lead into the documentation: `tar -xf {archive}` unpacks it here."
    (release.folder / NAME).write_text(f"{title}\n\n{unpack}\n{rest}")


def check(release: Release) -> None:
    """Look for files that the page does not name, and play it in a copy of the release."""
    page = (release.source / PAGE).read_text()
    if unnamed := files_without_row(page, release.folder):
        raise click.ClickException(f"{PAGE} does not say what {', '.join(unnamed)} is")
    with tempfile.TemporaryDirectory(prefix="headgate-trial-") as made:
        folder = Path(made, "release")
        shutil.copytree(release.folder, folder)
        addresses = {it: it if _is_free(it) else _free() for it in (STREAMS, CONSOLE)}
        for printed, own in addresses.items():
            if printed != own:
                click.echo(f"{printed} is in use: the page is played at {own}")
        try:
            play(page, folder, as_somebody_new(Path(made), os.environ), addresses)
        except PageDiffers as why:
            raise click.ClickException(f"{PAGE}, {why}") from None


def files_without_row(page: str, folder: Path) -> list[str]:
    """Return the files of the release that the table of the page does not name."""
    table = page[page.index("## What is in the folder") :]
    cells = re.findall(r"^\| (`.*?) \|", table, re.M)
    patterns = [name for cell in cells for name in re.findall("`(.+?)`", cell)]
    names = sorted(path.name for path in folder.iterdir())
    return [name for name in names if not any(fnmatchcase(name, it) for it in patterns)]


def play(
    page: str, folder: Path, environment: dict[str, str], addresses: Mapping[str, str]
) -> None:
    """Do what the page says, in this folder; `addresses` has those of this machine by its own."""

    def here(text: str) -> str:
        for printed, own in addresses.items():
            text = text.replace(printed, own)
        return text

    places = zip(("HEADGATE_LISTEN", "HEADGATE_ADMIN"), (STREAMS, CONSOLE), strict=True)
    moved = {name: addresses[it] for name, it in places if addresses[it] != it}
    for name, content in SAVED.findall(page):
        (folder / name).write_text(here(content))
    *blocks, end = sessions(page)
    with Terminal(folder, environment | moved, command_s=PIP_S) as terminal:
        for block in (*blocks, end):
            if block is end:
                _look_at_console(here(f"http://{CONSOLE}"))
            for step in block:
                terminal.play(step, here)


def as_somebody_new(home: Path, found: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables of somebody who has just come to this machine."""
    paths = [Path(sys.base_prefix, "bin"), *map(Path, found["PATH"].split(os.pathsep))]
    outside = [str(path) for path in paths if not path.is_relative_to(ROOT)]
    own = Path(found.get("HOME", "/"), ".config/pip/pip.conf")  # pip reads it beside the machine's
    return {
        **({"PIP_CONFIG_FILE": str(own)} if own.exists() else {}),
        **{name: value for name, value in found.items() if ASKED_FOR.fullmatch(name)},
        "PATH": os.pathsep.join(outside),
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "LC_ALL": "C.UTF-8",
    }


def _look_at_console(url: str) -> None:
    try:
        with urllib.request.urlopen(url, timeout=CONSOLE_S) as answer:  # noqa: S310 - on loopback
            shown = answer.read().decode()
    except OSError as why:
        shown = str(why)
    if "Headgate</title>" not in shown:
        raise PageDiffers(f"the console: {url} does not show it, but\n{shown}")


def _is_free(address: str) -> bool:
    host, port = address.split(":")
    with socket.socket() as tried:
        return tried.connect_ex((host, int(port))) != 0


def _free() -> str:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{opened.getsockname()[1]}"
