from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.settings import SettingsError, load

if TYPE_CHECKING:
    from pathlib import Path

ISSUER = {
    "issuer": '"https://id.example.com/"',
    "audience": '"streams"',
    "jwks": '"https://id.example.com/jwks"',
    "algorithms": '["ES256"]',
    "grants": '[{ streams = "/s/{sub}/*", operations = ["read"] }]',
}


def refusals(tmp_path: Path, text: str) -> tuple[str, ...]:
    config = tmp_path / "h.toml"
    config.write_text(text)
    with pytest.raises(SettingsError) as refusal:
        load(config, {}, {})
    return tuple(sentence.replace(str(config), "h.toml") for sentence in refusal.value.problems)


def table(**more: str) -> str:
    lines = [f"{key} = {value}" for key, value in {**ISSUER, **more}.items() if value]
    return "\n".join(["[[jwt_issuers]]", *lines])


def test_issuers_with_remote_and_local_keys_are_accepted(tmp_path: Path) -> None:
    config = tmp_path / "h.toml"
    config.write_text(
        'auth = "jwt"\n' + table() + "\n" + table(issuer='"other"', jwks='"jwks.json"')
    )
    first, second = load(config, {}, {}).jwt_issuers
    assert (first.is_remote, second.is_remote, first.leeway) == (True, False, 30)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        pytest.param(
            {"issuer": ""},
            "h.toml:1: jwt_issuers[0].issuer is missing; it must be text as it",
            id="no-issuer",
        ),
        pytest.param(
            {"issuer": '""'},
            'jwt_issuers[0].issuer is "", but must be text as it stands in the',
            id="an-empty-issuer",
        ),
        ({"audience": ""}, "jwt_issuers[0].audience is missing"),
        pytest.param(
            {"jwks": '""'},
            "but must be an https URL, or the path of a file, of a JSON Web Key Set.",
            id="an-empty-jwks",
        ),
        ({"jwks": '"http://id.example.com/"'}, "must be https: who changes the answer"),
        (
            {"jwks": '"https://u:p@id.example.com/"'},
            '"https://***@id.example.com/", but must be an',
        ),
        ({"jwks": '"https://id.example.com/#x"'}, "but must be an https URL"),
        pytest.param(
            {"algorithms": ""},
            "jwt_issuers[0].algorithms is missing; it must be a list of sign",
            id="no-algorithms",
        ),
        pytest.param(
            {"algorithms": "[]"},
            "jwt_issuers[0].algorithms is [], but must be a list of signature",
            id="an-empty-list-of-algorithms",
        ),
        ({"algorithms": '["HS256"]'}, 'jwt_issuers[0].algorithms is ["HS256"], but must be'),
        pytest.param(
            {"leeway": "301"},
            "jwt_issuers[0].leeway is 301, but must be a whole number of seconds",
            id="a-leeway-over-five-minutes",
        ),
        ({"leeway": "true"}, "jwt_issuers[0].leeway is true, but must be a whole number of"),
        pytest.param(
            {"grants": ""},
            "must be given, or grants_claim: else no token would permit anything.",
            id="no-grants",
        ),
        pytest.param(
            {"grants": '[{ streams = "/s/{sub}x", operations = ["read"] }]'},
            'jwt_issuers[0].grants[0].streams is "/s/{sub}x", but must have each {claim} as one',
            id="a-claim-beside-other-characters-of-a-segment",
        ),
        pytest.param(
            {"grants": '[{ streams = "/s/*/x", operations = ["read"] }]'},
            "it has a * before its end.",
            id="a-star-amid-a-path",
        ),
        pytest.param(
            {"grants": '[{ streams = "/s", operations = ["write"] }]'},
            'jwt_issuers[0].grants[0].operations is ["write"], but must be',
            id="an-unknown-operation",
        ),
        ({"kid": '"x"'}, "h.toml:7: jwt_issuers[0].kid is not a setting"),
        ({"audiences": '"x"'}, "is not a setting; the nearest is audience."),
    ],
)
def test_a_mistake_in_the_settings_of_an_issuer_is_reported_with_its_place(
    tmp_path: Path, more: dict[str, str], said: str
) -> None:
    (sentence,) = refusals(tmp_path, table(**more))
    assert said in sentence
    assert sentence.startswith("h.toml:")


