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


ROUTE = '[[routes]]\nprefix = "/a"\norigin = "memory:"\n'
LEFT_OUT = "must be left out while no credential is asked for: say by which credentials"
MISTAKES = {
    "no-issuer": (
        table(issuer=""),
        "h.toml:1: jwt_issuers[0].issuer is missing; it must be text as it",
    ),
    "an-empty-issuer": (
        table(issuer='""'),
        'jwt_issuers[0].issuer is "", but must be text as it stands in the',
    ),
    "no-audience": (table(audience=""), "jwt_issuers[0].audience is missing"),
    "an-empty-jwks": (
        table(jwks='""'),
        "but must be an https URL, or the path of a file, of a JSON Web Key Set.",
    ),
    "jwks-by-http": (
        table(jwks='"http://id.example.com/"'),
        "must be https: who changes the answer",
    ),
    "jwks-with-user-info": (
        table(jwks='"https://u:p@id.example.com/"'),
        '"https://***@id.example.com/", but must be an',
    ),
    "jwks-with-a-fragment": (
        table(jwks='"https://id.example.com/#x"'),
        "but must be an https URL",
    ),
    "no-algorithms": (
        table(algorithms=""),
        "jwt_issuers[0].algorithms is missing; it must be a list of sign",
    ),
    "an-empty-list-of-algorithms": (
        table(algorithms="[]"),
        "jwt_issuers[0].algorithms is [], but must be a list of signature",
    ),
    "an-algorithm-of-shared-secrets": (
        table(algorithms='["HS256"]'),
        'jwt_issuers[0].algorithms is ["HS256"], but must be',
    ),
    "a-leeway-over-five-minutes": (
        table(leeway="301"),
        "jwt_issuers[0].leeway is 301, but must be a whole number of seconds",
    ),
    "a-leeway-of-true": (
        table(leeway="true"),
        "jwt_issuers[0].leeway is true, but must be a whole number of",
    ),
    "no-grants": (
        table(grants=""),
        "must be given, or grants_claim: else no token would permit anything.",
    ),
    "a-claim-beside-other-characters-of-a-segment": (
        table(grants='[{ streams = "/s/{sub}x", operations = ["read"] }]'),
        'jwt_issuers[0].grants[0].streams is "/s/{sub}x", but must have each {claim} as one',
    ),
    "a-star-amid-a-path": (
        table(grants='[{ streams = "/s/*/x", operations = ["read"] }]'),
        "it has a * before its end.",
    ),
    "an-unknown-operation": (
        table(grants='[{ streams = "/s", operations = ["write"] }]'),
        'jwt_issuers[0].grants[0].operations is ["write"], but must be',
    ),
    "an-unknown-key": (table(kid='"x"'), "h.toml:7: jwt_issuers[0].kid is not a setting"),
    "a-misspelt-key": (table(audiences='"x"'), "is not a setting; the nearest is audience."),
    "an-issuer-twice": (
        f"{table()}\n{table()}",
        'h.toml:8: jwt_issuers[1].issuer is "https://id.example.com/", but must not be the issuer '
        "of jwt_issuers[0] too.",
    ),
    "conceal-where-the-origin-decides": (
        f'{ROUTE.replace("memory:", "http://127.0.0.1:1")}conceal = "on"\nauth = "origin"',
        'conceal is "on", but must be off: the origin refuses in its own words',
    ),
    "anonymous-without-auth": (
        f'{ROUTE}anonymous = ["read"]',
        f'routes[0].anonymous is ["read"], but {LEFT_OUT}',
    ),
    "conceal-without-auth": (
        f'{ROUTE}conceal = "on"',
        f'routes[0].conceal is "on", but {LEFT_OUT}',
    ),
    "visibility-without-auth": (
        f'{ROUTE}visibility = "private"',
        f'routes[0].visibility is "private", but {LEFT_OUT}',
    ),
    "reader-keys-without-auth": (
        f'{ROUTE}reader_keys = "on"',
        'reader_keys is "on", but must be off: the route is public',
    ),
    "reader-keys-of-a-public-route": (
        f'{ROUTE}auth = "tokens"\nreader_keys = "on"\nanonymous = "read"',
        'routes[0].reader_keys is "on", but must be off: the route is public',
    ),
    "reader-keys-without-keys-file": (
        f'{ROUTE}auth = "tokens"\nreader_keys = "on"',
        'routes[0].reader_keys is "on", but must be off without keys_file',
    ),
    "tokens-file-without-routes": (
        'tokens_file = "t"',
        'h.toml:1: tokens_file is "t", but must be left out, or used',
    ),
    "tokens-file-with-auth-none": (
        f'tokens_file = "t"\n{ROUTE}auth = "none"',
        'h.toml:1: tokens_file is "t", but must be left out, or used: auth of no route has',
    ),
    "an-issuer-without-jwt-routes": (
        f'auth = "tokens"\n{table()}',
        'h.toml:2: jwt_issuers is ["https://id.example.com/"], but must be left out, or used',
    ),
    **{
        f"an-unknown-kind-{where}": (text, f"auth is {shown}, but must be none, or a list of ")
        for where, text, shown in (
            ("alone", 'auth = "passkeys"', '"passkeys"'),
            ("beside-a-known-one", 'auth = ["tokens", "passkeys"]', '["tokens", "passkeys"]'),
            ("of-a-route", f'auth = "tokens"\n{ROUTE}auth = ["pass"]', '["pass"]'),
            ("that-only-routes-know", 'auth = "origin"', '"origin"'),
        )
    },
    "anonymous-with-an-unknown-operation": (
        f'{ROUTE}auth = "tokens"\nanonymous = ["write"]',
        'routes[0].anonymous is ["write"], but must be a list of read, append, create, close, '
        "delete.",
    ),
}


@pytest.mark.parametrize(("text", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_the_settings_of_access_is_reported_with_its_place(
    tmp_path: Path, text: str, said: str
) -> None:
    config = tmp_path / "h.toml"
    config.write_text(text)
    with pytest.raises(SettingsError) as refusal:
        load(config, {}, {})
    (sentence,) = refusal.value.problems
    sentence = sentence.replace(str(config), "h.toml")
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
