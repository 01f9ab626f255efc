"""A search of streams by a part of their names, in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from headgate_admin.app import build
from headgate_gateway.features.questions.streams import PAGE, ListStreams, StreamPage, StreamRow
from tests.admin.browser.serving import Tab
from tests.admin.consoles import Switchboard, setup
from tests.support.admin_server import AdminServer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playwright.async_api import Browser

    from headgate_gateway.features.questions.contract import Answer, Question

pytestmark = pytest.mark.asyncio(loop_scope="session")

NAMES = [f"{number:03}" for number in range(400)]
IN_TIME = 300  # names that are compared before the time of a search is over


def answers(question: Question) -> Sequence[Answer]:
    """The page of a search that a process answers whose time is over after some names."""
    assert isinstance(question, ListStreams)
    rest = [name for name in NAMES if name > question.after]
    found: list[StreamRow] = []
    for compared, name in enumerate(rest, 1):
        if question.contains in name:
            found.append(StreamRow(name=name))
        if len(found) == question.limit or (compared == IN_TIME and compared < len(rest)):
            return [StreamPage(tuple(found), name, compared=compared if question.contains else 0)]
    return [StreamPage(tuple(found), compared=len(rest))]


@pytest.mark.parametrize(
    ("text", "shown", "words"),
    [
        pytest.param("99", ["099", "199", "299"], "300 names compared", id="cut"),
        pytest.param("", NAMES[:PAGE], "50 streams", id="not-a-search"),
        pytest.param(
            "1", [it for it in NAMES if "1" in it][:PAGE], "Next page", id="to-a-full-page"
        ),
    ],
)
async def test_a_search_shows_while_it_is_typed_what_one_answer_has_found(
    browser: Browser, text: str, shown: list[str], words: str
) -> None:
    async with AdminServer(build(Switchboard({}, answers=answers), setup())) as server:
        tab = await Tab.open(browser, str(server.make_url("/")).rstrip("/"), "/streams?by=contains")
        await tab.page.locator("#search").fill("y")
        await tab.page.locator("#search").fill(text)
        listed = tab.page.locator("#listed")
        await expect(listed).to_contain_text(words)
        await expect(listed.locator("tbody th a")).to_have_text(shown)
        await expect(listed).to_have_attribute("aria-busy", "false")
        assert await tab.close() == []


async def test_a_search_whose_time_is_over_goes_on_where_it_ended(browser: Browser) -> None:
    async with AdminServer(build(Switchboard({}, answers=answers), setup())) as server:
        origin = str(server.make_url("/")).rstrip("/")
        tab = await Tab.open(browser, origin, "/streams?by=contains&text=399")
        listed = tab.page.locator("#listed")
        await expect(listed).to_contain_text("0 streams found, 300 names compared")
        await listed.get_by_text("Search on").click()
        await expect(listed.locator("tbody th a")).to_have_text(["399"])
        await expect(listed.get_by_text("Search on")).to_have_count(0)
        assert await tab.close() == []
