"""The archive of the examples: whoever is given a release alone has what its pages say."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from scripts.release.making import WHEELS
from tests.client.chat.example import PATIENCE_MS, ChatTab, told
from tests.release.repository import Repository
from tests.support.ports import accepts, free_port
from tests.support.processes import NODE, ROOT
from tests.support.recipes import recipe
from tests.support.shared_folder import shared_folder
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.async_api import Browser

PRINTED = (4437, 4439, 8000, 8001, 8080, 9000)  # the ports of the pages
LINK = re.compile(r"\]\(([^)\s#:]+)[)#]")

pytestmark = [
    pytest.mark.usefixtures("processes"),
    pytest.mark.timeout(300),  # the first test builds and installs all
]


@pytest.fixture(scope="module")
def installed(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the examples, installed as its page says in a release without a clone."""
    release = shared_folder(tmp_path_factory) / "release-with-examples"
    release.mkdir(exist_ok=True)
    with (release / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (release / "done").exists():
            made = tmp_path_factory.mktemp("made")
            Repository(made / "clone").release(made / "release", "distributions", "npm", "examples")
            shutil.copytree(made / "release", release, dirs_exist_ok=True)
            (install,) = recipe(ROOT / "docs/examples/README.md", "Install")
            done = run(release, install.text, **variables(release))
            assert done.returncode == 0, done.stdout
            (release / "done").touch()
    (folder,) = release.glob("headgate-examples-*/")
    return folder


def variables(folder: Path) -> dict[str, str]:
    """The environment of somebody who has Python, Node.js and what every system has."""
    programs = folder / "programs"
    if not programs.exists():
        programs.mkdir()
        (programs / "python3").symlink_to(getattr(sys, "_base_executable", sys.executable))
        (programs / "node").symlink_to(NODE.resolve())
    return {
        "PATH": f"{programs}:/usr/bin:/bin",
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(WHEELS),
        "CHAT_SECONDS_PER_TOKEN": "0.02",
        "SSL_CERT_FILE": "",  # the SDK's client wants certificates that it can load
    }


def run(folder: Path, commands: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Type a block into a terminal, and wait for its end."""
    return subprocess.run(
        ["bash", "-ec", commands],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


class Desk:
    """The examples with ports that are free here, and terminals in their folder."""

    def __init__(self, installed: Path, folder: Path) -> None:
        self._ports = {port: free_port() for port in PRINTED}
        self._opened: list[subprocess.Popen[bytes]] = []
        self._log = folder / "log"
        self.folder = folder / "examples"
        shutil.copytree(installed, self.folder, ignore=shutil.ignore_patterns("venv"))
        (self.folder / "venv").symlink_to(installed / "venv")
        for path in [*self.folder.glob("*.*"), *self.folder.glob("[!v]*/*.*")]:
            path.write_text(self._here(path.read_text()))
        self._variables = {
            **variables(folder),
            "HEADGATE_LISTEN": self.url(4437).removeprefix("http://"),
            "HEADGATE_ADMIN": self.url(4439).removeprefix("http://"),
        }

    def _here(self, text: str) -> str:
        return re.sub(
            rf"\b(?:{'|'.join(map(str, PRINTED))})\b", lambda it: str(self._ports[int(it[0])]), text
        )

    def url(self, port: int) -> str:
        """Where the pages say that it is at this port."""
        return f"http://127.0.0.1:{self._ports[port]}"

    def blocks(self, page: str, title: str) -> list[str]:
        """The commands under a heading of a page, each for a terminal of its own."""
        return [block.text for block in recipe(self.folder / page, title)]

    def type_in(self, commands: str) -> None:
        """Type a block that comes to an end."""
        done = run(self.folder, commands, **self._variables)
        assert done.returncode == 0, done.stdout

    def open(self, commands: str, *ports: int) -> subprocess.Popen[bytes]:
        """Type a block into a new terminal, and wait until something listens at these ports."""
        with self._log.open("ab") as log:
            opened = subprocess.Popen(
                ["bash", "-ec", commands],
                cwd=self.folder,
                env=self._variables,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                process_group=0,
            )
        self._opened.append(opened)
        wait_until(lambda: all(accepts(self._ports[port]) for port in ports), commands, self.output)
        return opened

    def kill(self, opened: subprocess.Popen[bytes]) -> None:
        """Kill what runs in a terminal."""
        self._opened.remove(opened)
        os.killpg(opened.pid, signal.SIGKILL)
        opened.communicate()

    def output(self) -> str:
        """What all terminals have printed."""
        return self._log.read_text()

    def close(self) -> None:
        """Close all terminals."""
        for opened in [*self._opened]:
            self.kill(opened)


@pytest.fixture
def desk(installed: Path, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(installed, tmp_path)
    try:
        yield made
    finally:
        made.close()


def test_links_of_the_pages_lead_to_files_of_the_archive_or_of_the_documentation_beside_it(
    installed: Path,
) -> None:
    pages = [*installed.glob("*.md"), *installed.glob("[!v]*/*.md")]
    links = {(page, link) for page in pages for link in LINK.findall(page.read_text())}
    assert (len(pages), len(links) > 20) == (4, True)
    assert [str(it) for it in links if not (it[0].parent / it[1]).exists()] == []


@pytest.mark.asyncio(loop_scope="session")
async def test_a_note_is_on_the_page_at_once_and_stays_through_a_kill_and_a_reload(
    desk: Desk, browser: Browser
) -> None:
    (serve,) = desk.blocks("README.md", "The server")
    show, write = desk.blocks("README.md", "A page")
    server = desk.open(serve, 4437, 4439)
    desk.open(show, 8080)
    writer = desk.open(write)
    wait_until(lambda: "A note" in desk.output(), "the program to ask for a note", desk.output)

    def note(text: str) -> None:
        assert writer.stdin is not None
        writer.stdin.write(f"{text}\n".encode())
        writer.stdin.flush()

    async with await browser.new_context() as context:
        tabs = [await context.new_page() for _ in range(2)]
        for tab in tabs:
            await tab.goto(desk.url(8080))
            await expect(tab.get_by_role("status")).to_have_text("live", timeout=PATIENCE_MS)
        note("<b>one</b>")
        for tab in tabs:
            await expect(tab.locator("li")).to_have_text(["<b>one</b>"], timeout=PATIENCE_MS)
        desk.kill(server)
        await expect(tabs[0].get_by_role("status")).not_to_have_text("live", timeout=PATIENCE_MS)
        desk.open(serve, 4437, 4439)
        note("two")
        await tabs[0].reload()
        for tab in tabs:
            await expect(tab.locator("li")).to_have_text(["<b>one</b>", "two"], timeout=PATIENCE_MS)


# The sections whose blocks start it, the last of them the app, and the ports at which these listen.
CHATS = {
    "as the first page says": (
        [("README.md", "The server"), ("README.md", "A chat")],
        (4437, 8000),
    ),
    "as its own page says": ([("chat/README.md", "Start it")], (4437, 8000)),
    "over a model route": ([("chat/README.md", "Over a model route")], (4437, 8001, 8000)),
}


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("kind", CHATS)
async def test_the_chat_says_that_headgate_is_missing_and_an_answer_goes_on_after_a_reload(
    desk: Desk, browser: Browser, kind: str
) -> None:
    sections, ports = CHATS[kind]
    blocks = [block for section in sections for block in desk.blocks(*section)]
    *others, app = zip([it for it in blocks if "make chat" not in it], ports, strict=True)
    desk.open(*app)
    async with await browser.new_context() as context:
        tab = await ChatTab.open(context, desk.url(8000))
        missing = tab.page.get_by_text("The app cannot reach Headgate. Trying again")
        await expect(missing).to_be_visible(timeout=PATIENCE_MS)
        for block, port in others:
            desk.open(block, port)
        await expect(missing).not_to_be_visible(timeout=PATIENCE_MS)
        await tab.page.get_by_label("Your question").fill("Why?")
        await tab.page.get_by_role("button", name="Send").click()
        await expect(tab.answer).to_contain_text("Once", timeout=PATIENCE_MS)
        begun = await tab.answer.evaluate("it => { location.reload(); return it.textContent }")
        answer = await tab.ended("finished")
        assert answer == told("Why?")[0]
        assert answer.startswith(begun)
        assert len(begun) < len(answer)


def test_the_receiver_of_webhooks_prints_what_its_page_says(desk: Desk) -> None:
    start, subscribe, order = desk.blocks("webhook/README.md", "Start it")
    desk.open(start, 9000, 4437)
    desk.type_in(subscribe)
    desk.type_in(order)
    wait_until(
        lambda: "orders/anna: your order of tea has arrived\n" in desk.output(),
        "the order to arrive",
        desk.output,
    )
