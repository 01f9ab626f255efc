"""Answers of the example outlive the page, the app and Headgate, and always come to an end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest
from playwright.async_api import expect

from headgate.chats import Chats
from headgate.runs import Runs
from tests.admin.browser.serving import Tab
from tests.client.chat.example import PATIENCE_MS, ChatTab, example, told
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from playwright.async_api import Browser

    from tests.client.chat.example import Example

    Act = Callable[[Example, ChatTab, ChatTab], Awaitable[list[ChatTab]]]

QUESTION = 'Who reads {this} in 東京 🚣 & "where"?\n<b>Boldly</b>'
ANSWER, BEGINNING = told(QUESTION)
ASKED = "POST /v1/chat/completions"

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.usefixtures("processes"),
    pytest.mark.timeout(120),  # several programs start, and an answer is orphaned after 5 s
]


async def reload(programs: Example, tab: ChatTab, second: ChatTab) -> list[ChatTab]:
    await tab.page.reload()
    await tab.is_writing(BEGINNING)
    programs.go_on()
    return [tab, second]


async def kill_headgate(programs: Example, tab: ChatTab, second: ChatTab) -> list[ChatTab]:
    programs.gateway.kill()
    programs.go_on()
    programs.gateway.start()
    return [tab, second]


async def kill_app(programs: Example, tab: ChatTab, second: ChatTab) -> list[ChatTab]:
    programs.app.kill()
    await expect(tab.page.get_by_role("status")).to_contain_text("Trying again")
    programs.app.start()
    programs.go_on()
    return [tab, second]


async def kill_app_without_tabs(programs: Example, tab: ChatTab, second: ChatTab) -> list[ChatTab]:
    """Open a tab while the answer waits for the next process: it shows no end."""
    url, context = tab.page.url, tab.page.context
    await tab.page.close()
    programs.app.kill()
    async with Runs(f"{programs.gateway.streams}/chat") as runs:

        async def is_orphaned() -> bool:
            state = await Chats(runs).state(url.rpartition("/")[2])
            return state is not None and state.status == "orphaned"

        await until(is_orphaned)
    await second.page.close()
    programs.app.start()
    tab = await ChatTab.open(context, url)
    await tab.is_writing(BEGINNING)
    programs.go_on()
    return [tab]


async def stop(programs: Example, tab: ChatTab, second: ChatTab) -> list[ChatTab]:
    """Stop it in the second tab, and wait until the provider has written on to its end."""
    await second.stop()
    assert await second.ended("stopped") == BEGINNING
    programs.go_on()
    async with aiohttp.ClientSession(programs.gateway.admin_url) as http:

        async def is_written() -> bool:
            async with http.get("/api/v1/runs", params={"route": "/openai"}) as listed:
                (run,) = (await listed.json())["runs"]
            return bool(run["status"] == "finished")

        await until(is_written)
    return [tab, second]


# What is done in the middle of an answer, how it ends, and how often a provider was asked, where
# the model is behind a model route.
SCENES: dict[str, tuple[Act, str, int]] = {
    "a reload": (reload, "finished", 0),
    "a kill of Headgate": (kill_headgate, "finished", 0),
    "a kill of the app": (kill_app, "orphaned", 0),
    "over a model route, a kill of Headgate": (kill_headgate, "failed", 2),
    "over a model route, a kill of the app": (kill_app, "finished", 1),
    "over a model route, a kill of the app without tabs": (kill_app_without_tabs, "finished", 1),
    "over a model route, a stop while the provider writes on": (stop, "stopped", 1),
}


@pytest.mark.parametrize("scene", SCENES)
async def test_answers_of_the_example_end_in_all_tabs_as_its_page_says(
    browser: Browser, tmp_path: Path, scene: str
) -> None:
    act, status, asked = SCENES[scene]
    context = await browser.new_context(reduced_motion="reduce")
    with example(tmp_path, is_routed=asked > 0) as programs:
        tab = await ChatTab.open(context, programs.app.url)
        await tab.ask(QUESTION)
        second = await tab.second()
        await second.is_writing(BEGINNING)
        tabs = await act(programs, tab, second)
        expected = ANSWER if status == "finished" else BEGINNING
        assert [await tab.ended(status) for tab in tabs] == [expected] * len(tabs)
        if status in {"orphaned", "failed"}:
            await tab.page.get_by_role("button", name="Ask again").click()
            await expect(tab.answers).to_have_count(2, timeout=PATIENCE_MS)
            assert await tab.ended("finished") == ANSWER
        if programs.provider:
            assert programs.provider.output().count(ASKED) == asked
    await context.close()


async def test_the_chat_page_passes_accessibility_checks_and_loads_nothing_from_other_sites(
    browser: Browser, tmp_path: Path
) -> None:
    with example(tmp_path) as programs:
        tab = await Tab.open(browser, programs.app.url, color_scheme="light")
        chat = ChatTab(tab.page)
        found = await tab.inaccessible()
        await chat.ask(QUESTION)
        found += await tab.inaccessible()
        await tab.page.emulate_media(color_scheme="dark", reduced_motion="reduce")
        await tab.page.set_viewport_size({"width": 360, "height": 780})
        found += await tab.inaccessible()
        await chat.stop()
        assert await chat.ended("stopped") == BEGINNING
        found += await tab.inaccessible()
        assert found == []
        assert not await tab.is_wider_than_its_window()
        assert await tab.close() == []
