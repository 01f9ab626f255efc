"""Answers of the example go on after a kill of its app when the model is behind a model route."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest
from headgate.chats import Chats
from headgate.runs import Runs
from playwright.async_api import expect

from tests.client.chat.example import FOLDER, PATIENCE_MS, ChatTab, program, told
from tests.support.processes import Headgate
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.async_api import BrowserContext

    from tests.client.chat.example import Program

QUESTION = "Who goes on?"
ANSWER, BEGINNING = told(QUESTION)
PROVIDER_URL = "http://127.0.0.1:8001"  # as the example has it
ASKED = "POST /v1/chat/completions"

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def provider(processes: None) -> Iterator[Program]:
    """The provider, whose model is held in the middle of an answer."""
    with program("provider.py", {}) as made:
        yield made


@pytest.fixture
def routing_gateway(processes: None, provider: Program, tmp_path: Path) -> Iterator[Headgate]:
    """A gateway with the settings of the example."""
    settings = (FOLDER / "headgate.toml").read_text().replace(PROVIDER_URL, provider.url)
    config = tmp_path / "headgate.toml"
    config.write_text(settings.replace("./headgate-data", str(tmp_path / "data")))
    server = Headgate()
    server.arguments[server.arguments.index("--storage") :] = "--config", str(config)
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture
def routed_app(processes: None, routing_gateway: Headgate) -> Iterator[Program]:
    environment = {
        "CHAT_STREAMS": f"{routing_gateway.streams}/chat",
        "CHAT_MODEL_ROUTE": f"{routing_gateway.url}/openai/v1",
        "SSL_CERT_FILE": "",  # the SDK's client wants certificates that it can load
    }
    with program("app.py", environment) as made:
        yield made


@pytest.mark.usefixtures("processes")
async def test_an_answer_over_a_model_route_goes_on_in_all_tabs_after_a_kill_of_the_app(
    provider: Program, routed_app: Program, tabs: BrowserContext
) -> None:
    first = await ChatTab.new(tabs, routed_app)
    await first.ask(QUESTION)
    await first.is_writing(BEGINNING)
    routed_app.process.kill()
    await expect(first.page.get_by_role("status")).to_contain_text("Trying again")
    routed_app.start()
    second = await first.second()
    await second.is_writing(BEGINNING)
    provider.go_on()
    assert [await tab.ended("finished") for tab in (first, second)] == [ANSWER] * 2
    await first.page.reload()
    await expect(first.answer).to_have_text(ANSWER, timeout=PATIENCE_MS)
    assert provider.output().count(ASKED) == 1


@pytest.mark.usefixtures("processes")
async def test_a_tab_opened_while_an_answer_waits_for_the_next_process_shows_no_end_of_it(
    routing_gateway: Headgate, provider: Program, routed_app: Program, tabs: BrowserContext
) -> None:
    tab = await ChatTab.new(tabs, routed_app)
    await tab.ask(QUESTION)
    await tab.is_writing(BEGINNING)
    url = tab.page.url
    await tab.page.close()
    routed_app.process.kill()
    async with Runs(f"{routing_gateway.streams}/chat") as runs:
        chats = Chats(runs)

        async def is_orphaned() -> bool:
            state = await chats.state(url.rpartition("/")[2])
            return state is not None and state.status == "orphaned"

        await until(is_orphaned)
    routed_app.start()
    again = ChatTab(await tabs.new_page())
    await again.page.goto(url)
    await again.is_writing(BEGINNING)
    provider.go_on()
    assert await again.ended("finished") == ANSWER
    await expect(again.page.get_by_role("button", name="Ask again")).to_have_count(0)
    assert provider.output().count(ASKED) == 1


@pytest.mark.usefixtures("processes")
async def test_an_answer_over_a_model_route_fails_after_a_kill_of_headgate_and_is_asked_again(
    routing_gateway: Headgate, provider: Program, routed_app: Program, tabs: BrowserContext
) -> None:
    tab = await ChatTab.new(tabs, routed_app)
    await tab.ask(QUESTION)
    await tab.is_writing(BEGINNING)
    routing_gateway.kill()
    routing_gateway.start()
    assert await tab.ended("failed") == BEGINNING
    provider.go_on()
    await tab.page.get_by_role("button", name="Ask again").click()
    await expect(tab.answers).to_have_count(2, timeout=PATIENCE_MS)
    assert await tab.ended("finished") == ANSWER
    assert provider.output().count(ASKED) == 2


async def test_a_stop_over_a_model_route_ends_the_answer_while_the_provider_writes_on(
    routing_gateway: Headgate, provider: Program, routed_app: Program, tabs: BrowserContext
) -> None:
    async def is_complete() -> bool:
        url = f"{routing_gateway.admin_url}/api/v1/runs"
        async with http.get(url, params={"route": "/openai"}) as listed:
            (run,) = (await listed.json())["runs"]
        return bool(run["status"] == "finished")

    tab = await ChatTab.new(tabs, routed_app)
    await tab.ask(QUESTION)
    await tab.is_writing(BEGINNING)
    await tab.stop()
    assert await tab.ended("stopped") == BEGINNING
    provider.go_on()
    async with aiohttp.ClientSession() as http:
        await until(is_complete)
    assert provider.output().count(ASKED) == 1
