"""The pages over HTTP, without a browser: what is shared, who may what, what machines are told."""

from __future__ import annotations

import asyncio
import html
import re
import shlex
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
import pytest
from aiohttp.test_utils import TestClient

from headgate_admin.app import build
from headgate_admin.errors import ConsoleError
from headgate_admin.pages.live import LivePages
from headgate_gateway.features.questions.loudest import LoudestList, StreamLoad
from headgate_gateway.features.questions.streams import (
    DescribeStream,
    ListStreams,
    StreamDescription,
    StreamPage,
    StreamRow,
)
from headgate_gateway.features.subscriptions.metrics import SUBSCRIPTIONS
from headgate_gateway.settings import Address
from headgate_gateway.telemetry.metrics import gauge, histogram
from headgate_gateway.telemetry.traffic import SECONDS
from tests.admin.consoles import (
    ADMITTED,
    DELIVERY,
    ORIGIN_UP,
    REPAIRS,
    REQUESTS,
    RESULTS,
    Client,
    Clock,
    Switchboard,
    console,
    observed,
    sample,
    setup,
)
from tests.support import virtual_time
from tests.support.admin_server import AdminServer
from tests.support.given_settings import at
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from headgate_gateway.features.questions.contract import Answer, Question

EDGE = {"prefix": "/r", "origin": "http://h"}
OPERATION = ("route", "operation")
CHANGE = "/streams/one?route=/v1/stream&name=chat/0000&tab=change"


def load(route: str, name: str, requests: float) -> StreamLoad:
    return StreamLoad(
        route=route,
        name=name,
        load=requests,
        requests=requests,
        appends=0.0,
        refused=0.0,
        sent_bytes=0.0,
        received_bytes=0.0,
    )


def answers(question: Question) -> Sequence[Answer]:
    """Answer as a gateway whose only stream is whichever is asked for."""
    if isinstance(question, ListStreams):
        return (StreamPage(()),)
    assert isinstance(question, DescribeStream)
    return (StreamDescription(StreamRow(name=question.name, content_type="text/plain"), {}),)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with console(Switchboard(answers=answers)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "Responses are private: no shared cache may store them."),
        pytest.param(
            {"reader_keys": "on"},
            "Responses are private: shared caches may store only those to URLs with a reader key.",
            id="with-reader-keys",
        ),
    ],
)
async def test_the_card_of_a_private_route_states_once_what_shared_caches_may_store(
    settings: dict[str, str], said: str
) -> None:
    route = {"prefix": "/r", "storage": "memory:", "auth": "tokens", **settings}
    async with console(routes=[route]) as client:
        sentences = re.findall("<li>(.*?)</li>", await client.page("/routes"))
    assert [it for it in sentences if "shared cache" in it or "reader key" in it] == [said]


@pytest.mark.parametrize(
    ("origins", "delivery", "tile"),
    [
        (["memory:", "file:/nowhere"], "commit to", "Bytes sent/s"),
        (["memory:", "redis://h"], "commit to", "Served from memory"),
        (["http://h"], "arrival to", "Served without the origin"),
        (["memory:", "http://h"], "to the", "Served from the cache"),
    ],
)
async def test_the_strip_has_eight_figures_named_by_where_the_streams_of_the_routes_live(
    origins: list[str], delivery: str, tile: str
) -> None:
    """What was appended is news here once it is committed, or the origin has told of it."""
    routes = [{"prefix": f"/{number}", **at(it)} for number, it in enumerate(origins)]
    seen = tuple(observed(DELIVERY, {0.01: 1}, it["prefix"]) for it in routes)
    source = Switchboard()
    async with console(source, routes=routes) as client:
        for source.numbers in ((), seen):
            await client.look()
        strip = (await client.page("/")).partition('<dl class="card strip"')[2]
    names = re.findall("<dt>(.*?)(?: <span>15 min</span>)?</dt>", strip.partition("</dl>")[0])
    assert names == [
        *("Requests/s", "5xx", "Readers", "Read p99", "Append p99", "Delivery p99"),
        *("Readers fed by one read", tile),
    ]
    assert f">{delivery} socket<" in strip


