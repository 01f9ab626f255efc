"""The hooks of the npm package in strict mode, with React 18 and the AI SDK 6, and 19 and 7."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.support.examples import cases
from tests.support.processes import NODE, ROOT
from tests.support.waiting import SERVER_PATIENCE_S, until

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import BrowserContext, Page

    from tests.client.js.site import Site

pytestmark = pytest.mark.asyncio(loop_scope="session")


VERSIONS = ("18", "19")


@pytest_asyncio.fixture(params=VERSIONS, scope="module", loop_scope="session")
async def app(
    processes: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The application of react_app.mjs as one script."""
    script = ROOT / "tests" / "node" / "react_app.mjs"
    made = tmp_path_factory.mktemp("app") / "app.js"
    with made.open("wb") as file:
        process = await asyncio.create_subprocess_exec(NODE, script, request.param, stdout=file)
        assert await process.wait() == 0
    return made


class Shown:
    """A page of the application."""

    def __init__(self, page: Page) -> None:
        self._page = page

    @classmethod
    async def open(cls, tabs: BrowserContext, site: Site, app: Path) -> Shown:
        site.app = app
        page = await tabs.new_page()
        await page.goto(f"{site.url}app")
        return cls(page)

    async def show(self, name: str, **props: Any) -> None:
        """Show a component, with these properties."""
        await self._page.evaluate("(shown) => show(shown)", {"name": name, "props": props})

    async def do(self, script: str) -> Any:
        """Run a script, which has what `useChat` gives as `chat`."""
        return await self._page.evaluate(script)

    async def hide(self) -> Page:
        """Look at another page of the browser, which is returned."""
        other = await self._page.context.new_page()
        await other.bring_to_front()
        await self._page.wait_for_function("document.visibilityState === 'hidden'", polling=20)
        return other

    async def look(self) -> None:
        """Look at it."""
        await self._page.bring_to_front()

    async def reload(self) -> None:
        await self._page.reload()

    async def has(self, text: str) -> None:
        """Wait until this is all that it shows."""
        waiting = "(text) => document.body.textContent === text"
        shown = self._page.wait_for_function(
            waiting, arg=text, polling=20, timeout=1000 * SERVER_PATIENCE_S
        )
        await shown


def answer(items: list[str], status: str) -> str:
    """What the component `Answer` shows of a run."""
    return json.dumps([items, status, None], separators=(",", ":"))


@pytest.mark.usefixtures("processes")
async def test_a_component_follows_a_run_while_mounted_and_disconnects_when_unmounted(
    app: Path, site: Site, tabs: BrowserContext
) -> None:
    feed = await site.start("story")
    feed.give("one")
    page = await Shown.open(tabs, site, app)
    await page.show("Answer", run=None)
    await page.has(answer([], "active"))
    await page.show("Answer", run="story")
    await page.has(answer(["one"], "active"))
    await page.show("")
    await until(lambda: site.connections == 0)
    feed.give("two")
    await page.show("Answer", run="story")
    await page.has(answer(["one", "two"], "active"))
    feed.end()
    await page.has(answer(["one", "two"], "finished"))


@pytest.mark.parametrize("app", cases(VERSIONS, {"19"}, "the newer one"), indirect=True)
async def test_a_chat_run_survives_reload_and_unmount_and_ends_when_the_user_stops_it(
    app: Path, site: Site, tabs: BrowserContext
) -> None:
    page = await Shown.open(tabs, site, app)
    await page.show("Chat", id="one", messages=[])
    await page.has("")
    await page.do("void chat.sendMessage({ text: 'Tell: ' })")
    await until(lambda: "one" in site.chat.feeds)
    feed = site.chat.feeds["one"]
    feed.give("Once ")
    await page.has("Tell: Once ")
    messages = await page.do("chat.messages.slice(0, 1)")

    for event in ("beforeunload", "pagehide"):  # as some pages do
        await page.do(f"addEventListener('{event}', () => chat.stop())")
    await page.reload()
    await page.show("Chat", id="one", messages=messages)
    await page.has("Tell: Once ")
    await page.show("Chat", id="two", messages=[])
    await page.has("")
    await page.show("Chat", id="one", messages=messages)
    await page.has("Tell: Once ")
    await page.show("")
    await page.has("nothing")
    assert await site.chat.state("one") == (1, "active")

    await page.show("Chat", id="one", messages=messages)
    feed.give("upon ")
    await page.has("Tell: Once upon ")
    await page.do("chat.stop()")

    async def is_stopped() -> bool:
        return await site.chat.state("one") == (1, "stopped")

    await until(is_stopped)
    assert site.chat.stops == 1


REPLACED, REPEATED = "Tell: Once upon ", "Tell: Once Once upon "


@pytest.mark.parametrize(
    ("app", "options", "is_own", "shown"),
    [
        ("18", {}, False, REPEATED),  # `useChat` of version 3 hides that the transport replays
        ("18", {}, True, REPLACED),
        ("19", {}, False, REPLACED),
        ("19", {"resumeStreamIsReplay": False}, False, REPEATED),
    ],
    indirect=["app"],
)
async def test_the_default_transport_resumes_a_cut_answer_once_its_page_is_visible_again(
    app: Path,
    site: Site,
    tabs: BrowserContext,
    options: dict[str, bool],
    is_own: bool,
    shown: str,
) -> None:
    page = await Shown.open(tabs, site, app)
    await page.show("PlainChat", id="one", options={"api": "/api/chat", **options}, isOwn=is_own)
    await page.has("")
    await page.do("void chat.sendMessage({ text: 'Tell: ' })")
    await until(lambda: "one" in site.chat.feeds)
    feed = site.chat.feeds["one"]
    feed.give("Once ")
    await page.has("Tell: Once ")
    resumes = site.chat.resumes

    await page.hide()
    site.chat.cut()

    async def has_failed() -> bool:
        return bool(await page.do("chat.status") == "error")

    await until(has_failed)
    feed.give("upon ")
    assert site.chat.resumes == resumes
    await page.look()
    await page.has(shown)
    assert site.chat.resumes == resumes + 1
