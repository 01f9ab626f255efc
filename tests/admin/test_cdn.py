"""The configurations for CDNs, by the API and on their page, without a browser."""

from __future__ import annotations

import asyncio
import html
import json
import re
import shlex
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from headgate_cdn.explain import compared, exclusions
from headgate_cdn.options import from_settings
from headgate_cdn.render import render
from headgate_cdn.targets import TARGETS
from headgate_gateway.settings import Settings
from tests.admin.consoles import Client, Switchboard, console
from tests.support.processes import HEADGATE, run
from tests.support.threaded import threaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

# They change nothing: one application is for all.
pytestmark = pytest.mark.asyncio(loop_scope="module")
ROW = r'<th scope="row"><a [^>]*>([^<]*)</a></th>\n(.*?)</tr>'
CELL = r"<td[^>]*>(.*?)</td>"
HOST = "streams.example.com"
UPSTREAM = "gateway.internal:80"
HOSTILE = (
    '"><script>alert(1)</script>',
    "' onfocus=alert(1) autofocus='",
    pytest.param("a;}\r\nserver{", id="a-line-break-and-a-server-block"),
    pytest.param("\u202egpj.example", id="a-right-to-left-override"),
    "{{7*7}}",
    "$(reboot)",
    pytest.param("a" * 254, id="a-name-over-the-limit"),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client() -> AsyncIterator[Client]:
    async with console(Switchboard({"server": None})) as opened:
        yield opened


async def file(client: Client, **query: str) -> tuple[int, Any]:
    """Return what the API answers for a file with these options."""
    return await client.api("GET", f"cdn/file?{urlencode(query)}")


async def page(client: Client, **query: str) -> str:
    return await client.page(f"/caches/cdn?{urlencode(query)}")


async def test_the_api_lists_every_cdn_target_with_what_it_does_and_does_not(
    client: Client,
) -> None:
    status, answer = await client.api("GET", "cdn")
    assert status == 200
    assert [one["name"] for one in answer["targets"]] == list(TARGETS)
    for one in answer["targets"]:
        assert one["does"] == list(TARGETS[one["name"]].does)
        assert one["does_not"] == list(TARGETS[one["name"]].does_not)


@pytest.mark.parametrize("name", TARGETS)
async def test_api_page_and_download_contain_the_same_rendered_cdn_file(
    name: str, client: Client
) -> None:
    options = from_settings(Settings(), host=HOST, upstream=UPSTREAM)
    expected = render(TARGETS[name], options)
    query = {"target": name, "host": HOST, "upstream": UPSTREAM}
    status, answer = await file(client, **query)
    assert (status, answer["text"]) == (200, expected)
    download = await client.send("GET", f"/caches/cdn/file?{urlencode(query)}")
    assert download == (200, expected)
    shown = re.search(
        r"<pre class=\"file\"[^>]*><code>(.*?)</code>", await page(client, **query), re.S
    )
    assert shown is not None
    assert html.unescape(re.sub(r"</?span[^>]*>", "", shown[1])) == expected


def read(url: str) -> bytes:
    with urllib.request.urlopen(url) as opened:
        body: bytes = opened.read()
    return body


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("credentials", ["bypass", "asked"])
async def test_the_command_shown_on_the_cdn_page_renders_the_same_file(
    credentials: str, tmp_path: Path
) -> None:
    chosen = {"target": "nginx-njs", "host": HOST, "listen": "8181", "cache_size": "64MiB"}
    query = {**chosen, "credentials": credentials, "standalone": "true"}
    with threaded() as gateway:
        url = f"{gateway.admin_url}/api/v1/cdn/file?{urlencode(query)}"
        answer = json.loads(await asyncio.to_thread(read, url))
        program, *words = shlex.split(answer["command"])
        assert program == "headgate"
        assert words[:5] == ["cdn", "render", "nginx-njs", "--admin", gateway.admin_url]
        shown = [*words[:-1], str(tmp_path / answer["file_name"])]
        done = await asyncio.to_thread(run, [HEADGATE, *shown])
        assert done.returncode == 0, done
    assert (tmp_path / answer["file_name"]).read_text() == answer["text"]
    assert "listen 8181;" in answer["text"]
    assert f"server {gateway.url.removeprefix('http://')};" in answer["text"]


@pytest.mark.parametrize(
    ("target", "field", "value", "setting"),
    [
        ("nginx", "stale_if_error", "60", {"stale_if_error_s": 60}),
        ("cloudfront", "shield", "eu-central-1", {"shield": "eu-central-1"}),
    ],
)
async def test_the_cdn_form_offers_an_option_only_to_targets_that_support_it(
    target: str, field: str, value: str, setting: dict[str, Any], client: Client
) -> None:
    query = {"target": target, "host": HOST, "upstream": UPSTREAM, field: value}
    _, answer = await file(client, **query)
    options = from_settings(Settings(), host=HOST, upstream=UPSTREAM, **setting)
    assert answer["text"] == render(TARGETS[target], options)
    assert f"--{field.replace('_', '-')} {value}" in answer["command"]
    assert f'name="{field}" value="{value}"' in await page(client, **query)
    assert f'name="{field}"' not in await page(client, target="caddy")


REFUSED = {
    "a host with an underscore": (
        "host",
        "no_host",
        "--host 'no_host' is no host name in lower case.",
    ),
    "a host that is too long": ("host", "a" * 301, "--host must be at most 300 characters."),
    "an upstream without a port": (
        "upstream",
        "nowhere",
        "--upstream must be HOST:PORT, not 'nowhere'.",
    ),
    "port 0": ("listen", "0", "--listen must be from 1 to 65,535, not 0."),
    "a port in words": ("listen", "http", "--listen must be the number of a port."),
    "a cache size in words": (
        "cache_size",
        "much",
        "--cache-size must be a size such as 16MiB, in B, KiB, MiB or GiB.",
    ),
    "unknown credentials": (
        "credentials",
        "share",
        "--credentials must be bypass or per-credential or reader-key or asked or verified.",
    ),
    "no boolean": ("purge", "perhaps", "--purge must be true or false."),
    "a time in words": ("stale_if_error", "long", "--stale-if-error must be a number of seconds."),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_bad_cdn_option_is_refused_with_a_sentence_beside_the_form(
    name: str, client: Client
) -> None:
    field, value, words = REFUSED[name]
    query = {"target": "nginx", "host": HOST, field: value}
    assert (await file(client, **query))[0] == 400
    shown = html.unescape(await page(client, **query))
    assert f"{words}</p>" in shown
    assert f'name="{field}"' in shown
    assert 'class="file"' not in shown
    assert (await client.send("GET", f"/caches/cdn/file?{urlencode(query)}"))[0] == 400


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("field", ["host", "upstream"])
async def test_hostile_cdn_options_are_shown_as_text_and_render_no_file(
    field: str, hostile: str, client: Client
) -> None:
    query = {"target": "nginx", "host": HOST, field: hostile}
    shown = await page(client, **query)
    assert 'class="file"' not in shown
    assert "<script>alert" not in shown
    assert " onfocus=alert(1) autofocus='" not in shown.replace("&#39;", "")
    assert "49" not in re.search(r'role="alert">(.*?)</p>', shown, re.S)[1]  # type: ignore[index]
    assert (await file(client, **query))[0] == 400


async def test_an_unknown_cdn_target_gets_404(client: Client) -> None:
    status, problem = await file(client, target="squid", host=HOST)
    assert (status, problem["detail"].split(":")[0]) == (404, "there is no target 'squid'")
    status, shown = await client.send("GET", "/caches/cdn?target=squid", accept="text/html")
    assert (status, "There is no such target." in shown) == (404, True)


async def test_an_unfilled_cdn_form_shows_no_error(
    client: Client,
) -> None:
    for query in ("target=nginx", "target=fastly", f"target=fastly&host={HOST}", "target=vercel"):
        shown = await client.page(f"/caches/cdn?{query}")
        assert "No file yet" in shown
        assert 'role="alert"' not in shown


async def test_the_cdn_page_compares_all_targets_and_explains_how_to_apply_each(
    client: Client,
) -> None:
    beside = {name for one in TARGETS.values() for name in one.beside}
    table = re.search(r'<table class="compared">(.*?)</table>', await page(client), re.S)
    assert table is not None
    rows = {
        html.unescape(title): [
            re.sub(r"<[^>]+>|[✓▲]", "", cell).strip() for cell in re.findall(CELL, row)
        ]
        for title, row in re.findall(ROW, table[1], re.S)
    }
    assert rows == {
        one.title: [*compared(one)] for name, one in TARGETS.items() if name not in beside
    }
    for name in TARGETS:
        shown = await page(client, target=name)
        how = re.search(r'id="apply">(.*?)</section>', shown, re.S)
        assert how is not None
        # Its links lead to pages that a gateway does not have.
        assert ("headgate cdn render" in how[1], "<a " in how[1]) == (True, False), name
        folded = re.search(r"<details>(.*?)</details>", shown, re.S)
        assert folded is not None
        explained = html.unescape(folded[1])
        assert [text for text in exclusions(TARGETS[name]) if text not in explained] == []
