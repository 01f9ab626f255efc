"""Tabs of one browser follow a run by one connection, whatever becomes of the tab that holds it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from tests.client.js.site import Tab
from tests.clients.pages import examples
from tests.support.waiting import until

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext

    from tests.client.js.site import Site
    from tests.client.runs.sources import Feed

TABS = 7  # by HTTP/1.1 a browser has six connections to a host
FINISHED = [{"status": "finished", "error": None}]

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Story:
    """A run that is told word by word to tabs, each of which has to have them all."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.words: list[str] = []

    async def goes_on(self, tabs: list[Tab], *words: str) -> None:
        self.words += words
        self.feed.give(*words)
        await asyncio.gather(*(tab.has(self.words) for tab in tabs))

    async def ends(self, tabs: list[Tab]) -> None:
        """Have it end, and look that nothing has come twice."""
        self.feed.end()
        for tab in tabs:
            await tab.has(FINISHED, "ends")
            assert await tab.told("items") == self.words
            assert await tab.told("refusals") == []


async def test_seven_tabs_follow_and_post_by_one_connection_though_its_tab_closes_or_hangs(
    site: Site, tabs: BrowserContext
) -> None:
    story = Story(await site.start("story"))
    opened: list[Tab] = []
    for number in range(TABS):  # each comes later than the one before
        opened.append(await Tab.open(tabs, site, "story"))
        await story.goes_on(opened, f"word {number}")
    await until(lambda: site.connections == 1)
    assert await asyncio.gather(*(tab.post("hello") for tab in opened)) == [200] * TABS

    await opened.pop(0).page.close()
    await story.goes_on(opened, "closed")

    frozen = opened.pop(0)
    await frozen.freeze()
    await story.goes_on(opened, "frozen")

    await opened.pop(0).crash()
    await story.goes_on(opened, "killed")

    hanging = opened.pop(0)
    await hanging.hang()
    await story.goes_on(opened, "silent")

    await frozen.thaw()
    site.answers.set()
    opened += [frozen, hanging]
    await story.goes_on(opened, "all are back")
    await story.ends(opened)
    await until(lambda: site.connections == 0)


async def test_tabs_without_broadcast_channel_or_locks_use_a_connection_each(
    site: Site, tabs: BrowserContext
) -> None:
    story = Story(await site.start("story"))
    missing = ("delete window.BroadcastChannel", "delete Navigator.prototype.locks")
    opened = [await Tab.open(tabs, site, "story", script) for script in missing]
    await story.goes_on(opened, "once")
    assert site.connections == 2
    await story.ends(opened)


async def test_a_reloaded_tab_with_remember_reads_only_items_behind_its_last_one(
    site: Site, tabs: BrowserContext
) -> None:
    site.options = {"remember": True}
    feed = await site.start("story")
    tab = await Tab.open(tabs, site, "story")
    feed.give("one", "two")
    await tab.has(["one", "two"])
    await tab.page.reload()
    feed.give("three")
    await tab.has(["three"])
    feed.end()
    await tab.has(FINISHED, "ends")
    asked = len(site.requests)
    await tab.page.reload()  # of what has ended, nothing is asked any more
    await tab.has(FINISHED, "ends")
    assert (await tab.told(), len(site.requests)) == ([], asked)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("page", ["README.md", "docs/client/pages.md"])
async def test_the_documented_example_for_pages_shows_a_run_to_its_end(
    site: Site, tabs: BrowserContext, page: str
) -> None:
    (example,) = (each for each in examples(page) if "onItem" in each)
    site.script = f"""
        {example}
        function show(item) {{ document.body.append(item); }}
        function showEnd(status) {{ document.body.append(status); }}
    """
    feed = await site.start("1")
    feed.give("Once ", "upon ")
    feed.end()
    tab = await Tab.open(tabs, site, "1")
    await expect(tab.page.locator("body")).to_have_text("Once upon finished")


@pytest.mark.parametrize(("runs_before", "forgotten"), [(49, []), (50, ["run 0"])])
async def test_a_tab_with_remember_stores_the_cursors_of_the_newest_fifty_runs(
    site: Site, tabs: BrowserContext, runs_before: int, forgotten: list[str]
) -> None:
    site.options = {"remember": True}
    remembered = f"""
        for (let at = 0; at < {runs_before}; at++) {{
          const remembered = JSON.stringify({{ cursor: "1", at }});
          sessionStorage.setItem(`headgate-client:run ${{at}}`, remembered);
        }}
        sessionStorage.setItem("of the page", "stays");
    """
    story = Story(await site.start("story"))
    tab = await Tab.open(tabs, site, "story", remembered)
    await story.goes_on([tab], "once")
    names = await tab.page.evaluate("Object.keys(sessionStorage)")
    assert len(names) == 51
    kept = {f"headgate-client:run {at}" for at in range(runs_before)}
    assert kept - set(names) == {f"headgate-client:{name}" for name in forgotten}


@pytest.mark.torture("a tab that remembers, above")
async def test_a_reloaded_tab_without_remember_reads_the_whole_run(
    site: Site, tabs: BrowserContext
) -> None:
    story = Story(await site.start("story"))
    tab = await Tab.open(tabs, site, "story")
    await story.goes_on([tab], "one", "two")
    await tab.page.reload()
    await story.goes_on([tab], "three")


async def test_a_tab_retries_while_the_application_answers_503(
    site: Site, tabs: BrowserContext
) -> None:
    story = Story(await site.start("story"))
    site.status = 503
    tab = await Tab.open(tabs, site, "story")
    await until(lambda: len(site.requests) >= 2)  # the second one asks which status it was
    site.status = 200
    await story.goes_on([tab], "once")


@pytest.mark.parametrize("status", [204, 401])
async def test_a_tab_sends_no_further_request_after_a_204_or_401(
    site: Site, tabs: BrowserContext, status: int
) -> None:
    site.status = status
    tab = await Tab.open(tabs, site, "story")
    ((told, _),) = await tab.page.evaluate("toldOf('refusals', 1)")
    assert (told, len(site.requests)) == (status, 2)


async def test_failed_attempts_while_offline_do_not_use_up_the_retries_of_a_page(
    site: Site, tabs: BrowserContext
) -> None:
    site.options = {"retries": 1}
    counting = """
        window.opened = 0;
        window.EventSource = class extends EventSource {
          constructor(...about) { super(...about); window.opened++; }
        };
    """
    story = Story(await site.start("story"))
    tab = await Tab.open(tabs, site, "story", counting)
    await story.goes_on([tab], "once")
    await tabs.set_offline(True)
    try:
        site.cut()
        await tab.page.wait_for_function("opened >= 3", polling=20)  # two have failed
    finally:
        await tabs.set_offline(False)
    await story.goes_on([tab], "upon")


async def test_a_tab_reports_the_status_and_stops_when_its_retries_are_used_up(
    site: Site, tabs: BrowserContext
) -> None:
    site.status, site.options = 503, {"retries": 1}
    tab = await Tab.open(tabs, site, "story")
    refusal = [503, f"2 attempts have brought nothing: {site.url}runs/story answers 503"]
    await tab.has([refusal], "refusals")
    assert len(site.requests) == 2
