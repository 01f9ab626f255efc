"""The hooks of the npm package in strict mode, with React 18 and the AI SDK 6, and 19 and 7."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.client.js.site import Tab
from tests.support.examples import cases
from tests.support.processes import NODE, ROOT
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import BrowserContext

    from tests.client.js.site import Site
    from tests.client.runs.sources import Feed

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


async def show(tab: Tab, name: str, **props: Any) -> None:
    """Show a component, with these properties."""
    await tab.page.evaluate("(shown) => show(shown)", {"name": name, "props": props})


async def opened(tabs: BrowserContext, site: Site, app: Path) -> Tab:
    site.app = app
    return await Tab.open(tabs, site, 'import "/app.js"')


async def begun(tab: Tab, site: Site) -> Feed:
    """Ask in the chat that is shown; return the source of its answer, which has begun."""
    await tab.shows("")
    await tab.page.evaluate("void chat.sendMessage({ text: 'Tell: ' })")
    await until(lambda: "one" in site.feeds)
    site.feeds["one"].give("Once ")
    await tab.shows("Tell: Once ")
    return site.feeds["one"]


def answer(items: list[str], status: str) -> str:
    """What the component `Answer` shows of a run."""
    return json.dumps([items, status, None], separators=(",", ":"))


@pytest.mark.usefixtures("processes")
async def test_a_component_follows_a_run_while_mounted_and_disconnects_when_unmounted(
    app: Path, site: Site, tabs: BrowserContext
) -> None:
    feed = await site.start("story", "one")
    tab = await opened(tabs, site, app)
    await show(tab, "Answer", run=None)
    await tab.shows(answer([], "active"))
    await show(tab, "Answer", run="story")
    await tab.shows(answer(["one"], "active"))
    await show(tab, "")
    await until(lambda: site.connections == 0)
    feed.give("two")
    await show(tab, "Answer", run="story")
    await tab.shows(answer(["one", "two"], "active"))
    feed.end()
    await tab.shows(answer(["one", "two"], "finished"))


@pytest.mark.parametrize("app", cases(VERSIONS, {"19"}, "the newer one"), indirect=True)
async def test_a_chat_run_survives_reload_and_unmount_and_ends_when_the_user_stops_it(
    app: Path, site: Site, tabs: BrowserContext
) -> None:
    tab = await opened(tabs, site, app)
    await show(tab, "Chat", id="one", messages=[])
    feed = await begun(tab, site)
    messages = await tab.page.evaluate("chat.messages.slice(0, 1)")

    for event in ("beforeunload", "pagehide"):  # as some pages do
        await tab.page.evaluate(f"addEventListener('{event}', () => chat.stop())")
    await tab.page.reload()
    await show(tab, "Chat", id="one", messages=messages)
    await tab.shows("Tell: Once ")
    await show(tab, "Chat", id="two", messages=[])
    await tab.shows("")
    await show(tab, "Chat", id="one", messages=messages)
    await tab.shows("Tell: Once ")
    await show(tab, "")
    await tab.shows("nothing")
    assert await site.state("one") == (1, "active")

    await show(tab, "Chat", id="one", messages=messages)
    feed.give("upon ")
    await tab.shows("Tell: Once upon ")
    await tab.page.evaluate("chat.stop()")

    async def is_stopped() -> bool:
        return await site.state("one") == (1, "stopped")

    await until(is_stopped)
    assert site.stops == 1


REPLACED, REPEATED = "Tell: Once upon ", "Tell: Once Once upon "


@pytest.mark.parametrize(
    ("app", "options", "is_own", "shown"),
    [
        ("18", {}, False, REPEATED),  # `useChat` of version 3 hides that the transport replays
        ("18", {}, True, REPLACED),
        pytest.param("18", None, False, REPLACED, id="18-with-RunChatTransport"),
        ("19", {}, False, REPLACED),
        ("19", {"resumeStreamIsReplay": False}, False, REPEATED),
        pytest.param("19", None, False, REPLACED, id="19-with-RunChatTransport"),
    ],
    indirect=["app"],
)
async def test_a_cut_answer_is_resumed_once_and_by_the_default_transport_when_visible_again(
    app: Path,
    site: Site,
    tabs: BrowserContext,
    options: dict[str, bool] | None,
    is_own: bool,
    shown: str,
) -> None:
    tab = await opened(tabs, site, app)
    about = None if options is None else {"api": "/api/chat", **options}
    await show(tab, "Chat", id="one", messages=[], options=about, isOwn=is_own)
    feed = await begun(tab, site)
    resumes = site.resumes

    await (await tabs.new_page()).bring_to_front()
    await tab.page.wait_for_function("document.visibilityState === 'hidden'", polling=20)
    site.cut()

    async def has_failed() -> bool:
        return bool(await tab.page.evaluate("chat.status") == "error")

    if options is not None:  # the transport of the package resumes by itself
        await until(has_failed)
        assert site.resumes == resumes
    feed.give("upon ")
    await tab.page.bring_to_front()
    await tab.shows(shown)
    assert site.resumes == resumes + 1