@pytest.mark.parametrize("metric", ["append", "delivery"])
@pytest.mark.parametrize("is_over", [False, True])
async def test_a_p99_over_the_bound_of_its_alert_has_the_colour_of_the_alert(
    metric: str, is_over: bool
) -> None:
    duration = histogram("headgate_request_duration_seconds", "", *OPERATION, bounds=SECONDS)
    at_most, over = (0.5, 0.9) if metric == "append" else (1.0, 1.5)
    took = {over if is_over else at_most: 100}
    source = Switchboard()
    async with console(source, routes=[EDGE]) as client:
        for times in ({}, took):
            source.numbers = (
                observed(duration, times, "/r", "append")
                if metric == "append"
                else observed(DELIVERY, times, "/r"),
            )
            await client.look()
        strip = (await client.page("/")).partition('<dl class="card strip"')[2]
    coloured = re.findall('<div class="warning"><dt>(.*?) <', strip.partition("</dl>")[0])
    assert coloured == ([f"{metric.capitalize()} p99"] if is_over else [])


async def test_the_table_of_routes_has_those_in_need_then_the_busiest_and_a_line_for_the_rest() -> (
    None
):
    routes = [{"prefix": f"/r{number:02}", "storage": "memory:"} for number in range(10)]
    source = Switchboard(state={"log /r04": "the disk is full"})
    clock = Clock()
    async with console(source, setup(clock, admin_tokens=ADMITTED, routes=routes)) as client:
        for counted in (0, 150):
            clock.now += 5
            source.numbers = tuple(
                sample(REQUESTS, counted * (1 + number), f"/r{number:02}", "read", "2xx")
                for number in range(10)
            )
            await client.look()
        page = await client.page("/")
    shown = re.findall(r'href="/routes#/r(\d\d)"', page)
    assert shown == ["04", "09", "08", "07", "06", "05", "03", "02"]
    assert re.search(r"2 more routes</a> <span class=\"muted\">with [\d.]+/s</span>", page)


async def test_the_table_of_routes_says_what_is_behind_each_first_what_is_wrong_there() -> None:
    size, used, most = (
        gauge(f"headgate_storage_{it}_bytes", "", "route") for it in ("size", "used", "max")
    )
    times = histogram("headgate_append_duration_seconds", "", "route", bounds=(0.5, 1.0))
    routes = [
        {"prefix": "/r", "origin": "http://h:8080/x"},
        {"prefix": "/f", "storage": "file:/nowhere"},
        {"prefix": "/s", "storage": "redis://user:pass@primary:6379"},
    ]
    source, clock = Switchboard(), Clock()
    async with console(source, setup(clock, admin_tokens=ADMITTED, routes=routes)) as client:
        for looked in range(3):
            clock.now += 60
            source.numbers = (
                sample(ORIGIN_UP, 0, "/r", "h:8080"),
                sample(size, 1e6 * looked, "/f"),
                sample(used, 1e6 * looked, "/f"),
                sample(most, 1e7, "/f"),
                observed(times, {0.7: looked}, "/f"),
            )
            await client.look()
        page = await client.page("/")
    places = re.findall('<td class="place".*?</td>', page)
    assert [re.sub("<[^>]*>", "", it) for it in places] == [
        "origin h:8080 · ✕ down",
        "file · ▲ full in 8 min · p99 995 ms · 2 MB",
        "redis primary:6379",
    ]
    assert "pass" not in page.partition("<main")[2]


async def test_names_of_one_route_have_its_prefix_once_in_the_title_and_are_cut_in_the_middle() -> (
    None
):
    long = "tenant-20/chats/9f31a2b7d0e54c1188aa9b0c77/events"
    loads = [load("/a", long, 3.0), load("/a", "short", 1.0)]
    for others, title in (
        ([], "Loudest streams of /a"),
        ([load("/b", "x", 4.0)], "Loudest streams"),
    ):
        found = LoudestList((), (*loads, *others))
        source = Switchboard()
        source.answers = partial(lambda it, _: (it,), found)
        async with console(source) as client:
            page = await client.page("/")
        assert f">{title}</th>" in page
        table = page.partition(f">{title}</th>")[2].partition("</table>")[0]
        (name,) = re.findall('<bdi class="name" title="([^"]*events)">', table)
        prefix = "/a/" * bool(others)
        assert name == f"{prefix}{long}"
        (cut,) = re.findall('<span class="begin">(.*)</bdi>', table)
        whole = re.sub("<[^>]*>", "", cut)
        assert whole == name
        begin, end = re.findall("^(.*?)</span>.*</span>(.*)$", cut)[0]
        assert (len(begin), len(end)) == (13, 12)
        assert re.findall("<b>(.*?)</b>", table)[-1] == ("12 %" if others else "25 %")


