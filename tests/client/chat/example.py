"""The chat of docs/examples as it is started by hand, and the tabs in which it is open."""

from __future__ import annotations

import contextlib
import os
import runpy
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from playwright.async_api import expect

from tests.support.ports import accepts, free_port
from tests.support.processes import AT_ONCE, ROOT, start
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from playwright.async_api import BrowserContext, Locator, Page

    from tests.support.processes import Process

FOLDER = ROOT / "docs" / "examples" / "chat"
HELD_APP = Path(__file__).with_name("held_app.py")
HELD_AFTER = 60  # tokens, which is about a quarter of an answer
PATIENCE_MS = 30_000.0  # for what an idle machine does at once


def told(question: str) -> tuple[str, str]:
    """What the model answers, and how much of it before it is held."""
    tokens: list[str] = runpy.run_path(str(FOLDER / "model.py"))["tokens"](question)
    return "".join(tokens), "".join(tokens[:HELD_AFTER])


class Program:
    """A program of the example at one address: a process, and after it the next."""

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str]) -> None:
        """Print into `folder`, where the gate is at which the model is held."""
        self._program = FOLDER / name
        self._port = free_port()
        self._gate = folder / "gate"
        self._log = folder / f"{name}.log"
        self._environment = {
            **os.environ,
            **AT_ONCE,
            "CHAT_PORT": str(self._port),
            "CHAT_PROVIDER_PORT": str(self._port),
            "CHAT_SECONDS_PER_TOKEN": "0.001",
            **environment,
        }
        self._processes: list[Process] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def process(self) -> Process:
        """The newest."""
        return self._processes[-1]

    def start(self) -> None:
        """Start a process when the one before it no longer listens, and wait until it does."""
        wait_until(lambda: not accepts(self._port), told=self.output)
        with self._log.open("ab") as log:
            process = start(
                [sys.executable, HELD_APP, self._program, str(HELD_AFTER), self._gate],
                environment=self._environment,
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        wait_until(lambda: accepts(self._port) or process.poll() is not None, told=self.output)
        assert process.poll() is None, self.output()

    def hold(self) -> None:
        """Hold the model in the middle of its next answers."""
        self._gate.unlink(missing_ok=True)

    def go_on(self) -> None:
        """Let it speak."""
        self._gate.touch()

    def output(self) -> str:
        """Everything that its processes have printed."""
        return self._log.read_text() if self._log.exists() else ""

    def close(self) -> None:
        """Kill what still runs."""
        for process in self._processes:
            process.kill()
            process.wait()


@contextlib.contextmanager
def program(name: str, environment: Mapping[str, str]) -> Iterator[Program]:
    """A started program of the example."""
    with tempfile.TemporaryDirectory(prefix="headgate-test-chat-") as folder:
        made = Program(name, Path(folder), environment)
        try:
            made.start()
            yield made
        finally:
            made.close()


def chat_app(streams: str) -> contextlib.AbstractContextManager[Program]:
    """A started app that keeps its chats in these streams."""
    return program("app.py", {"CHAT_STREAMS": f"{streams}/chat"})


class ChatTab:
    """A chat in a tab."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.answers: Locator = page.locator(".answer")
        self.answer: Locator = self.answers.last
        self.state: Locator = page.locator(".state").last

    @classmethod
    async def new(cls, context: BrowserContext, app: Program) -> Self:
        """A tab with a new chat."""
        page = await context.new_page()
        await page.goto(app.url)
        return cls(page)

    async def second(self) -> ChatTab:
        """The tab that the page's own link opens."""
        async with self.page.context.expect_page() as opened:
            await self.page.get_by_role("link", name="Open in a second tab").click()
        return ChatTab(await opened.value)

    async def ask(self, question: str) -> None:
        """Type the question, and send it."""
        await self.page.get_by_label("Your question").fill(question)
        await self.page.get_by_role("button", name="Send").click()

    async def stop(self) -> None:
        """Press the button that stops the answer."""
        await self.page.get_by_role("button", name="Stop").click()

    async def is_writing(self, words: str) -> None:
        """Wait until the answer is just this, and not at its end."""
        await expect(self.answer).to_have_text(words, timeout=PATIENCE_MS)
        await expect(self.state).to_have_class("state writing")

    async def ended(self, status: str) -> str:
        """Wait until the answer has come to this end, and give it."""
        await expect(self.state).to_have_class(f"state {status}", timeout=PATIENCE_MS)
        return await self.answer.text_content() or ""
