"""What pages do while they are open: follow, keep what a person does, and say when they cannot."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from admin import events
from admin.alerting.findings import IncidentFinding
from admin.errors import ConsoleError
from admin.model.overview import Mute
from admin.model.streams import MessagePlace, Messages, OfMessages, ShownMessage
from tests.admin.browser.made_up import NOW, MadeUp
from tests.admin.browser.serving import Tab, application, showing
from tests.support.admin_server import AdminServer
from tests.support.waiting import until

if TYPE_CHECKING:
    from playwright.async_api import Browser


STREAM = "/streams/one?route=/v1/stream&name=chat/0000"
PAGE = 200  # messages that the page's script asks for at once

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_chart_updates_in_place_when_its_values_change(browser: Browser) -> None:
    console = MadeUp()
    async with showing(browser, console) as tab:
        area = tab.page.locator(".s-hit.area")
        before = await area.get_attribute("d")
        span = tab.page.get_by_role("link", name="1 h", exact=True)
        await span.focus()
        await area.evaluate("(area) => (window.before = area)")
        console.load = 30.0
        await expect(area).not_to_have_attribute("d", before or "")
        await expect(tab.page.locator(".s-hit b").first).to_have_text("193k")
        assert await area.evaluate("(area) => area === window.before")
        assert await span.evaluate("(link) => link === document.activeElement")


async def test_the_stop_button_of_an_updated_row_keeps_focus_and_stops_its_run(
    browser: Browser,
) -> None:
    console = MadeUp()
    async with showing(browser, console, "/runs") as tab:
        row = tab.page.get_by_role("row").nth(1)
        stop = row.get_by_role("button", name="Stop")
        await stop.focus()
        console.load = 30.0
        await expect(row).to_contain_text("1.84k/s")
        assert await stop.evaluate("(button) => button === document.activeElement")
        await stop.press("Enter")
        await tab.page.get_by_text("The run was asked to stop.").wait_for()
        assert console.done == [("stop", "chat/00000000-5d1c-4e7e-9d5a-0c7a4c1f0000")]


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
    browser: Browser, before: str, after: str
) -> None:
    async with showing(browser, MadeUp(), "/gateways") as tab:
        html = rows(*after)
        pair = [f"<h2>Rows</h2>\n{rows(*before, ticked='c')}", f"<h2>New</h2>\n{html}"]
        shown, same, ticked, _ = await tab.page.evaluate(MORPH, pair)
        assert shown == f"<h2>New</h2>{html}".replace("\n", "")
        assert set(same) == {f"row:{it}" for it in set(before) & set(after)}
        assert ticked == ["row:c"] * ("c" in before and "c" in after)


@pytest.mark.parametrize("after", ["abc", "xc", "cd"])
async def test_a_box_with_the_focus_keeps_it_when_other_rows_come_or_go(
    browser: Browser, after: str
) -> None:
    async with showing(browser, MadeUp(), "/gateways") as tab:
        pair = [rows(*"bc", focus="c"), rows(*after)]
        assert (await tab.page.evaluate(MORPH, pair))[3] == "row:c"


async def test_a_card_keeps_its_size_when_its_numbers_change(browser: Browser) -> None:
    console = MadeUp()
    sizes = "(cards) => cards.map((it) => JSON.stringify(it.getBoundingClientRect()))"
    async with showing(browser, console) as tab:
        cards = tab.page.locator(".card")
        before = await cards.evaluate_all(sizes)
        console.load = 1 / 3000
        await expect(tab.page.locator(".s-hit b").first).to_have_text("2.15")
        assert await cards.evaluate_all(sizes) == before


async def test_a_chart_shows_the_values_of_a_moment_under_the_pointer_and_by_keys(
    browser: Browser,
) -> None:
    async with showing(browser, MadeUp()) as tab:
        chart = tab.page.get_by_role("group", name="Live readers, by transport")
        tip = tab.page.locator(".tip")
        await chart.locator(".plot").hover(position={"x": 0, "y": 80})
        told = (await tip.inner_text()).split()
        assert told[:2] == ["11:50:15", "UTC"]
        assert (told[2], told[4]) == ("SSE", "long-poll")
        await tab.page.mouse.move(0, 0)
        assert not await tip.is_visible()
        await chart.focus()
        for key, moment in (("ArrowLeft", "12:05:10"), ("ArrowLeft", "12:05:05")):
            await chart.press(key)
            assert (await tip.inner_text()).startswith(moment)
        spoken = await tab.page.locator(".spoken").inner_text()
        assert spoken.startswith(f"Live readers, by transport, {moment} UTC, SSE ")
        await chart.press("Home")
        assert (await tip.inner_text()).startswith("11:50:15")
        await chart.press("End")
        assert (await tip.inner_text()).startswith("12:05:10")
        await tab.page.get_by_role("group", name="Served from the cache").focus()
        for _ in range(15):  # to the moment, 70 s ago, of an event
            await tab.page.keyboard.press("ArrowLeft")
        assert (await tip.inner_text()).endswith("worker 2 ended: killed by SIGKILL")
        await chart.press("Escape")
        assert not await tip.is_visible()


async def test_badge_title_and_icon_of_the_tab_follow_the_state(browser: Browser) -> None:
    console = MadeUp()
    async with showing(browser, console, "/routes") as tab:
        icon = tab.page.locator("link[rel=icon]")
        await expect(tab.page).to_have_title("1 ▲ Routes · Headgate")
        console.incidents = 0
        await expect(tab.page).to_have_title("Routes · Headgate")
        await expect(icon).to_have_attribute("href", "/static/headgate.svg")
        console.incidents = 3
        await expect(tab.page).to_have_title("3 ▲ Routes · Headgate")
        await expect(icon).to_have_attribute("href", "/static/headgate-warning.svg")
        await expect(tab.page.locator(".badge")).to_contain_text("3")


async def test_a_letter_opens_no_page_without_g_just_after_a_page_was_loaded(
    browser: Browser,
) -> None:
    async with showing(browser, MadeUp()) as tab:
        await tab.page.keyboard.press("g")
        await tab.page.keyboard.press("a")
        await tab.page.wait_for_url("**/caches")


async def test_an_operator_mutes_an_incident_on_the_first_page(browser: Browser) -> None:
    console = MadeUp()
    incidents = console.recorder.incidents
    key, reason = ("check", "origin /v1/chat"), "https://origin.example.com answers 503"
    incidents.update(NOW, [IncidentFinding(key, "warning", "", reason, "/v1/chat")])
    async with showing(browser, console) as tab, tab.page.expect_navigation():
        await tab.page.get_by_role("button", name="Mute for 30 min").click()
    assert [it.mute for it in incidents.attention] == [Mute("everybody", NOW + 1800)]


async def test_a_page_without_updates_shows_that_it_is_not_live(browser: Browser) -> None:
    server = AdminServer(application(MadeUp()))
    await server.start_server()
    tab = await Tab.open(browser, str(server.make_url("/")).rstrip("/"))
    notice = tab.page.locator(".stale")
    assert not await notice.is_visible()
    await server.close()
    await notice.get_by_text("Not live since").wait_for()
    await tab.context.close()


@pytest.mark.usefixtures("processes")
async def test_a_page_shows_an_unreachable_log_and_recovers_by_itself(browser: Browser) -> None:
    console = MadeUp()
    console.trouble = ConsoleError(503, "the log cannot be reached")
    async with showing(browser, console, "/streams") as tab:
        await tab.page.get_by_text("The log cannot be reached.").wait_for()
        console.trouble = None
        await tab.page.get_by_role("link", name="chat/0000").wait_for()


async def test_a_hidden_page_closes_its_event_stream_and_reopens_it_when_visible(
    browser: Browser,
) -> None:
    hide = """(hidden) => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    async with showing(browser, MadeUp()) as tab:
        async with tab.page.expect_event("requestfailed"):
            await tab.page.evaluate(hide, arg=True)
        async with tab.page.expect_request("**/"):
            await tab.page.evaluate(hide, arg=False)


