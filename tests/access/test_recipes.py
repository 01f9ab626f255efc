"""Each recipe of docs/access.md does what it says, with the very files and commands it shows."""

from __future__ import annotations

import json
import re
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from tests.access.recipes import DOCUMENT, Kitchen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RECIPES = [
    "Tokens for servers",
    "Public read and private write",
    "Behind nginx",
    "Behind nginx that asks your application",
    "Behind a CDN",
]
OF_USERS = "Streams of each user, with JWTs"
ISSUER = "https://id.example.com/"


def test_every_recipe_is_tried() -> None:
    text = DOCUMENT.read_text()
    listed = text.split("- Recipes: ")[1].split("\n\n")[0].replace("\n  ", " ")
    links = re.findall(r"\[[^\]]*\]\(#([\w-]+)\)", listed)
    tried = [
        re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")) for title in (*RECIPES, OF_USERS)
    ]
    assert sorted(links) == sorted(tried)


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_does_what_it_says(title: str, tmp_path: Path) -> None:
    with Kitchen(tmp_path, {}, {}) as kitchen:
        assert kitchen.follow(title) >= 4


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
        with Kitchen(tmp_path, replaced, tokens) as kitchen:
            assert kitchen.follow(OF_USERS) >= 5


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

    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/jwks.json"
    server.shutdown()
    thread.join()
    server.server_close()