async def test_an_unused_gateway_shows_three_commands_in_place_of_its_charts() -> None:
    source = Switchboard()
    clock = Clock()
    async with console(source, setup(clock, admin_tokens=ADMITTED)) as client:
        for requests in (0, 1):
            clock.now += 5
            source.numbers = (sample(REQUESTS, requests, "/v1/stream", "read", "2xx"),)
            await client.look()
            page = await client.page("/")
            assert (page.count("<code>curl"), page.count('class="chart"')) == (
                (0, 6) if requests else (3, 0)
            )


async def test_the_card_of_a_route_lists_only_repairs_that_were_made() -> None:
    for made, shown in (
        ({"etag": 0, "cors": 0}, []),
        ({"etag": 2, "cors": 0, "end": 1}, ["etag</code> 2 times", "end</code> 1 time"]),
    ):
        numbers = tuple(sample(REPAIRS, times, "/r", what) for what, times in made.items())
        async with console(Switchboard(numbers=numbers), routes=[EDGE]) as client:
            await client.look()
            page = await client.page("/routes")
        assert re.findall("<li><code>(.*? times?)</li>", page) == shown
        assert ("Nothing had to be repaired." in page) is (not shown)


class Counted:
    """Regions that count how often they were rendered; None is what cannot be told."""

    def __init__(self, *regions: dict[str, str] | None) -> None:
        self._regions = regions
        self.rendered = 0

    async def tell(self) -> dict[str, str]:
        told = self._regions[min(self.rendered, len(self._regions) - 1)]
        self.rendered += 1
        if told is None:
            raise ConsoleError(503, "not now")
        return told


async def heard(events: AsyncGenerator[bytes], number: int) -> list[tuple[str, Any]]:
    """The names and data of so many events."""
    found = []
    async with aclosing(events):
        for _ in range(number):
            name, data = (await anext(events)).decode().splitlines()[:2]
            found.append((name.removeprefix("event: "), msgspec.json.decode(data[6:])))
    return found


def test_an_open_page_gets_only_the_regions_that_changed() -> None:
    told = Counted({"a": "1", "b": "1"}, {"a": "1", "b": "2"}, {"a": "1", "b": "2"})
    assert virtual_time.run(heard(LivePages().follow("/", told.tell), 3)) == [
        ("regions", {"a": "1", "b": "1"}),
        ("regions", {"b": "2"}),
        ("regions", {}),
    ]


def test_a_failed_rendering_sends_a_problem_event_and_is_retried() -> None:
    told = Counted({"a": "1"}, None, {"a": "2"})
    assert virtual_time.run(heard(LivePages().follow("/", told.tell), 3)) == [
        ("regions", {"a": "1"}),
        ("problem", "not now"),
        ("regions", {"a": "2"}),
    ]


def test_viewers_of_the_same_page_share_each_rendering() -> None:
    told, other = Counted({"a": "1"}), Counted({"a": "1"})

    async def look() -> None:
        pages = LivePages()
        looking = [pages.follow("/", told.tell) for _ in range(10)]
        for number in range(1, 4):
            await asyncio.gather(*map(anext, looking))
            assert told.rendered == number
        await heard(pages.follow("/routes", other.tell), 1)
        assert other.rendered == 1
        for events in looking:
            await events.aclose()
        # Nobody looks any more: what was shared is gone, and is told anew.
        await heard(pages.follow("/", told.tell), 1)
        assert told.rendered == 4

    virtual_time.run(look())


async def test_links_on_a_page_use_the_host_of_its_request() -> None:
    source = Switchboard(answers=answers)
    async with console(source, listen=Address("0.0.0.0", 4437), auth="none") as client:
        told = {}
        for host in ("one.example", "two.example", "a~b"):
            regions = await client.regions("/streams?text=&route=/v1/stream", Host=host)
            told[host] = regions["streams"]
    assert "http://one.example:4437/v1/stream/chat" in told["one.example"]
    assert "http://two.example:4437/v1/stream/chat" in told["two.example"]
    command = shlex.split(html.unescape(told["a~b"]).partition("curl -N ")[2].partition("<")[0])
    assert command == ["http://a~b:4437/v1/stream/chat?offset=-1&live=sse"]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a b/ü", "/v1/stream/a%20b/%C3%BC"),
        ("a%20b", "/v1/stream/a%20b"),
        ("a?b#c", "/v1/stream/a%3Fb%23c"),
    ],
)
async def test_the_curl_command_of_a_stream_is_percent_encoded(
    name: str, path: str, client: Client
) -> None:
    query = {"route": "/v1/stream", "name": name, "tab": "messages", "offset": "1&x=2"}
    page = html.unescape(await client.page(f"/streams/one?{urlencode(query)}"))
    command = page.partition("curl -i ")[2].partition("</")[0].partition('"')[0]
    url = shlex.split(command.splitlines()[0])[0]
    assert url.partition("/v1/")[2] == f"{path}?offset=1%26x%3D2".partition("/v1/")[2]


