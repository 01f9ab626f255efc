"""What of a tokens_file and of the settings has no effect is told, and hinders nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_gateway.access.authorities import Authorities, check_authorities
from headgate_gateway.access.token_findings import GuardedRoute, findings
from headgate_gateway.access.tokens_file import parse_tokens
from headgate_gateway.settings import load
from tests.support.log_lines import capture_logs
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from headgate_gateway.settings import Settings

ROUTES = [GuardedRoute(it, frozenset()) for it in ("/v1/stream", "/v1/stream/deep", "/other")]
OTHER = GuardedRoute("/v1/streams", frozenset({"tokens", "jwt"}))
ANN = f"""
[[tokens]]
name = "ann"
token = "sha256:{"0" * 64}"
"""


def doubts(text: str) -> tuple[str, ...]:
    file = parse_tokens("t.toml", text.encode())
    return findings("t.toml", file, ROUTES)


def granting(*patterns: str) -> str:
    grants = [f'{{ streams = "{pattern}", operations = ["read"] }}' for pattern in patterns]
    return f"{ANN}grants = [{', '.join(grants)}]\n"


@pytest.mark.parametrize(
    "pattern", ["/*", "/v1/*", "/v1/stream/*", "/v1/stream/a", "/v1/stream/a/b/*", "/other/*"]
)
def test_a_pattern_that_can_match_a_stream_causes_no_warning(pattern: str) -> None:
    assert doubts(f'{granting(pattern)}[reader_keys]\n"{pattern}" = 1\n') == ()


@pytest.mark.parametrize(
    "pattern", ["/v1", "/v1/stream", "/v1/streams/*", "/v1/straem/a", "/v2/*", "/stream/a/b"]
)
def test_a_pattern_below_no_route_causes_a_warning(pattern: str) -> None:
    below = f"{pattern}, which is below no route:"
    assert doubts(f'{granting("/other/a", pattern)}[reader_keys]\n"{pattern}" = 1\n') == (
        f"t.toml: the token ann has a grant of {below} it grants nothing",
        f"t.toml: reader_keys has {below} it is the version of nothing",
    )


def test_a_revoked_name_that_no_token_has_causes_a_warning() -> None:
    revoked = '[[revoked]]\nname = "ann"\n[[revoked]]\nname = "anne"\n[[revoked]]\nsub = "x"\n'
    assert doubts(granting("/other/a") + revoked) == (
        "t.toml: revoked has the name anne, which no token of the file has: it ends nothing",
    )


@pytest.mark.parametrize(
    ("pattern", "is_shut"),
    [("/v1/stream/a", False), ("/v1/*", False), ("/v1/streams/*", True), ("/v1/stream", True)],
)
def test_a_route_that_no_token_opens_causes_a_warning(pattern: str, is_shut: bool) -> None:
    file = parse_tokens("t.toml", granting(pattern).encode())
    shut = GuardedRoute("/v1/stream", frozenset({"tokens"}))
    told = findings("t.toml", file, [*ROUTES[1:], shut, OTHER])
    sentence = (
        "t.toml: no token has a grant below /v1/stream, where auth asks for a token: it permits "
        "nobody anything that anonymous does not"
    )
    assert (sentence in told) is is_shut


async def test_a_route_that_no_token_opens_is_named_at_check(tmp_path: Path) -> None:
    tokens, config = tmp_path / "tokens.toml", tmp_path / "h.toml"
    tokens.write_text(granting("/v2/*"))
    routes = (
        f'[[routes]]\nprefix = "{prefix}"\nstorage = "memory:"\nauth = {auth}\n'
        for prefix, auth in (("/v1", '["tokens"]'), ("/v2", '["tokens"]'), ("/v3", '"none"'))
    )
    config.write_text(f'credentials.tokens_file = "{tokens}"\n{"".join(routes)}')
    (told,) = check_authorities(load(config, {}, {}))
    assert "no token has a grant below /v1, where" in told


@pytest.mark.parametrize(("count", "last"), [(20, "n19"), (21, "1 more names and paths")])
def test_warnings_of_a_tokens_file_are_limited_to_21_lines(count: int, last: str) -> None:
    told = doubts("".join(f'[[revoked]]\nname = "n{number:02}"\n' for number in range(count)))
    assert len(told) <= 21
    assert last in told[-1]
    assert ("n19" in told[19], "n20" in "".join(told)) == (True, False)


def loaded(folder: Path, issuer_grants: str) -> Settings:
    config = folder / "h.toml"
    config.write_text(
        f"""
        auth = ["tokens", "jwt"]
        credentials.tokens_file = "{folder / "tokens.toml"}"
        [[credentials.jwt_issuers]]
        issuer = "id"
        audience = "streams"
        algorithms = ["ES256"]
        jwks = "https://id.example.com/jwks"
        grants = [{{ streams = "{issuer_grants}", operations = ["read"] }}]
        """
    )
    return load(config, {}, {})


@pytest.mark.parametrize("streams", ["/v1/{tenant}/*", "/{a}/{b}/{c}", "/v1/stream/{sub}"])
def test_a_claim_within_a_route_prefix_causes_no_warning(streams: str, tmp_path: Path) -> None:
    (tmp_path / "tokens.toml").write_text("")
    assert check_authorities(loaded(tmp_path, streams)) == ()


async def test_warnings_of_a_tokens_file_are_logged_at_the_start_and_after_each_change(
    tmp_path: Path,
) -> None:
    tokens = tmp_path / "tokens.toml"
    tokens.write_text('[[revoked]]\nname = "anne"\n')
    settings = loaded(tmp_path, "/v2/{sub}/*")
    of_issuer = (
        "credentials.jwt_issuers[0].grants has /v2/{sub}/*, which is below no route: it grants "
        "nothing"
    )
    first, second = (
        f"{tokens}: revoked has the name {name}, which no token of the file has: it ends nothing"
        for name in ("anne", "bens")
    )
    assert check_authorities(settings) == (of_issuer, first)
    authorities = Authorities(settings, lambda: 0.0)
    with capture_logs() as lines:
        authorities.start()
        tokens.write_text('[[revoked]]\nname = "bens"\n')
        try:
            await until(lambda: lines[-1].get("what") == second)
        finally:
            await authorities.stop()
    said = [line["what"] for line in lines if line["event"] == "access.no_effect"]
    assert said == [of_issuer, first, second]
    levels = {line["log_level"] for line in lines if line["event"] == "access.no_effect"}
    assert levels == {"warning"}
