"""What pages do while they are open: follow, keep what a person does, and say when they cannot."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import Route, expect
from typing_extensions import override

from headgate_admin.app import build
from headgate_gateway.features.questions.contract import AnswerFailure
from headgate_gateway.features.questions.streams import StreamPage, StreamRow
from tests.admin.browser.filled import CHATS, ROUTE
from tests.admin.browser.serving import Tab, showing
from tests.admin.consoles import Switchboard, setup
from tests.support.admin_server import AdminServer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playwright.async_api import Browser, Request

    from headgate_gateway.features.questions.contract import Answer, Question
    from headgate_gateway.telemetry.metrics import Snapshot
    from tests.admin.browser.filled import Filled

STREAM = f"/streams/one?route={ROUTE}&name=chat/0000"
FIRST = "/streams?by=begins&text=chat/"

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_chart_updates_in_place_when_its_values_change(
    browser: Browser, site: Filled
) -> None:
    """A run goes on meanwhile, and appends."""
    sizes = "(cards) => cards.map((it) => [it.offsetWidth, it.offsetHeight])"
    async with showing(browser, site.console) as tab:
        area = tab.page.locator(".s-stored.area")
        before = await area.get_attribute("d")
        cards = tab.page.locator(".strip > div, .charts > *")
        size = await cards.evaluate_all(sizes)
        span = tab.page.get_by_role("link", name="1 h", exact=True)
        await span.focus()
        await area.evaluate("(area) => (window.before = area)")
        await expect(area).not_to_have_attribute("d", before or "", timeout=15_000)
        assert await area.evaluate("(area) => area === window.before")
        assert await span.evaluate("(link) => link === document.activeElement")
        assert await cards.evaluate_all(sizes) == size


async def test_the_stop_button_of_an_updated_row_keeps_focus_and_stops_its_run(
    browser: Browser, site: Filled
) -> None:
    async with showing(browser, site.console, "/runs") as tab:
        row = tab.page.get_by_role("row").filter(has_text="goes-on")
        items = await row.inner_text()
        stop = row.get_by_role("button", name="Stop")
        await stop.focus()
        await expect(row).not_to_have_text(items, use_inner_text=True)
        assert await stop.evaluate("(button) => button === document.activeElement")
        await stop.press("Enter")
        await tab.page.get_by_text("The run was asked to stop.").wait_for()
        await expect(row).to_contain_text("stopped")


MORPH = """async ([before, after]) => {
  const { morph } = await import("/static/morph.js");
  const box = document.createElement("div");
  document.querySelector("main").append(box);
  box.innerHTML = before;
  for (const it of box.querySelectorAll("input")) it.checked = it.hasAttribute("data-tick");
  const kept = new Map([...box.querySelectorAll("[id]")].map((it) => [it.id, it]));
  box.querySelector("[data-focus]")?.focus();
  morph(box, after);
  const same = [...box.querySelectorAll("[id]")].filter((it) => kept.get(it.id) === it);
  return [
    box.innerHTML.replaceAll("\\n", ""),
    same.map((it) => it.id),
    [...box.querySelectorAll("input:checked")].map((it) => it.closest("[id]").id),
    document.activeElement.closest("[id]")?.id ?? "",
  ];
}"""


def rows(*names: str, ticked: str = "", focus: str = "") -> str:
    return "\n".join(
        f'<p id="row:{name}"><input type="checkbox"{" data-tick" * (name in ticked)}'
        f"{' data-focus' * (name == focus)}>{name}</p>"
        for name in names
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("bcd", "abcd", id="a-row-comes-before"),
        pytest.param("abcd", "acd", id="a-row-goes"),
        pytest.param("abcd", "xcyz", id="most-rows-are-others"),
        pytest.param("abc", "cba", id="another-order"),
        pytest.param("c", "", id="all-rows-go"),
        pytest.param("", "ab", id="the-first-rows-come"),
    ],
)
async def test_a_ticked_row_keeps_its_tick_wherever_it_is_after_an_update(
    browser: Browser, site: Filled, before: str, after: str
) -> None:
    async with showing(browser, site.console, "/gateways") as tab:
        html = rows(*after)
        pair = [f"<h2>Rows</h2>\n{rows(*before, ticked='c')}", f"<h2>New</h2>\n{html}"]
        shown, same, ticked, _ = await tab.page.evaluate(MORPH, pair)
        assert shown == f"<h2>New</h2>{html}".replace("\n", "")
        assert set(same) == {f"row:{it}" for it in set(before) & set(after)}
        assert ticked == ["row:c"] * ("c" in before and "c" in after)


@pytest.mark.parametrize("after", ["abc", "xc", "cd"])
async def test_a_box_with_the_focus_keeps_it_when_other_rows_come_or_go(
    browser: Browser, site: Filled, after: str
) -> None:
    async with showing(browser, site.console, "/gateways") as tab:
        pair = [rows(*"bc", focus="c"), rows(*after)]
        assert (await tab.page.evaluate(MORPH, pair))[3] == "row:c"


async def test_a_chart_shows_the_values_of_a_moment_under_the_pointer_and_by_keys(
    browser: Browser, site: Filled
) -> None:
    name = "Live readers, by transport"
    async with showing(browser, site.console) as tab:
        chart = tab.page.get_by_role("group", name=name)
        tip = tab.page.locator(".tip")
        await chart.locator(".plot").hover(position={"x": 0, "y": 80})
        first = (await tip.inner_text()).split()
        assert (first[1], first[2], first[4]) == ("UTC", "SSE", "long-poll")
        await tab.page.mouse.move(0, 0)
        assert not await tip.is_visible()
        await chart.focus()
        moments = []
        for key in ("End", "ArrowLeft", "Home"):
            await chart.press(key)
            moments.append((await tip.inner_text())[:8])
        spoken = await tab.page.locator(".spoken").inner_text()
        assert spoken.startswith(f"{name}, {moments[-1]} UTC, SSE ")
        assert moments == sorted(moments, reverse=True)
        await chart.press("Escape")
        assert not await tip.is_visible()


async def test_badge_title_and_icon_of_the_tab_follow_what_an_operator_mutes(
    browser: Browser, site: Filled
) -> None:
    async with showing(browser, site.console, "/routes") as tab:
        icon, badge = tab.page.locator("link[rel=icon]"), tab.page.locator(".badge")
        await expect(tab.page).to_have_title(re.compile(r"^\d ✕ Routes · Headgate$"))
        await expect(icon).to_have_attribute("href", "/static/headgate-bad.svg")
        async with showing(browser, site.console) as other:
            for name in "Mute", "Unmute":
                buttons = other.page.get_by_role("button", name=name, exact=True)
                while count := await buttons.count():
                    async with other.page.expect_navigation():
                        await buttons.first.click()
                    await expect(buttons).to_have_count(count - 1)
                if name == "Unmute":
                    break
                await expect(badge).to_have_count(0)
                await expect(tab.page).to_have_title("Routes · Headgate")
                await expect(icon).to_have_attribute("href", "/static/headgate.svg")
        await expect(badge).to_have_count(1)


async def test_a_page_without_updates_shows_that_it_is_not_live(browser: Browser) -> None:
    server = AdminServer(build(Switchboard(), setup()))
    await server.start_server()
    tab = await Tab.open(browser, str(server.make_url("/")).rstrip("/"))
    notice = tab.page.locator(".stale")
    assert not await notice.is_visible()
    await server.close()
    await notice.get_by_text("Not live since").wait_for()
    await tab.context.close()


async def test_a_page_shows_an_unreachable_log_and_recovers_by_itself(browser: Browser) -> None:
    away = [True]

    def answers(_question: Question) -> Sequence[Answer]:
        if away:
            return [AnswerFailure(503, "the log cannot be reached")]
        return [StreamPage((StreamRow(name="chat/0000"),))]

    source = Switchboard(answers=answers)
    async with (
        AdminServer(build(source, setup())) as server,
        showing(browser, str(server.make_url("/")), "/streams") as tab,
    ):
        await tab.page.get_by_text("The log cannot be reached.").wait_for()
        away.clear()
        await tab.page.get_by_role("link", name="chat/0000").wait_for()


async def test_a_hidden_page_closes_its_event_stream_and_reopens_it_when_visible(
    browser: Browser, site: Filled
) -> None:
    hide = """(hidden) => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    async with showing(browser, site.console) as tab:
        async with tab.page.expect_event("requestfailed"):
            await tab.page.evaluate(hide, arg=True)
        async with tab.page.expect_request("**/"):
            await tab.page.evaluate(hide, arg=False)