@pytest.mark.parametrize(
    ("reads", "said"), [(1, "too few to judge"), (99, "too few"), (100, "below 70 %")]
)
async def test_a_hit_ratio_of_under_100_reads_is_not_judged(reads: int, said: str) -> None:
    source = Switchboard()
    async with console(source, routes=[EDGE]) as client:
        for so_far in (0, reads):
            source.numbers = (sample(RESULTS, so_far, "/r", "miss"),)
            await client.look()
        page = await client.page("/")
    assert said in page
    assert ('<div class="warning"><dt>Served' in page) is (reads >= 100)


async def test_a_stream_tab_gets_only_its_own_regions(client: Client) -> None:
    regions = await client.regions(CHANGE.replace("change", "readers"))
    assert set(regions) == {"instance", "badge", "head", "readers"}


@pytest.mark.parametrize(
    ("content_type", "is_json"),
    [("Application/JSON; a=b", True), ("application/ld+json", False), ("text/json", False)],
)
async def test_a_stream_page_treats_only_application_json_as_json(
    content_type: str, *, is_json: bool
) -> None:
    described = StreamDescription(StreamRow(name="chat/0000", content_type=content_type), {})
    async with console(Switchboard(answers=lambda _: (described,))) as client:
        page = await client.page("/streams/one?route=/v1/stream&name=chat/0000")
    assert f'data-json="{int(is_json)}"' in page


async def test_api_clients_get_errors_as_problem_json_and_browsers_as_pages(client: Client) -> None:
    for accept, begin in (("*/*", "{"), ("text/html", "<!doctype html>")):
        for path, status in (("/?span=2h", 400), ("/nothing", 404)):
            found = await client.send("GET", path, accept=accept)
            assert (found[0], found[1][: len(begin)].lower()) == (status, begin)


@pytest.mark.parametrize("action", ["close", "delete"])
async def test_closing_and_deleting_by_form_need_the_stream_name(action: str) -> None:
    nowhere = Address("127.0.0.1", free_port())
    async with console(Switchboard(answers=answers), listen=nowhere) as client:
        # Nothing listens at the gateway's address: 502 shows that a change was tried.
        for confirm, status in (("", 400), ("chat/0001", 400), (" chat/0000 ", 502)):
            form = {"action": action, "confirm": confirm}
            assert (await client.send("POST", CHANGE, data=form))[0] == status


async def test_an_unknown_form_action_on_a_stream_gets_400(client: Client) -> None:
    status, page = await client.send("POST", CHANGE, data={"action": "explode"})
    assert status == 400
    assert "Action must be one of append, limit, close, delete." in page


async def test_static_paths_serve_only_files_of_the_package() -> None:
    async with TestClient(AdminServer(build(Switchboard(), setup()))) as client:
        for path, status in (
            ("/static/headgate.css", 200),
            ("/static/", 404),
            ("/static/../site.py", 404),
            ("/static/%2e%2e/site.py", 404),
        ):
            assert (await client.get(path)).status == status


async def test_runs_and_subscriptions_are_in_the_menu_only_where_there_are_any() -> None:
    menus = []
    subscribed = sample(SUBSCRIPTIONS, 1, "/a", "active")
    for runs, numbers in ((False, ()), (True, (subscribed,))):
        routes = [{"prefix": "/a", "storage": "memory:", "runs": runs}]
        async with console(Switchboard(numbers=numbers), routes=routes) as client:
            await client.look()
            nav = (await client.page("/")).partition("<nav")[2].partition("</nav>")[0]
            menus.append(re.findall(r'href="([^"]+)"', nav))
    always = ["/", "/routes", "/streams", "/clients", "/events", "/caches", "/gateways"]
    assert menus == [
        [*always, "/configuration"],
        [*always, "/configuration", "/runs", "/subscriptions"],
    ]
