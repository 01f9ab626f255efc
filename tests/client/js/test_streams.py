"""Pages that follow a stream with the npm package: its messages, in tabs and through cuts."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from headgate.streams.client import Client
from playwright.async_api import expect

from tests.client.js.site import Tab
from tests.client.printed_urls import PRINTED
from tests.clients.pages import examples
from tests.support.ports import free_port

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext

    from tests.client.js.site import Site
    from tests.support.processes import Headgate

PAGE = """
  import { followStream } from "headgate-client";
  const waiting = [];
  const tell = (name, what) => {
    window[name].push(what);
    waiting.splice(0).forEach((told) => told());
  };
  window.toldOf = async (name, count) => {
    while (window[name].length < count) await new Promise((told) => waiting.push(told));
    return window[name];
  };
  Object.assign(window, { items: [], offsets: [], ends: [], refusals: [] });
  window.followed = followStream("URL", {
    ...OPTIONS,
    onMessage: (message, offset) => {
      offsets.push(offset);
      tell("items", message instanceof Uint8Array ? [...message] : message);
    },
    onClose: () => tell("ends", "closed"),
    onError: ({ message, status }) => tell("refusals", [status, message]),
  });
"""

pytestmark = pytest.mark.asyncio(loop_scope="session")


def follows(site: Site, url: str, options: str = "{}") -> None:
    """Have the pages that are opened next follow a stream."""
    site.script = PAGE.replace("URL", url).replace("OPTIONS", options)


@pytest.mark.parametrize(
    ("options", "appended", "shown"),
    [
        pytest.param({"json": True}, [{"a": 1}, [2], None], [{"a": 1}, [2], None], id="json"),
        pytest.param({}, ["Once ☕", " upon\n a time"], ["Once ☕", " upon\n a time"], id="text"),
        pytest.param(
            {"content_type": "application/octet-stream"}, [b"\x00\xff"], [[0, 255]], id="bytes"
        ),
    ],
)
async def test_a_page_gets_decoded_messages_until_the_stream_is_closed(
    server: Headgate,
    site: Site,
    tabs: BrowserContext,
    options: dict[str, Any],
    appended: list[Any],
    shown: list[Any],
) -> None:
    async with Client(server.streams) as hg:
        stream = await hg.create(uuid.uuid4().hex, **options)
        follows(site, stream.url)
        tab = await Tab.open(tabs, site, "")
        for number, message in enumerate(appended, 1):
            await stream.append(message)
            await tab.has(shown[:number])
        await stream.close()
        await tab.has(["closed"], "ends")
        assert await tab.told("items") == shown


async def test_tabs_share_a_connection_and_none_misses_or_repeats_a_message(
    server: Headgate, site: Site, tabs: BrowserContext
) -> None:
    async with Client(server.streams) as hg:
        stream = await hg.create(uuid.uuid4().hex, json=True)
        await stream.append(0)
        follows(site, stream.url)
        opened = [await Tab.open(tabs, site, "") for _ in range(7)]
        for tab in opened:
            await tab.has([0])
        await stream.append(1)
        for tab in opened:
            await tab.has([0, 1])
        await opened.pop(0).page.close()
        await opened[0].freeze()
        await stream.append_many([2, 3])
        for tab in opened[1:]:
            await tab.has([0, 1, 2, 3])
        await opened[0].thaw()
        await opened[0].has([0, 1, 2, 3])
        await stream.close()
        for tab in opened:
            await tab.has(["closed"], "ends")


async def test_a_page_begins_where_it_says_and_goes_on_where_it_was_when_loaded_anew(
    server: Headgate, site: Site, tabs: BrowserContext
) -> None:
    async with Client(server.streams) as hg:
        stream = await hg.create(uuid.uuid4().hex, json=True)
        offset = await stream.append(1)
        await stream.append(2)
        follows(site, stream.url, f'{{ from: "{offset}", remember: true }}')
        tab = await Tab.open(tabs, site, "")
        await tab.has([2])
        await tab.page.reload()
        await stream.append(3)
        await tab.has([3])


@pytest.mark.parametrize("page", ["README.md", "docs/client/pages.md"])
async def test_the_documented_example_shows_the_messages_of_a_stream(
    server: Headgate, site: Site, tabs: BrowserContext, page: str
) -> None:
    (example,) = (each for each in examples(page) if "onMessage" in each)
    async with Client(server.streams) as hg:
        stream = await hg.create(uuid.uuid4().hex, json=True)
        await stream.append({"id": 7})
        await stream.close()
        shown = "function show({ id }) { document.body.append(id); } function showEnd() {}"
        site.script = f"{PRINTED.sub(stream.url, example)}\n{shown}"
        tab = await Tab.open(tabs, site, "")
        await expect(tab.page.locator("body")).to_have_text("7")


NOTHING = f"http://127.0.0.1:{free_port()}/v1/stream/chat"
REFUSALS = {
    "no-such-stream": (
        "{server}/nothing-here?token=s3cret",
        [
            404,
            "there is no such stream; create it first, or correct the URL: {server}/nothing-here",
        ],
    ),
    "a-page": (
        "{site}?run=x",
        [200, "the answer is text/html instead of events, so the URL may be wrong: {site}"],
    ),
    "no-server": (
        NOTHING,
        [
            None,
            "2 attempts have brought nothing: no answer that this page may read comes from "
            + NOTHING,
        ],
    ),
}


@pytest.mark.parametrize(("url", "refusal"), REFUSALS.values(), ids=REFUSALS)
async def test_a_wrong_url_is_an_error_that_says_what_was_there(
    server: Headgate, site: Site, tabs: BrowserContext, url: str, refusal: list[Any]
) -> None:
    status, message = refusal
    places = {"server": server.streams, "site": site.url}
    follows(site, url.format(**places), "{ retries: 1 }")
    tab = await Tab.open(tabs, site, "")
    await tab.has([[status, message.format(**places)]], "refusals")


async def test_following_without_onmessage_is_refused_with_an_example(
    site: Site, tabs: BrowserContext
) -> None:
    site.script = """
      import { followStream } from "headgate-client";
      try { followStream("/v1/stream/chat"); } catch (error) { document.body.append(error); }
    """
    tab = await Tab.open(tabs, site, "")
    await expect(tab.page.locator("body")).to_have_text(
        "TypeError: followStream needs a function as onMessage, such as "
        "followStream(url, { onMessage: console.log })"
    )