async def test_streams_are_filtered_while_a_name_is_typed(browser: Browser, site: Filled) -> None:
    async with showing(browser, site.console, "/streams") as tab:
        await tab.page.keyboard.press("/")
        await tab.page.keyboard.type("chat/000")
        rows = tab.page.locator(".streams tbody tr")
        await expect(rows).to_have_count(10)
        assert "text=chat%2F000" in tab.page.url
        await tab.page.keyboard.type("7")
        await expect(rows).to_have_count(1)
        assert await tab.page.get_by_label("Text of the names").input_value() == "chat/0007"
        await tab.page.keyboard.type("<b>")
        await tab.page.get_by_role("heading", name="No names begin with chat/0007<b>").wait_for()
        assert await rows.count() == 0


async def test_the_stream_list_is_paged_by_links_and_sorted_by_headers(
    browser: Browser, site: Filled
) -> None:
    async with showing(browser, site.console, FIRST) as tab:
        rows = tab.page.locator(".streams tbody tr")
        for number in (50, 50, CHATS - 100):
            await expect(rows).to_have_count(number)
            if number == 50:
                await tab.page.get_by_role("link", name="Next page").click()
        await tab.page.locator("main").get_by_role("link", name="Readers").click()
        await expect(tab.page.locator("[aria-sort=descending]")).to_have_text("Readers ↓")