async def test_streams_are_filtered_while_a_name_is_typed(browser: Browser) -> None:
    async with showing(browser, MadeUp(), "/streams") as tab:
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


async def test_the_stream_list_is_paged_by_links_and_sorted_by_headers(browser: Browser) -> None:
    async with showing(browser, MadeUp(), "/streams") as tab:
        rows = tab.page.locator(".streams tbody tr")
        for number in (50, 50, 44):
            await expect(rows).to_have_count(number)
            if number == 50:
                await tab.page.get_by_role("link", name="Next page").click()
        await tab.page.locator("main").get_by_role("link", name="Readers").click()
        await expect(tab.page.locator("[aria-sort=descending]")).to_have_text("Readers ↓")


class Endless(MadeUp):
    """Streams without an end, by 2,000 messages a read; their latest message is told alone."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def messages(self, query: OfMessages) -> Messages:
        place = query.place
        if place.offset == "latest":
            last = (ShownMessage(1, "9", None),)
            return Messages("application/json", place, last, None, "9")
        if query.limit == PAGE:  # the page itself is made with fewer
            self.reads += 1
            await self.answers.wait()
        told = tuple(ShownMessage(1, str(place.skip + n), None) for n in range(2_000))
        return Messages(
            "application/json", place, told, MessagePlace("-1", place.skip + 2_000), None
        )


async def test_messages_are_read_only_as_far_as_the_user_scrolls(browser: Browser) -> None:
    console = Endless()
    async with showing(browser, console, f"{STREAM}&offset=-1") as tab:
        rows = tab.page.get_by_role("listbox").get_by_role("option")
        messages = tab.page.get_by_role("listbox")
        for number in range(1, 6):
            await tab.page.get_by_text(f"{number * 2},000 messages, more to read").wait_for()
            await messages.press("End")
        await until(lambda: console.reads == 6)
        await messages.press("Home")
        await expect(rows.first).to_have_id("message-2000")  # the oldest were let go
        assert console.reads == 6
        await tab.page.get_by_role("button", name="Follow").click()
        await tab.page.get_by_text("1 message, following").wait_for()
        await expect(rows).to_have_id("message-0")


async def test_following_the_tail_does_not_wait_for_an_earlier_read(
    browser: Browser,
) -> None:
    console = Endless()
    console.answers.clear()
    async with showing(browser, console, f"{STREAM}&offset=-1") as tab:
        await until(lambda: console.reads == 1)
        await tab.page.get_by_role("button", name="Follow").click()
        await tab.page.get_by_text("1 message, following").wait_for()
        console.answers.set()


async def test_a_refused_tail_shows_the_refusal_and_retries(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MOST_LISTENERS", 0)
    async with showing(browser, Endless(), STREAM) as tab:
        await tab.page.get_by_text("refuses to be followed. Trying again in 2 s.").wait_for()
        monkeypatch.undo()
        await tab.page.get_by_text("1 message, following").wait_for()
        # Chromium notes each answer of an error as one.
        tab.wrong = [it for it in tab.wrong if "503 (Service Unavailable)" not in it]


async def test_figures_without_measurements_show_a_dash_and_the_reason(browser: Browser) -> None:
    console = MadeUp()
    console.measured = False
    async with showing(browser, console) as tab:
        assert await tab.page.locator(".figure").all_inner_texts() == ["–"] * 8
        assert await tab.page.locator(".why").count() == 7


async def test_the_cursor_shows_the_same_moment_in_all_charts(browser: Browser) -> None:
    async with showing(browser, MadeUp()) as tab:
        total = tab.page.locator(".legend .s-hit b")
        newest = await total.inner_text()
        chart = tab.page.get_by_role("group", name="Live readers, by transport")
        await chart.locator(".plot").hover(position={"x": 60, "y": 80})
        rules = tab.page.locator(".rule")
        await expect(rules).to_have_count(7)
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
