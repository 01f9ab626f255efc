"""Each recipe of docs/access.md does what it says, with the very files and commands it shows."""

from __future__ import annotations

import json
import re
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from playwright.sync_api import sync_playwright

from tests.support.handler_server import handler_server
from tests.support.processes import ROOT
from tests.support.recipes import Kitchen
from tests.support.unmodified_clients import CHROMIUM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Page

DOCUMENT = ROOT / "docs" / "access.md"
RECIPES = [
    "Tokens for servers",
    "Public read and private write",
    "Behind nginx",
    "Behind nginx that asks your application",
    "Behind a CDN",
]
OF_USERS = "Streams of each user, with JWTs"
OF_A_PAGE = "A browser app with EventSource"
ISSUER = "https://id.example.com/"


def test_every_documented_access_recipe_is_tested() -> None:
    text = DOCUMENT.read_text()
    listed = text.split("- Recipes: ")[1].split("\n\n")[0].replace("\n  ", " ")
    links = re.findall(r"\[[^\]]*\]\(#([\w-]+)\)", listed)
    tried = [
        re.sub(r"[^\w-]", "", title.lower().replace(" ", "-"))
        for title in (*RECIPES, OF_USERS, OF_A_PAGE)
    ]
    assert sorted(links) == sorted(tried)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("title", RECIPES)
def test_each_documented_access_recipe_does_what_it_says(title: str, tmp_path: Path) -> None:
    with Kitchen(DOCUMENT, tmp_path, {}, {}) as kitchen:
        assert kitchen.follow(title) >= 4


@pytest.mark.usefixtures("processes")
def test_the_recipe_for_users_of_an_identity_provider_does_what_it_says(tmp_path: Path) -> None:
    key = ECKey.generate_key("P-256", {"kid": "k1", "use": "sig", "alg": "ES256"})
    now = int(time.time())  # noqa: TID251 - as an issuer counts
    claims = {"iss": ISSUER, "aud": "streams", "iat": now, "exp": now + 300}
    tokens = {
        name.upper(): jwt.encode({"alg": "ES256", "kid": "k1"}, {**claims, "sub": name}, key)
        for name in ("ann", "ben")
    }
    with publishing({"keys": [key.as_dict(private=False)]}) as url:
        replaced = {f"{ISSUER}.well-known/jwks.json": url}
        with Kitchen(DOCUMENT, tmp_path, replaced, tokens) as kitchen:
            assert kitchen.follow(OF_USERS) >= 5


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(180)  # a token has to expire, and three programs and a browser start
def test_the_page_of_the_recipe_follows_a_stream_beyond_its_token_lifetime(tmp_path: Path) -> None:
    with (
        Kitchen(DOCUMENT, tmp_path, {"LIFETIME_S = 300": "LIFETIME_S = 6"}, {}) as kitchen,
        sync_playwright() as tool,
    ):
        assert kitchen.follow(OF_A_PAGE) >= 4
        path, _, *arguments = CHROMIUM
        with tool.chromium.launch(executable_path=path, args=arguments) as browser:
            page = browser.new_page()
            renewals: list[str] = []
            page.on("requestfinished", lambda it: renewals.append(it.url))
            application = f"http://127.0.0.1:{kitchen.ports[8000]}"
            page.goto(f"{application}/sign-in")
            page.goto(application)
            page.get_by_text("one").wait_for()
            # The network is away for a moment, as the next token is fetched.
            page.route("**/read-token", lambda it: it.abort(), times=1)
            # The third token is there when the first one has expired.
            wait_until_page(page, lambda: sum("/read-token" in it for it in renewals) >= 3)
            kitchen.type_in('curl -X POST $B/news -H "$A" -H "Content-Type: text/plain" -d two')
            page.get_by_text("one two", exact=True).wait_for()


def wait_until_page(page: Page, condition: Callable[[], bool]) -> None:
    """Wait for what happens in a page, of which one is told while one asks it."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        page.wait_for_timeout(20)


@contextmanager
def publishing(keys: object) -> Iterator[str]:
    """The URL at which an identity provider has its public keys."""

    class Provider(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(keys).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with handler_server(Provider) as port:
        yield f"http://127.0.0.1:{port}/jwks.json"
