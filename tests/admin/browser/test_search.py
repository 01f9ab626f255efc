"""A search of streams that compares too many names for one answer, in a browser."""

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
A_PART = 30  # names that are compared for one answer


def answers(question: Question) -> Sequence[Answer]:
    """The part of a search that a process answers: it compares so many names, and no more."""
    assert isinstance(question, ListStreams)
    rest = [name for name in NAMES if name > question.after]
    found: list[StreamRow] = []
    for compared, name in enumerate(rest, 1):
        if question.contains in name:
            found.append(StreamRow(name=name))
        if len(found) == question.limit or (compared == A_PART and compared < len(rest)):
            return [StreamPage(tuple(found), name, compared=compared)]
    return [StreamPage(tuple(found), compared=len(rest))]


@pytest.mark.parametrize(
    ("text", "shown", "words"),
    [
        pytest.param("99", ["099", "199", "299", "399"], "400 names compared", id="to-the-end"),
        pytest.param("", NAMES[:PAGE], "50 streams", id="not-a-search"),
        pytest.param(
            "1", [it for it in NAMES if "1" in it][:PAGE], "Next page", id="to-a-full-page"
        ),
        pytest.param("x", [], "No names contain x", id="none"),
    ],
)
async def test_a_search_goes_on_by_itself_until_its_page_is_full(
    browser: Browser, text: str, shown: list[str], words: str
) -> None:
    async with AdminServer(build(Switchboard({}, answers=answers), setup())) as server:
        tab = await Tab.open(browser, str(server.make_url("/")).rstrip("/"), "/streams?by=contains")
        await tab.page.locator("#search").fill("y")
        await tab.page.locator("#search").fill(text)
        listed = tab.page.locator("#listed")
        await expect(listed).to_contain_text(words)
        await expect(listed.locator("[data-goes-on]")).to_have_count(0)
        await expect(listed.locator("tbody th a")).to_have_text(shown)
        assert await tab.close() == []
