"""A console over a real gateway: messages as they are appended, and what operators change."""

from __future__ import annotations

import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import expect

from admin.app import build
from gateway.features.questions.contract import AnswerFailure
from gateway.features.questions.streams import DescribeStream, StreamDescription, StreamRow
from gateway.process.gateway import Gateway
from gateway.settings import Address, Settings
from tests.admin.browser.serving import HASH, PASSWORD, Tab
from tests.admin.consoles import NOW, Switchboard, setup
from tests.support.admin_server import AdminServer
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from typing import Any

    from playwright.async_api import Browser

    from gateway.features.questions.contract import Answer, Question

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROUTE = "/v1/stream"
JSON = {"Content-Type": "application/json"}
MOST_ROWS = 10_000  # of a page, as messages.js has it


def described(question: Question) -> Sequence[Answer]:
    """A source that knows every stream there could be, and nothing else."""
    if isinstance(question, DescribeStream):
        return (
            StreamDescription(StreamRow(name=question.name, content_type="application/json"), {}),
        )
    return (AnswerFailure(501, "that is not told here"),)


class Streams:
    """A gateway's streams, as a writer has them."""

    def __init__(self, listen: Address, session: aiohttp.ClientSession) -> None:
        self.listen = listen
        self._session = session

    async def ask(self, method: str, name: str, body: object = None) -> int:
        url = f"http://{self.listen}{ROUTE}/{name}"
        data = None if body is None else json.dumps(body).encode()
        async with self._session.request(method, url, headers=JSON, data=data) as answer:
            return answer.status

    async def read(self, name: str) -> Any:
        url = f"http://{self.listen}{ROUTE}/{name}?offset=-1"
        async with self._session.get(url) as answer:
            return await answer.json(), answer.headers.get("Stream-Closed")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def streams() -> AsyncIterator[Streams]:
    """A gateway in this process that keeps its streams in memory."""
    settings = Settings(
        listen=Address("127.0.0.1", free_port()),
        admin=Address("127.0.0.1", free_port()),
        storage="memory:",
    )
    gateway = Gateway(settings)
    await gateway.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Streams(settings.listen, session)
    finally:
        await gateway.stop()


@asynccontextmanager
async def looking(
    browser: Browser, streams: Streams, name: str, tab: str = "messages", **settings: Any
) -> AsyncIterator[Tab]:
    """The page of a stream; nothing may have gone wrong on it in the end."""
    app = build(
        Switchboard(answers=described), setup(lambda: NOW, listen=streams.listen, **settings)
    )
    async with AdminServer(app) as server:
        base = str(server.make_url("/")).rstrip("/")
        path = f"/streams/one?route={ROUTE}&name={name}&tab={tab}"
        opened = await Tab.open(browser, base, path)
        yield opened
        assert await opened.close() == []


async def test_appended_messages_appear_on_an_open_page_within_a_second(
    browser: Browser, streams: Streams
) -> None:
    await streams.ask("PUT", "tail")
    async with looking(browser, streams, "tail") as tab:
        await tab.page.get_by_text("0 messages, following").wait_for()
        for number in range(3):
            began = time.monotonic()
            assert await streams.ask("POST", "tail", {"number": number, "text": "<b>"}) == 204
            row = tab.page.get_by_role("listbox").get_by_role("option").nth(number)
            await row.get_by_text(f'{{"number": {number}, "text": "<b>"}}').wait_for()
            assert time.monotonic() - began < 1


async def test_a_paused_tail_shows_missed_messages_afterwards_and_ends_with_its_stream(
    browser: Browser, streams: Streams
) -> None:
    await streams.ask("PUT", "pause")
    async with looking(browser, streams, "pause") as tab:
        await tab.page.get_by_role("button", name="Pause").click()
        await streams.ask("POST", "pause", ["while paused"])
        await tab.page.get_by_text("0 messages, paused").wait_for()
        await tab.page.get_by_role("button", name="Follow").click()
        await (
            tab.page.get_by_role("listbox")
            .get_by_role("option")
            .get_by_text("while paused")
            .wait_for()
        )
        async with aiohttp.ClientSession() as session:
            url = f"http://{streams.listen}{ROUTE}/pause"
            async with session.post(url, headers={"Stream-Closed": "true"}):
                pass
        await tab.page.get_by_text("1 message, closed: this is the end").wait_for()


