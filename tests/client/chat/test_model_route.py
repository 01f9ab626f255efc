"""Answers of the example go on after a kill of its app when the model is behind a model route."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from tests.client.chat.example import FOLDER, PATIENCE_MS, ChatTab, program, told
from tests.support.processes import Headgate

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
