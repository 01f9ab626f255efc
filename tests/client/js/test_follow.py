"""Pages that follow streams and runs with the npm package, in tabs and through cuts."""

from __future__ import annotations

import asyncio
import contextlib
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import pytest_asyncio

from headgate.streams.client import Client
from tests.client.js.site import Tab, following
from tests.client.printed_urls import PRINTED
from tests.clients.pages import examples
from tests.support.origin_servers import reference
from tests.support.ports import free_port
from tests.support.processes import Headgate
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import BrowserContext

    from headgate import Stream
    from tests.client.js.site import Site

TABS = 7  # by HTTP/1.1 a browser has six connections to a host
FINISHED = [{"status": "finished", "error": None}]
STORY = "/runs/story"
START = "0000000000000000_0000000000000000"
NOTHING = f"http://127.0.0.1:{free_port()}/v1/stream/chat"

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def stream(server: Headgate) -> AsyncIterator[Stream]:
    """A stream of JSON."""
    async with Client(server.streams) as hg:
        yield await hg.create(uuid.uuid4().hex, json=True)


KINDS: dict[str, tuple[dict[str, Any], list[Any], list[Any]]] = {
    "json": ({"json": True}, [{"a": 1}, [2], None], [{"a": 1}, [2], None]),
    "text": ({}, ["Once ☕", " upon\n a time"], ["Once ☕", " upon\n a time"]),
    "bytes": ({"content_type": "application/octet-stream"}, [b"\x00\xff"], [[0, 255]]),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_two_tabs_get_decoded_messages_until_the_stream_is_closed_though_one_freezes(
    server: Headgate, site: Site, tabs: BrowserContext, kind: str
) -> None:
    options, appended, shown = KINDS[kind]
    async with Client(server.streams) as hg:
        stream = await hg.create(uuid.uuid4().hex, **options)
        opened = [await Tab.open(tabs, site, following(stream.url)) for _ in range(2)]
        for number, message in enumerate(appended, 1):
            await stream.append(message)
            await opened[1].has(shown[:number])
            await opened[0].set_state("frozen")  # the one that connected first
        await stream.close()
        await opened[0].set_state("active")
        for tab in opened:
            await tab.has(["closed"], "ends")
            await tab.has(shown)


async def test_seven_tabs_follow_by_one_connection_though_its_tab_closes_or_hangs(
    site: Site, tabs: BrowserContext
) -> None:
    feed, words = await site.start("story"), list[str]()
    opened: list[Tab] = []

    async def goes_on(word: str) -> None:
        words.append(word)
        feed.give(word)
        await asyncio.gather(*(tab.has(words) for tab in opened))

    for number in range(TABS):  # each comes later than the one before
        opened.append(await Tab.open(tabs, site, following(STORY)))
        await goes_on(f"word {number}")
    await until(lambda: site.connections == 1)
    status = "async () => (await fetch('/state/none')).status"
    assert await asyncio.gather(*(tab.page.evaluate(status) for tab in opened)) == [200] * TABS

    await opened.pop(0).page.close()
    await goes_on("closed")
    await (frozen := opened.pop(0)).set_state("frozen")
    await goes_on("frozen")
    await opened.pop(0).crash()
    await goes_on("killed")
    await (hanging := opened.pop(0)).hang()
    await goes_on("silent")

    await frozen.set_state("active")
    site.answers.set()
    opened += [frozen, hanging]
    await goes_on("all are back")
    feed.end()
    for tab in opened:
        await tab.has(FINISHED, "ends")
        assert await tab.page.evaluate("[items, refusals]") == [words, []]
    await until(lambda: site.connections == 0)


async def test_tabs_without_broadcast_channel_or_locks_use_a_connection_each(
    site: Site, tabs: BrowserContext
) -> None:
    await site.start("story", "once")
    for number, missing in enumerate(("window.BroadcastChannel", "Navigator.prototype.locks"), 1):
        tab = await Tab.open(tabs, site, following(STORY), before=f"delete {missing}")
        await tab.has(["once"])
        assert site.connections == number


async def test_a_reloaded_tab_with_remember_reads_only_items_after_its_last_one(
    site: Site, tabs: BrowserContext
) -> None:
    feed = await site.start("story", "one", "two")
    tab = await Tab.open(tabs, site, following(STORY, remember=True))
    await tab.has(["one", "two"])
    await tab.page.reload()
    feed.give("three")
    await tab.has(["three"])
    feed.end()
    await tab.has(FINISHED, "ends")
    asked = site.requests
    await tab.page.reload()  # of what has ended, nothing is asked any more
    await tab.has(FINISHED, "ends")
    await tab.has([])
    assert site.requests == asked


async def test_a_page_begins_where_it_says_and_goes_on_where_it_was_when_loaded_anew(
    stream: Stream, site: Site, tabs: BrowserContext
) -> None:
    offset = await stream.append(1)
    await stream.append(2)
    script = following(stream.url, **{"from": offset, "remember": True})
    tab = await Tab.open(tabs, site, script)
    await tab.has([2])
    await tab.page.reload()
    await stream.append(3)
    await tab.has([3])


async def test_each_message_of_each_batch_has_an_offset_at_which_a_page_continues_after_it(
    stream: Stream, site: Site, tabs: BrowserContext
) -> None:
    await stream.append_many(range(3))
    tab = await Tab.open(tabs, site, following(stream.url))
    await tab.has([0, 1, 2])
    await stream.append_many(range(3, 6))
    await tab.has(list(range(6)))
    await stream.close()
    places = await tab.page.evaluate("places")
    assert len(set(places)) == 6
    assert all(re.fullmatch(r"\d{16}_\d{16}(,\d)?", place) for place in places)
    for number, place in enumerate(places, 1):
        further = await Tab.open(tabs, site, following(stream.url, **{"from": place}))
        await further.has(["closed"], "ends")
        await further.has(list(range(number, 6)))


@pytest.mark.parametrize(("kind", "rest"), [("text", " a time"), ("bytes", [3])])
async def test_a_page_continues_within_text_or_bytes_after_as_many_bytes(
    server: Headgate, site: Site, tabs: BrowserContext, kind: str, rest: object
) -> None:
    options = KINDS[kind][0]
    message: Any = "once ☕ a time" if kind == "text" else b"\x01\x02\x03"
    async with Client(server.streams) as hg:
        stream = await hg.create(uuid.uuid4().hex, **options)
        await stream.append(message)
        await stream.close()
        place = f"{START},{8 if kind == 'text' else 2}"
        tab = await Tab.open(tabs, site, following(stream.url, **{"from": place}))
        await tab.has(["closed"], "ends")
        await tab.has([rest])


async def test_a_page_that_stops_within_a_batch_goes_on_after_its_last_message_when_loaded_anew(
    stream: Stream, site: Site, tabs: BrowserContext
) -> None:
    await stream.append_many(range(5))
    script = f"""
      import {{ followStream }} from "headgate-client";
      window.items = [];
      const followed = followStream("{stream.url}", {{
        remember: true,
        onMessage(message) {{
          window.items.push(message);
          if (message === 1 || message === 3) followed.close();
        }},
      }});
    """
    tab = await Tab.open(tabs, site, script)
    for seen in ([0, 1], [2, 3], [4]):
        await tab.page.wait_for_function(f"items.length >= {len(seen)}", polling=20)
        assert await tab.page.evaluate("items") == seen
        await tab.page.reload()


async def test_before_another_server_the_first_messages_have_the_place_of_the_beginning(
    site: Site, tabs: BrowserContext
) -> None:
    with reference() as other:
        async with Client(f"{other.url}/v1/stream") as hg:
            stream = await hg.create(uuid.uuid4().hex, json=True)
            await stream.append_many(range(3))
            tab = await Tab.open(tabs, site, following(stream.url))
            await tab.has([0, 1, 2])
            places = await tab.page.evaluate("places")
            assert places[:2] == ["-1", "-1"]
            assert places[2] != "-1"


async def test_a_page_whose_place_is_gone_learns_where_the_stream_begins(
    site: Site, tabs: BrowserContext
) -> None:
    server = Headgate()
    server.serve_routes({"prefix": "/v1/stream", "storage": "memory:", "retention_messages": 8})
    with contextlib.closing(server.start()):
        async with Client(server.streams) as hg:
            stream = await hg.create("s", json=True)
            for number in range(40):
                await stream.append(number)
            tab = await Tab.open(tabs, site, following(stream.url, **{"from": f"{START},2"}))
            ((status, message),) = await tab.page.evaluate("received('refusals', 1)")
            assert status == 410
            (begins,) = re.findall(r"the stream begins at (\d+_\d+) now: http", message)
            kept = [it.value async for it in stream.read()]
            assert [it.value async for it in stream.read(begins)] == kept


async def test_a_tab_with_remember_stores_the_cursors_of_the_newest_fifty_runs(
    site: Site, tabs: BrowserContext
) -> None:
    remembered = """
        sessionStorage.setItem("of the page", "stays");
        for (let at = 0; at < 50; at++) {
          const remembered = JSON.stringify({ cursor: "1", at });
          sessionStorage.setItem(`headgate-client:run ${at}`, remembered);
        }
    """
    await site.start("story", "once")
    tab = await Tab.open(tabs, site, following(STORY, remember=True), before=remembered)
    await tab.has(["once"])
    names = {it.split(":")[-1] for it in await tab.page.evaluate("Object.keys(sessionStorage)")}
    assert len(names) == 51
    assert {f"run {at}" for at in range(50)} - names == {"run 0"}


@pytest.mark.parametrize("page", ["README.md", "docs/client/pages.md"])
@pytest.mark.parametrize("called", ["onMessage", "onItem"])
async def test_the_documented_examples_show_a_stream_and_a_run_to_their_ends(
    stream: Stream, site: Site, tabs: BrowserContext, page: str, called: str
) -> None:
    (example,) = (each for each in examples(page) if called in each)
    await stream.append(7)
    await stream.close()
    (await site.start("1", 7)).end()
    script = f"""
        {PRINTED.sub(stream.url, example)}
        function show(item) {{ document.body.append(item); }}
        function showEnd(status) {{ document.body.append(status ?? ""); }}
    """
    tab = await Tab.open(tabs, site, script)
    await tab.shows("7finished" if called == "onItem" else "7")


NAMES = """
  Object.assign(window, { items: [], ends: [] });
  const id = "story", question = "why?", show = (item) => items.push(item);
  const showEnd = (status) => ends.push(status);
"""


@pytest.mark.parametrize("kind", ["package", "loop"])
async def test_a_page_behind_a_service_worker_gets_each_item_of_a_run_once_in_many_responses(
    site: Site, tabs: BrowserContext, kind: str
) -> None:
    """Chromium leaves `Last-Event-ID` out there."""
    (loop,) = (it for it in examples("docs/client/runs.md") if "/runs/" in it)
    feed = await site.start("story", "once")
    script = following(STORY) if kind == "package" else f"{NAMES}{loop}"
    tab = await Tab.open(tabs, site, script)
    await tab.enable_worker()
    await tab.page.wait_for_function("items.length === 1")
    for word in ("upon", "a time"):
        requests = site.requests
        site.end_responses()
        await until(lambda: site.requests > requests)  # noqa: B023 - it is awaited here
        feed.give(word)
        await tab.page.wait_for_function(f"items.includes('{word}')")
    feed.end()
    await tab.page.wait_for_function("ends.length === 1")
    assert await tab.page.evaluate("items") == ["once", "upon", "a time"]


async def test_failed_attempts_while_offline_do_not_use_up_the_retries_of_a_page(
    site: Site, tabs: BrowserContext
) -> None:
    counting = """
        window.opened = 0;
        const { fetch } = window;
        window.fetch = (...about) => { window.opened++; return fetch(...about); };
    """
    feed = await site.start("story", "once")
    tab = await Tab.open(tabs, site, following(STORY, retries=1), before=counting)
    await tab.has(["once"])
    await tabs.set_offline(True)
    try:
        site.cut()
        await tab.page.wait_for_function("opened >= 3", polling=20)  # two have failed
    finally:
        await tabs.set_offline(False)
    feed.give("upon")
    await tab.has(["once", "upon"])


# What is followed, and the status and the sentence of the error. A run is answered that status.
REFUSALS = {
    "no-such-run": (
        STORY,
        204,
        "there is no such run, or nothing of it is left to be read: {site}runs/story",
    ),
    "no-token": (STORY, 401, "the application does not know who asks: {site}runs/story"),
    "away": (STORY, 503, "2 attempts have brought nothing: {site}runs/story answers 503"),
    "no-such-stream": (
        "{server}/nothing-here?token=s3cret",
        404,
        "there is no such stream; create it first, or correct the URL: {server}/nothing-here",
    ),
    "a-page": (
        "{site}?run=x",
        200,
        "the answer is text/html instead of events, so the URL may be wrong: {site}",
    ),
    "no-server": (
        NOTHING,
        None,
        "2 attempts have brought nothing: no answer that this page may read comes from " + NOTHING,
    ),
}


@pytest.mark.parametrize(("url", "status", "message"), REFUSALS.values(), ids=REFUSALS)
async def test_what_cannot_be_followed_is_an_error_that_says_what_was_there(
    server: Headgate, site: Site, tabs: BrowserContext, url: str, status: int, message: str
) -> None:
    places = {"server": server.streams, "site": site.url}
    site.status = status
    tab = await Tab.open(tabs, site, following(url.format(**places), retries=1))
    await tab.has([[status, message.format(**places)]], "refusals")
    assert site.requests == (url == STORY) * (2 if status == 503 else 1)


async def test_the_error_for_an_offset_of_no_stream_names_it(
    stream: Stream, site: Site, tabs: BrowserContext
) -> None:
    offset = "junk" + "." * 100
    tab = await Tab.open(tabs, site, following(stream.url, **{"from": f"{offset},2"}))
    said = f'the offset "{offset[:80]}" is not one of this stream: {stream.url}'
    await tab.has([[400, said]], "refusals")


@pytest.mark.parametrize("end", ["deleted", "deleted with a fork", "expired", "another one"])
async def test_a_followed_stream_that_is_deleted_or_expires_is_an_error_that_says_so(
    server: Headgate, site: Site, tabs: BrowserContext, end: str
) -> None:
    url = f"{server.streams}/{uuid.uuid4().hex}"
    text = {"Content-Type": "text/plain"}
    async with httpx.AsyncClient(verify=False) as http:
        expiry = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()  # noqa: TID251 - the server's
        limited = {"Stream-Expires-At": expiry} if end == "expired" else {}
        await http.put(url, headers=text | limited, content="Once")
        if end == "deleted with a fork":
            fork = {"Stream-Forked-From": f"/v1/stream{url.removeprefix(server.streams)}"}
            assert (await http.put(f"{url}-fork", headers=text | fork)).status_code == 201
        tab = await Tab.open(tabs, site, following(url))
        await tab.has(["Once"])
        if end != "expired":
            await http.delete(url)
        if end == "another one":
            await http.put(url, headers=text, content="Other")
    ((status, message),) = await tab.page.evaluate("received('refusals', 1)")
    assert (status, message) in {
        (404, f"the stream is no longer there: deleted, expired, or lost by its server: {url}"),
        (410, message),
    }
    assert ("forks of it" in message) == (end == "deleted with a fork")
    assert ("an earlier stream" in message) == (end == "another one")


async def test_a_page_that_goes_on_with_a_run_deleted_meanwhile_gets_an_error_that_says_so(
    site: Site, tabs: BrowserContext
) -> None:
    await site.start("story", "once")
    tab = await Tab.open(tabs, site, following(STORY))
    await tab.has(["once"])
    await site.runs.delete("story")
    await tab.has([{"status": "stopped", "error": None}], "ends")
    later = await Tab.open(tabs, site, following(STORY, after=1))
    ((status, message),) = await later.page.evaluate("received('refusals', 1)")
    assert status == 204
    assert message.startswith("the run was deleted or has expired")


CALL = 'such as followStream("/orders", { onMessage: console.log })'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ('"/v1/stream/chat"', f"a function as onMessage, {CALL}"),
        ("undefined, { onMessage() {} }", f"a URL, {CALL}, and not undefined"),
    ],
    ids=["no callback", "no URL"],
)
async def test_following_without_what_it_needs_is_refused_with_an_example(
    site: Site, tabs: BrowserContext, arguments: str, message: str
) -> None:
    script = f"""
      import {{ followStream }} from "headgate-client";
      try {{ followStream({arguments}); }} catch (error) {{ document.body.append(error); }}
    """
    tab = await Tab.open(tabs, site, script)
    await tab.shows(f"TypeError: followStream needs {message}")
