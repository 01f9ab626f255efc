"""The page that alerts link to, which says what to do when one fires."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient

from admin.app import build
from admin.pages import prose
from gateway.monitoring.alerts import alerts
from gateway.settings import AdminToken
from tests.admin.consoles import Switchboard, setup
from tests.monitoring.configurations import EVERYTHING, WORKERS
from tests.support.admin_server import AdminServer
from tests.test_docs import document

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAGE = {"Accept": "text/html"}
TOKEN = "t" * 32


@pytest.fixture
async def guarded() -> AsyncIterator[TestClient[Any, Any]]:
    """Return a console that nobody may look at without a token."""
    token = AdminToken.of({"name": "ann", "role": "viewer", "token": TOKEN})
    app = build(Switchboard(), setup(admin_tokens=(token,)))
    async with TestClient(AdminServer(app)) as client:
        yield client


async def test_the_runbook_page_has_a_section_per_alert_without_signing_in(
    guarded: TestClient[Any, Any],
) -> None:
    answer = await guarded.get("/alerts", headers=PAGE)
    page = await answer.text()
    assert answer.status == 200
    declared = {it.name.lower() for all_ in (EVERYTHING, WORKERS) for it in alerts(all_)}
    assert set(re.findall(r'<section class="card prose" id="(\w+)"', page)) == declared
    assert page.count("<strong>What to do</strong>") == len(declared)


async def test_the_runbook_page_shows_nothing_of_the_gateway_without_signing_in(
    guarded: TestClient[Any, Any],
) -> None:
    for_anybody = await (await guarded.get("/alerts", headers=PAGE)).text()
    authorization = {"Authorization": f"Bearer {TOKEN}"}
    for_a_viewer = await (await guarded.get("/alerts", headers={**PAGE, **authorization})).text()
    assert "instance" not in for_anybody
    assert for_a_viewer == for_anybody


async def test_pages_other_than_the_runbooks_still_redirect_to_sign_in(
    guarded: TestClient[Any, Any],
) -> None:
    answer = await guarded.get("/", headers=PAGE, allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/sign-in?next=/")


def test_the_console_shows_the_runbooks_of_the_documentation() -> None:
    assert prose.SOURCE.read_text() == document("alerts.md")


def test_the_runbooks_use_only_markup_that_the_console_renders() -> None:
    text = document("alerts.md")
    assert re.findall(r"\]\((?!https?://)", text) == []
    assert re.findall(r"^(?:#{3}|```|\|)", text, re.MULTILINE) == []


@pytest.mark.usefixtures("processes")
async def test_the_page_of_events_shows_each_rule_with_its_state_and_runbook(
    guarded: TestClient[Any, Any],
) -> None:
    authorization = {"Authorization": f"Bearer {TOKEN}"}
    page = await guarded.get("/events?show=alerts", headers={**PAGE, **authorization})
    assert '<div class="prose" id="headgaterequestsrefused">' in await page.text()
    shown = await (await guarded.get("/api/v1/alerts", headers=authorization)).json()
    states = {rule["name"]: rule["state"] for rule in shown["rules"]}
    assert (states["HeadgateRequestsRefused"], states["HeadgateDown"]) == ("quiet", "prometheus")