async def test_a_long_message_list_renders_only_rows_in_view_and_drops_the_oldest(
    browser: Browser, streams: Streams
) -> None:
    await streams.ask("PUT", "many")
    async with looking(browser, streams, "many") as tab:
        status = tab.page.locator(".controls .status")
        await expect(status).to_have_text("0 messages, following")
        await streams.ask("POST", "many", list(range(MOST_ROWS)))
        await expect(status).to_have_text("10,000 messages, following")
        rows = tab.page.get_by_role("listbox").get_by_role("option")
        await expect(rows.last).to_contain_text(str(MOST_ROWS - 1))
        assert 10 < await rows.count() < 60
        await streams.ask("POST", "many", [MOST_ROWS])
        await expect(rows.last).to_contain_text(str(MOST_ROWS))
        await expect(status).to_have_text("10,000 messages, following")
        await tab.page.get_by_role("listbox").press("Home")
        await expect(rows.first).to_have_id("message-1")


async def test_scrolling_to_the_end_reads_more_messages(browser: Browser, streams: Streams) -> None:
    await streams.ask("PUT", "long")
    await streams.ask("POST", "long", list(range(1_500)))
    async with looking(browser, streams, "long") as tab:
        await tab.goto(f"/streams/one?route={ROUTE}&name=long&offset=-1")
        await tab.page.get_by_text("1,000 messages, more to read").wait_for()
        await tab.page.get_by_role("listbox").press("End")
        await tab.page.get_by_text("1,200 messages, more to read").wait_for()


async def test_an_operator_appends_to_closes_and_deletes_a_stream_on_its_page(
    browser: Browser, streams: Streams
) -> None:
    await streams.ask("PUT", "changed")
    async with looking(browser, streams, "changed", "change") as tab:
        await tab.page.get_by_label("One append").fill('{"by": "hand"}')
        await tab.page.get_by_role("button", name="Append").click()
        await tab.page.get_by_text("✓ Appended.").wait_for()
        assert await streams.read("changed") == ([{"by": "hand"}], None)

        await tab.page.get_by_label("Close it").fill("changed")
        await tab.page.get_by_role("button", name="Close", exact=True).click()
        await tab.page.get_by_text("✓ The stream is closed.").wait_for()
        assert await streams.read("changed") == ([{"by": "hand"}], "true")

        await tab.page.get_by_label("Delete it").fill("changed")
        await tab.page.get_by_role("button", name="Delete").click()
        await tab.page.get_by_text("The stream is deleted.").wait_for()
        assert await streams.ask("GET", "changed") == 404


@pytest.mark.usefixtures("processes")
async def test_signed_in_users_see_the_tabs_of_their_role(
    browser: Browser, streams: Streams
) -> None:
    await streams.ask("PUT", "signed")
    users = [
        {"name": "ada", "role": "operator", "password_hash": HASH},
        {"name": "bob", "role": "viewer", "password_hash": HASH},
    ]
    async with looking(browser, streams, "signed", admin_users=users) as tab:
        assert await tab.inaccessible() == []
        for name, tabs in (("bob", 4), ("ada", 5)):
            await tab.page.get_by_label("Name").fill(name)
            await tab.page.get_by_label("Password").fill("wrong")
            await tab.page.get_by_role("button", name="Sign in").click()
            await tab.page.get_by_text("The name or the password is wrong.").wait_for()
            assert await tab.page.get_by_label("Name").input_value() == name
            await tab.page.get_by_label("Password").fill(PASSWORD)
            await tab.page.get_by_role("button", name="Sign in").click()
            await tab.page.get_by_role("heading", name="signed").wait_for()
            assert await tab.page.locator(".tabs a").count() == tabs
            await tab.page.get_by_role("button", name="Sign out").click()
            await tab.page.get_by_role("heading", name="Sign in").wait_for()
            await tab.goto(f"/streams/one?route={ROUTE}&name=signed")
        tab.wrong = [it for it in tab.wrong if "401 (Unauthorized)" not in it]


async def test_a_foreign_next_address_is_dropped_from_the_sign_in_form(
    browser: Browser, streams: Streams
) -> None:
    users = [{"name": "ada", "role": "operator", "password_hash": HASH}]
    async with looking(browser, streams, "signed", admin_users=users) as tab:
        for there in ("//evil.example", "/\\evil.example", "https://evil.example/"):
            await tab.goto(f"/sign-in?next={there}")
            # A short page has no scroll bar.
            height = await tab.page.evaluate("document.documentElement.scrollHeight - innerHeight")
            assert height == 0
            assert await tab.page.locator("[name=next]").input_value() == "/"
