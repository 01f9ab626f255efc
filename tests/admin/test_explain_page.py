"""The page that explains a request: at an address for everybody, which has no credentials."""

from __future__ import annotations

import html
import json
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest

from headgate_admin.pages.views.explain import LONGEST_ADDRESS
from headgate_gateway.features.questions.streams import ExplainRequest, ExplainStep, Explanation
from tests.admin.consoles import Client, Switchboard, console
from tests.support.log_lines import capture_logs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from headgate_gateway.features.questions.contract import Answer, Question

CANARY = "canary-0123456789abcdef"
HOSTILE = (
    f"/v1/stream/a?token={CANARY}",
    f"/v1/stream/a?ToKeN={CANARY}&token={CANARY}",
    f"/v1/stream/a?%74%6fken={CANARY}",
    f"/v1/stream/a?%2574oken={CANARY}",
    f"/v1/stream/a?offset=-1&signature={CANARY}",
    f"/v1/stream/a?offset=-1;token={CANARY}",
    f"/v1/stream/a%3Ftoken={CANARY}",
    f"/v1/stream/a#token={CANARY}",
    f"http://ann:{CANARY}@127.0.0.1:4437/v1/stream/a",
    f"http://{CANARY}@127.0.0.1:4437/v1/stream/a",
    f"http://ann:{CANARY}%40127.0.0.1/v1/stream/a",
    f"//ann:{CANARY}@127.0.0.1/v1/stream/a",
    f"ann:{CANARY}@127.0.0.1/v1/stream/a",
    f"http:/ann:{CANARY}@127.0.0.1/v1/stream/a",
    f"/v1/stream/a?to=http://ann:{CANARY}@127.0.0.1/",
)
SECRETS = ("Authorization", "Cookie", "Headgate-Token", "X-Api-Key", "Proxy-Authorization", "DPoP")


def answers(question: Question) -> Sequence[Answer]:
    """Answer with the method and the number of fields, in which there is no secret."""
    if not isinstance(question, ExplainRequest):
        return ()
    title = f"{question.method} with {len(question.headers)} fields"
    return (Explanation((ExplainStep(title, "", ""),), "HIT"),)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with console(Switchboard(answers=answers)) as opened:
        yield opened


async def led(client: Client, path: str, form: dict[str, str] | None = None) -> tuple[str, str]:
    """Return where a request for the page leads, and the page; either may be empty."""
    method = "GET" if form is None else "POST"
    status, page, there = await client.led(method, path, data=form)
    assert status == (303 if there else 200), page
    return there, "" if there else page


async def test_a_request_without_credentials_is_explained_at_an_address_for_everybody(
    client: Client,
) -> None:
    for method, target, query in (
        ("GET", "/v1/a?b=1&c", {"method": ["GET"], "target": ["/v1/a?b=1&c"]}),
        ("HEAD", " /v1/a#end ", {"method": ["HEAD"], "target": ["/v1/a"]}),
    ):
        form = {"method": method, "target": target, "headers": " "}
        there, _ = await led(client, "/caches", form)
        assert parse_qs(urlsplit(there).query) == query
        _, page = await led(client, there)
        assert f"{method} with 0 fields" in page
        assert f"<option selected>{method}" in page
        assert "left out" not in page


@pytest.mark.parametrize("target", HOSTILE, ids=range(len(HOSTILE)))
async def test_no_credential_of_an_explained_url_gets_into_an_address_a_page_or_the_log(
    client: Client, target: str
) -> None:
    encoded = quote(target, safe="")
    with capture_logs() as lines:
        for path in (
            f"/caches?target={encoded}",
            f"/caches?target=/v1/stream/a&target={encoded}",
            f"/caches?target=/v1/stream/a&url={encoded}",
            f"/caches?target={quote(target, safe='/:?@=')}",
        ):
            there, page = await led(client, path)
            assert CANARY not in f"{there}{page}", path
            assert there or "#" in target, path
            _, page = await led(client, there or path)
            assert CANARY not in page
            assert "what there was is left out" in page or not there
        for fields in ("", "Accept: text/a\n" + "".join(f"{it}: {CANARY}\n" for it in SECRETS)):
            there, page = await led(client, "/caches", {"target": target, "headers": fields})
            assert CANARY not in f"{there}{page}"
            offered = re.findall(r'href="(/caches\?[^"]+)">its address', page)
            assert all("%2Fv1%2Fstream%2Fa" in it and "left=out" in it for it in offered)
        # Before the sign-in, whose address names the page that comes after it.
        asked = f"/caches?target={encoded}"
        _, _, there = await client.led("GET", asked, token="", accept="text/html")
        assert there.startswith("/sign-in?next=")
        assert CANARY not in there
        regions = await client.regions(f"/caches?target={encoded}")
        assert CANARY not in json.dumps(regions)
    assert CANARY not in str(lines)


async def test_credentials_and_fields_count_in_the_form_and_the_offered_address_lacks_them(
    client: Client,
) -> None:
    for query, fields, count in (
        ("?offset=-1", f"Accept: text/plain\r\nauthorization: Bearer {CANARY}", 2),
        (f"?offset=-1&token={CANARY}", "", 0),
    ):
        form = {"method": "HEAD", "target": f"/v1/stream/a{query}", "headers": fields}
        there, page = await led(client, "/caches", form)
        assert there == ""
        assert f"HEAD with {count} fields" in page
        assert "“with your token”" in page
        (offered,) = re.findall(r'href="(/caches\?[^"]+)">its address', html.unescape(page))
        assert parse_qs(urlsplit(offered).query) == {
            "method": ["HEAD"],
            "target": ["/v1/stream/a?offset=-1"],
            "left": ["out"],
        }
        assert "HEAD with 0 fields" in (await led(client, offered))[1]


@pytest.mark.parametrize(("more", "is_address"), [(0, True), (1, False)])
async def test_a_longer_address_than_the_bound_is_neither_shown_nor_offered(
    client: Client, more: int, *, is_address: bool
) -> None:
    begin = f"/caches?{urlencode({'method': 'GET', 'target': '/v1/stream/'})}"
    target = "/v1/stream/" + "a" * (LONGEST_ADDRESS - len(begin) + more)
    there, page = await led(client, "/caches", {"target": target})
    assert bool(there) is is_address
    assert "its address" not in page


async def test_a_malformed_header_is_named_by_its_number_and_not_shown(client: Client) -> None:
    form = {"target": "/v1/stream/a", "headers": f"Accept: a\n\n{CANARY}"}
    _, page = await led(client, "/caches", form)
    assert "Header 2 has no colon: write Name: value." in page
    assert CANARY not in page.partition("</textarea>")[2]


async def test_a_path_is_explained_at_the_address_of_the_streams() -> None:
    board = Switchboard(answers=answers)
    async with console(board) as client:
        await client.page("/caches?target=/v1/stream/a")
        await client.page("/caches?target=https://h/b")
    asked = [it.target for it in board.asked if isinstance(it, ExplainRequest)]
    assert asked == ["http://127.0.0.1:4437/v1/stream/a", "https://h/b"]