async def test_following_the_tail_does_not_wait_for_an_earlier_read(
    browser: Browser, site: Filled
) -> None:
    async with showing(browser, site.console, STREAM) as tab:
        await tab.page.get_by_text("following").wait_for()
        held: list[Route] = []
        await tab.page.route("**/api/v1/stream/messages?*offset=-1*", lambda it: held.append(it))
        await tab.page.get_by_role("link", name="Beginning").click()
        await tab.page.get_by_role("button", name="Follow").click()
        await tab.page.get_by_text(", following").wait_for()
        assert held
        await held[0].continue_()


async def test_a_refused_offset_is_shown_once_and_not_read_again(
    browser: Browser, site: Filled
) -> None:
    async with showing(browser, site.console) as tab:
        reads: list[Request] = []
        tab.page.on("request", lambda it: reads.append(it) if "/messages?" in it.url else None)
        await tab.goto(f"{STREAM}&offset=abc")
        await expect(tab.page.locator(".controls .status")).to_contain_text("offset")
        await tab.page.wait_for_timeout(2500)  # other failed reads are repeated after 2 s
        assert len(reads) == 1
        # Chromium notes each answer of an error as one.
        tab.wrong = [it for it in tab.wrong if "400 (Bad Request)" not in it]


async def test_a_refused_tail_shows_the_refusal_and_retries(browser: Browser, site: Filled) -> None:
    async with showing(browser, site.console) as tab:
        refused: list[Route] = []

        async def refuse_once(route: Route) -> None:
            if refused:
                return await route.continue_()
            refused.append(route)
            return await route.fulfill(status=503, json={"detail": "too many follow"})

        await tab.page.route("**/api/v1/stream/events?*", refuse_once)
        await tab.goto(STREAM)
        await tab.page.get_by_text("refuses to be followed. Trying again in 2 s.").wait_for()
        await tab.page.get_by_text(", following").wait_for()
        # Chromium notes each answer of an error as one.
        tab.wrong = [it for it in tab.wrong if "503 (Service Unavailable)" not in it]


class Unmeasured(Switchboard):
    """A gateway whose processes do not answer."""

    @override
    async def measure(self) -> Snapshot:
        raise TimeoutError


async def test_figures_without_measurements_show_a_dash_and_the_reason(browser: Browser) -> None:
    async with (
        AdminServer(build(Unmeasured(), setup())) as server,
        showing(browser, str(server.make_url("/"))) as tab,
    ):
        assert await tab.page.locator(".figure").all_inner_texts() == ["–"] * 8
        assert await tab.page.locator(".why").count() == 6


async def test_the_cursor_shows_the_same_moment_in_all_charts(
    browser: Browser, site: Filled
) -> None:
    async with showing(browser, site.console) as tab:
        total = tab.page.locator(".legend .s-stored b")
        newest = await total.inner_text()
        chart = tab.page.get_by_role("group", name="Time of requests and deliveries, p99")
        await chart.locator(".plot").hover(position={"x": 2, "y": 80})
        rules = tab.page.locator(".rule")
        await expect(rules).to_have_count(6)
        assert await total.inner_text() != newest
        places = await rules.evaluate_all(
            """(rules) => rules.map((rule, at) => {
              const plot = document.querySelectorAll(".plot")[at].getBoundingClientRect();
              return Math.round(100 * (rule.getBoundingClientRect().left - plot.left) / plot.width);
            })"""
        )
        assert max(places) - min(places) <= 1  # of rounding
        await tab.page.mouse.move(0, 0)
        await expect(rules).to_have_count(0)
        assert await total.inner_text() == newest


async def test_readers_come_by_themselves_but_not_under_a_pointer_on_a_button(
    browser: Browser, site: Filled
) -> None:
    path = "/clients?by=each&order=since&text=calm"
    await site.send("PUT", "calm")
    async with (
        showing(browser, site.console, path) as tab,
        showing(browser, site.console, path) as other,
        asyncio.TaskGroup() as readers,
    ):
        following = []
        rows, others = (it.page.locator(".readers tbody tr") for it in (tab, other))
        await expect(tab.page.get_by_text("No reader fits")).to_be_visible()
        for count in 1, 2, 3:
            following.append(readers.create_task(site.follow("calm")))
            await expect(others).to_have_count(count)
            await expect(rows).to_have_count(1)
            await rows.get_by_role("button", name="Disconnect").hover()
        await tab.page.get_by_role("heading", name="Clients").hover()
        await expect(rows).to_have_count(3)
        await expect(tab.page.get_by_text(re.compile("^3 readers: 3 SSE"))).to_be_visible()
        for one in following:
            one.cancel()