def test_an_issuer_configured_twice_is_refused(tmp_path: Path) -> None:
    assert refusals(tmp_path, f"{table()}\n{table()}") == (
        'h.toml:8: jwt_issuers[1].issuer is "https://id.example.com/", but must not be the issuer '
        "of jwt_issuers[0] too.",
    )


def test_conceal_is_refused_where_the_origin_decides_on_access(tmp_path: Path) -> None:
    route = '[[routes]]\nprefix = "/s"\norigin = "http://127.0.0.1:1"\nconceal = "on"\nauth = '
    (sentence,) = refusals(tmp_path, f'{route}"origin"')
    assert 'conceal is "on", but must be off: the origin refuses in its own words' in sentence


ROUTE = '[[routes]]\nprefix = "/a"\norigin = "memory:"\n'
LEFT_OUT = "must be left out while no credential is asked for: say by which credentials"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(
            f'{ROUTE}anonymous = ["read"]',
            f'routes[0].anonymous is ["read"], but {LEFT_OUT}',
            id="anonymous-without-auth",
        ),
        pytest.param(
            f'{ROUTE}conceal = "on"',
            f'routes[0].conceal is "on", but {LEFT_OUT}',
            id="conceal-without-auth",
        ),
        pytest.param(
            f'{ROUTE}visibility = "private"',
            f'routes[0].visibility is "private", but {LEFT_OUT}',
            id="visibility-without-auth",
        ),
        pytest.param(
            f'{ROUTE}reader_keys = "on"',
            'reader_keys is "on", but must be off: the route is public',
            id="reader-keys-without-auth",
        ),
        pytest.param(
            f'{ROUTE}auth = "tokens"\nreader_keys = "on"\nanonymous = "read"',
            'routes[0].reader_keys is "on", but must be off: the route is public',
            id="reader-keys-of-a-public-route",
        ),
        pytest.param(
            f'{ROUTE}auth = "tokens"\nreader_keys = "on"',
            'routes[0].reader_keys is "on", but must be off without keys_file',
            id="reader-keys-without-keys-file",
        ),
        ('tokens_file = "t"', 'h.toml:1: tokens_file is "t", but must be left out, or used'),
        pytest.param(
            f'tokens_file = "t"\n{ROUTE}auth = "none"',
            'h.toml:1: tokens_file is "t", but must be left out, or used: auth of no route has',
            id="tokens-file-with-auth-none",
        ),
        pytest.param(
            f'auth = "tokens"\n{table()}',
            'h.toml:2: jwt_issuers is ["https://id.example.com/"], but must be left out, or used',
            id="an-issuer-without-jwt-routes",
        ),
        pytest.param(
            f'{ROUTE}auth = "tokens"\nanonymous = ["write"]',
            'routes[0].anonymous is ["write"], but must be a list of read, append, create, close, '
            "delete.",
            id="anonymous-with-an-unknown-operation",
        ),
    ],
)
def test_access_settings_without_effect_on_a_route_are_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    (sentence,) = refusals(tmp_path, text)
    assert said in sentence
    assert sentence.startswith("h.toml:")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            f'{ROUTE}auth = "none"\nvisibility = "private"', id="private-without-auth"
        ),  # a proxy in front asks
        pytest.param(
            f'tokens_file = "t"\n{ROUTE}auth = "jwt"', id="a-tokens-file-for-jwt"
        ),  # revocations stand in it
        pytest.param(
            f'auth = "tokens"\n{ROUTE}anonymous = "read"\nconceal = "on"\nvisibility = "private"',
            id="tokens-with-all-settings",
        ),
    ],
)
def test_access_settings_with_an_effect_are_accepted(tmp_path: Path, text: str) -> None:
    config = tmp_path / "h.toml"
    config.write_text(text)
    assert load(config, {}, {}).routes[0].prefix == "/a"
