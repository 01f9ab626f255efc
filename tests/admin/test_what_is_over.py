"""What is over is told as over: on the first page, in the events, and by the alert rules."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import pytest

from headgate_admin.alerting.active_alerts import ActiveAlerts
from headgate_admin.alerting.findings import findings
from headgate_admin.pages.views.events import FILTERS
from headgate_gateway.background import at_once
from headgate_gateway.features.questions.process_source import Health
from headgate_gateway.monitoring.alerts import alerts
from headgate_gateway.settings import Settings
from headgate_gateway.telemetry.health import PAST, SENTENCES, Cause, HealthNote
from headgate_gateway.telemetry.metrics import Sample, counter, gauge
from tests.admin.consoles import ADMITTED, Clock, Switchboard, console, setup
from tests.admin.drills import PRESENT
from tests.monitoring.configurations import EVERYTHING, WORKERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate_gateway.monitoring.rules import Alert
    from tests.admin.consoles import Client


async def shown(client: Client, region: str) -> str:
    """Return the words of a region of the first page in one line."""
    page = await client.page("/")
    found = re.search(rf'data-live="{region}">(.*?)</(?:ul|p)>', page, re.DOTALL)
    assert found is not None
    words = html.unescape(re.sub("</?(?:span|a|time)[^>]*>", "", found[1]))
    return " ".join(re.sub("<[^>]+>", " ", words).split())


async def test_what_has_ended_is_one_line_in_the_past_tense_on_the_first_page() -> None:
    clock, source = Clock(), Switchboard()
    async with console(source, setup(clock, admin_tokens=ADMITTED)) as client:
        for number in range(5):
            source.notes = {f"purge varnish {number}": "it answers 500"}
            await client.look()
            clock.now += 65
        source.notes = {}
        source.state = {"log /v1/stream": "timed out"}
        await client.look()
        clock.now += 5.04
        lasting = await shown(client, "attention")
        source.state = {}
        await client.look()
        words = await shown(client, "attention")
        _, overview = await client.api("GET", "overview")
    assert "Since 08:05:25 (5 s)" in lasting
    assert words == (
        "✓ nothing needs attention Over: ✕ Log /v1/stream was not well (08:05:25, 5 s)"
        " · ✕ Purge varnish 4 was not well (08:04:20, 65 s)"
        " · ✕ Purge varnish 3 was not well (08:03:15, 65 s) · 3 more"
    )
    assert len(overview["ended"]) == 6


async def test_cards_lead_to_events_by_filters_that_the_page_of_events_has() -> None:
    source = Switchboard({"log /v1/stream": "timed out"})
    async with console(source, setup(Clock(), admin_tokens=ADMITTED)) as client:
        source.notes = {f"purge varnish {number}": "it answers 500" for number in range(5)}
        await client.look()
        source.notes = {}
        await client.look()
        page = await client.page("/")
    links = [urlsplit(html.unescape(it)) for it in re.findall('href="(/events[?][^"]*)"', page)]
    filters = [dict(parse_qsl(it.query)) for it in links]
    assert {"route": "/v1/stream"} in filters
    assert {"kind": "attention"} in filters
    assert all(it.keys() <= {*FILTERS, "show"} for it in filters)


@pytest.mark.parametrize("code", sorted({*SENTENCES, *PAST}))
def test_each_cause_has_a_sentence_for_its_end(code: str) -> None:
    note = HealthNote("worker", "2", Cause(code, {"reason": "was killed"}))
    assert "{" not in note.past
    assert PRESENT.search(note.past) is None
    assert note.past != "worker 2 was not well"


@pytest.mark.parametrize("rule", {*alerts(EVERYTHING), *alerts(WORKERS)}, ids=lambda it: it.name)
def test_no_alert_that_is_over_speaks_in_the_present_tense(rule: Alert) -> None:
    summary = rule.past or rule.summary
    assert PRESENT.search(re.sub(r"\{\{.*?\}\}", "", summary)) is None, summary


REQUESTS = counter("headgate_requests_total", "", "route", "operation", "status")
LOOK_S = 5


@pytest.mark.parametrize(
    ("outage_s", "share", "shown"),
    [
        pytest.param(10, 1.0, None, id="over-before-it-could-be-shown"),
        pytest.param(60, 1.0, (20, 85), id="all"),
        pytest.param(90, 0.1, (20, 100), id="a-tenth"),
        pytest.param(600, 0.1, (20, 595), id="goes-on"),
    ],
)
def test_a_window_that_an_outage_has_filled_is_no_new_warning_and_ends_the_old_one(
    outage_s: int, share: float, shown: tuple[int, int] | None
) -> None:
    alerts, settings = ActiveAlerts(Settings(storage="memory:")), Settings(storage="memory:")
    looks = []
    for now in range(0, 600, LOOK_S):  # ten requests a second
        failed = 10 * min(now, outage_s) * share
        numbers = {"2xx": 10 * now - failed, "5xx": failed}
        samples = [
            Sample(REQUESTS, ("/v1/stream", "read", status), number)
            for status, number in numbers.items()
        ]
        at_once(alerts.look(float(now), samples))
        found = [it.alert for it in findings(Health(), [], alerts, settings, {})]
        looks += [now] * ("HeadgateServerErrors" in found)
    assert ((looks[0], looks[-1]) if looks else None) == shown


REFUSALS = counter("headgate_refusals_total", "", "limit")
FILES = gauge("process_open_fds", "")
MOST_FILES = gauge("process_max_fds", "")


def looks_that_show(alerts: ActiveAlerts, samples: Callable[[int], list[Sample]]) -> list[int]:
    """Return the moments of ten minutes at whose looks an alert is shown."""
    looks = []
    for now in range(0, 600, LOOK_S):
        at_once(alerts.look(float(now), samples(now)))
        looks += [now] * any(it.is_shown for it in alerts.active)
    return looks


@pytest.mark.parametrize("every_s", [5, 12, 18])
def test_a_card_on_refusals_near_its_bound_does_not_come_and_go(every_s: int) -> None:
    def samples(now: int) -> list[Sample]:
        return [Sample(REFUSALS, ("max_client_appends",), min(now, 480) // every_s)]

    shown = looks_that_show(ActiveAlerts(Settings(storage="memory:")), samples)
    assert shown == [*range(shown[0], shown[-1] + 1, LOOK_S)]
    last = 480 // every_s * every_s
    assert shown[-1] in range(last + 20, last + 35)  # half a minute after the last refusal


def test_a_rule_of_five_minutes_is_shown_within_one() -> None:
    def samples(now: int) -> list[Sample]:
        return [Sample(FILES, (), 90 if now else 1), Sample(MOST_FILES, (), 100)]

    shown = looks_that_show(ActiveAlerts(Settings(storage="memory:")), samples)
    assert (shown[0], shown[-1]) == (45, 595)


async def test_the_first_page_says_who_scrapes_and_which_rules_nobody_watches() -> None:
    clock = Clock()
    async with console(Switchboard(), setup(clock, admin_tokens=ADMITTED)) as client:
        await client.look()
        nobody = await shown(client, "watched")
        assert (await client.send("GET", "/metrics"))[0] == 200
        lines = []
        for later in (8, 291, 1):
            clock.now += later
            await client.look()
            lines.append(await shown(client, "watched"))
    assert nobody.startswith("scraped by nobody, so nobody watches HeadgateDown")
    assert lines == ["scraped by Python 8 s ago", "scraped by Python 5 min ago", nobody]
