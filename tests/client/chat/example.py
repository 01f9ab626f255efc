"""The chat of docs/examples as it is started by hand, and the tabs in which it is open."""

from __future__ import annotations

import contextlib
import os
import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from playwright.async_api import expect

from tests.support.ports import accepts, free_port
from tests.support.processes import AT_ONCE, ROOT, Headgate, start
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.async_api import BrowserContext, Locator, Page

FOLDER = ROOT / "docs" / "examples" / "chat"
HELD_APP = Path(__file__).with_name("held_app.py")
HELD_AFTER = 60  # tokens, which is about a quarter of an answer
PATIENCE_MS = 30_000.0  # for what an idle machine does at once
PROVIDER_URL = "http://127.0.0.1:8001"  # as the example has it


def told(question: str) -> tuple[str, str]:
    """What the model answers, and how much of it before it is held."""
    tokens: list[str] = runpy.run_path(str(FOLDER / "model.py"))["tokens"](question)
    return "".join(tokens), "".join(tokens[:HELD_AFTER])


class Program:
    """A program of the example at one address; its model is held until there is a gate."""

    def __init__(self, name: str, folder: Path, **environment: str) -> None:
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._log = folder / f"{name}.log"
        program, gate = FOLDER / name, folder / "gate"
        self._command = sys.executable, HELD_APP, program, str(HELD_AFTER), gate
        self._environment = {
            **os.environ,
            **AT_ONCE,
            "CHAT_PORT": str(self._port),
            "CHAT_PROVIDER_PORT": str(self._port),
            "CHAT_SECONDS_PER_TOKEN": "0.001",
            "SSL_CERT_FILE": "",  # the SDK's client wants certificates that it can load
            **environment,
        }

    def start(self) -> None:
        """Start a process, and wait until it listens."""
        with self._log.open("ab") as log:
            self._process = start(
                self._command, environment=self._environment, stdout=log, stderr=log
            )
        wait_until(lambda: accepts(self._port) or self._process.poll() is not None)
        assert self._process.poll() is None, self.output()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def output(self) -> str:
        """Everything that its processes have printed."""
        return self._log.read_text()


class Example(NamedTuple):
    """The programs of an example, and the provider behind its model route."""

    gateway: Headgate
    app: Program
    provider: Program | None
    gate: Path

    def go_on(self) -> None:
        """Let the model speak."""
        self.gate.touch()


@contextlib.contextmanager
def example(folder: Path, *, is_routed: bool = False) -> Iterator[Example]:
    """The programs, started with the settings of the example."""
    with contextlib.ExitStack() as stack:

        def started(name: str, **environment: str) -> Program:
            program = Program(name, folder, **environment)
            stack.callback(program.kill)
            program.start()
            return program

        provider = started("provider.py") if is_routed else None
        provider_url = provider.url if provider else PROVIDER_URL
        settings = (FOLDER / "headgate.toml").read_text().replace(PROVIDER_URL, provider_url)
        config = folder / "headgate.toml"
        config.write_text(settings.replace("./headgate-data", str(folder / "data")))
        gateway = stack.enter_context(contextlib.closing(Headgate()))
        gateway.arguments[gateway.arguments.index("--storage") :] = "--config", str(config)
        gateway.start()
        model_route = {"CHAT_MODEL_ROUTE": f"{gateway.url}/openai/v1"} if is_routed else {}
        app = started("app.py", CHAT_STREAMS=f"{gateway.streams}/chat", **model_route)
        yield Example(gateway, app, provider, folder / "gate")


class ChatTab:
    """A chat in a tab."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.answers: Locator = page.locator(".answer")
        self.answer: Locator = self.answers.last
        self.state: Locator = page.locator(".state").last

    @classmethod
    async def open(cls, context: BrowserContext, url: str) -> Self:
        page = await context.new_page()
        await page.goto(url)
        return cls(page)

    async def second(self) -> ChatTab:
        """The tab that the page's own link opens."""
        async with self.page.context.expect_page() as opened:
            await self.page.get_by_role("link", name="Open in a second tab").click()
        return ChatTab(await opened.value)

    async def ask(self, question: str) -> None:
        """Type the question, send it, and wait until its answer is in the middle."""
        await self.page.get_by_label("Your question").fill(question)
        await self.page.get_by_role("button", name="Send").click()
        await self.is_writing(told(question)[1])

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
