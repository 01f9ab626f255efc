"""What the first lines of each file say: for which routes it is, and how their readers sign in."""

from __future__ import annotations

import json

import pytest

from headgate_cdn.options import ALWAYS_IDENTITY, MOST_LISTED, Options, from_settings
from headgate_cdn.purpose import WIDTH, purpose
from headgate_cdn.render import render
from headgate_cdn.targets import TARGETS
from headgate_gateway.settings import Route, Settings

OWN = (
    "nobody signs in, unless by Authorization, a token in the URL or the cookie __Secure-headgate; "
)
DEFAULT = f"Made for one own log at /v1/stream: {OWN}no other cookie counts."
ORIGIN = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("routes", "words"),
    [
        pytest.param((), DEFAULT, id="no-route"),
        pytest.param(
            (Route(prefix="/a", storage="memory:"), Route(prefix="/b", storage="memory:")),
            f"Made for 2 own logs at /a, /b: {OWN}no other cookie counts.",
            id="two-logs",
        ),
        pytest.param(
            (Route(prefix="/a", origin=ORIGIN, identity_headers=("X-Shop",)),),
            "Made for one origin at /a: readers sign in by Authorization, any cookie, X-Api-Key, "
            "X-Auth-Token, X-Access-Token, X-Session-Id, X-User-Id, X-Tenant-Id, "
            "X-Forwarded-User, X-Auth-Request-User, Cf-Access-Jwt-Assertion, "
            "X-Goog-Iap-Jwt-Assertion, X-Ms-Client-Principal-Id, X-Amzn-Oidc-Data, X-Account-Id, "
            "X-Org-Id, X-Organization-Id, DPoP, X-Shop.",
            id="an-origin",
        ),
        pytest.param(
            (Route(prefix="/a", storage="memory:"), Route(prefix="/a/b", origin=ORIGIN)),
            f"Made for one own log at /a: {OWN}others count below /a alone, where an origin is. "
            "Made for one origin at /a/b: readers sign in by Authorization, any cookie, ",
            id="an-origin-below-a-log",
        ),
    ],
)
def test_the_purpose_names_each_route_and_how_its_readers_sign_in(
    routes: tuple[Route, ...], words: str
) -> None:
    said = purpose(from_settings(Settings(auth=("none",), routes=routes)))
    assert said.startswith(words)
    assert said.endswith(".")


def test_nobody_signs_in_at_an_origin_whose_identity_headers_are_all_dropped() -> None:
    options = Options(prefixes=("/a",), own_logs=(), identity_headers=())
    assert purpose(options) == "Made for one origin at /a: nobody signs in."


@pytest.mark.parametrize("name", TARGETS)
def test_each_file_says_in_its_first_lines_for_which_routes_it_is(name: str) -> None:
    target = TARGETS[name]
    for prefix in ("/v1/stream", "/chat"):
        options = Options(
            host="a.example",
            upstream="gateway:4437",
            prefixes=(prefix,),
            own_logs=(prefix,),
        )
        text = render(target, options)
        said = DEFAULT.replace("/v1/stream", prefix)
        if target.comment == "json":
            assert ("purpose", said) in list(json.loads(text).items())[:4]
            continue
        first, *lines = text.splitlines()
        assert first.startswith(f"{target.comment} headgate cdn {name} ")
        told = [line.removeprefix(f"{target.comment} ") for line in lines[:2]]
        assert " ".join(told) == said


def test_the_lines_of_a_purpose_are_comments_and_short_whatever_the_routes() -> None:
    prefixes = tuple(f"/{number:0255}" for number in range(MOST_LISTED))
    names = (*ALWAYS_IDENTITY, *(f"X-{'a' * 200}-{number}" for number in range(MOST_LISTED - 2)))
    options = Options(
        host="a.example", prefixes=prefixes, own_logs=prefixes[::2], identity_headers=names
    )
    lines = render(TARGETS["haproxy"], options).splitlines()
    end = next(at for at, line in enumerate(lines) if not line.startswith("#"))
    made = " ".join(line.removeprefix("# ") for line in lines[1:end])
    assert made.startswith(purpose(options))
    assert max(len(line) for line in lines[1:end]) <= max(WIDTH, 256 + len("# ,"))
