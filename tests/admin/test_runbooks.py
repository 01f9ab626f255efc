"""The page that alerts link to, which says what to do when one fires."""

from __future__ import annotations

import re

import pytest

from headgate_admin.pages import prose
from headgate_gateway.monitoring.alerts import alerts
from tests.admin.consoles import console
from tests.monitoring.configurations import EVERYTHING, WORKERS
from tests.test_docs import document


async def test_the_runbook_page_is_open_to_everybody_and_has_a_section_per_alert() -> None:
    async with console() as client:
        page = await client.page("/alerts", token="")
        assert await client.page("/alerts") == page
        other = await client.send("GET", "/", token="", accept="text/html")
    assert other[0] == 303, "to sign in"
    declared = {it.name.lower() for all_ in (EVERYTHING, WORKERS) for it in alerts(all_)}
    assert set(re.findall(r'<section class="card prose" id="(\w+)"', page)) == declared
    assert page.count("<strong>What to do</strong>") == len(declared)
    assert "instance" not in page


def test_the_console_shows_the_runbooks_of_the_documentation() -> None:
    assert prose.SOURCE.read_text() == document("alerts.md")


def test_the_runbooks_use_only_markup_that_the_console_renders() -> None:
    text = document("alerts.md")
    assert re.findall(r"\]\((?!https?://)", text) == []
    assert re.findall(r"^(?:#{3}|```|\|)", text, re.MULTILINE) == []


@pytest.mark.usefixtures("processes")
async def test_the_page_of_events_shows_each_rule_with_its_state_and_runbook() -> None:
    async with console() as client:
        page = await client.page("/events?show=alerts")
        _, shown = await client.api("GET", "alerts")
    assert '<div class="prose" id="headgaterequestsrefused">' in page
    states = {rule["name"]: rule["state"] for rule in shown["rules"]}
    assert (states["HeadgateRequestsRefused"], states["HeadgateDown"]) == ("quiet", "prometheus")
