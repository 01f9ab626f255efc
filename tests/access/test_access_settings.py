from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_gateway.settings import SettingsError, load

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
    return "\n".join(["[[credentials.jwt_issuers]]", *lines])


def test_issuers_with_remote_and_local_keys_are_accepted(tmp_path: Path) -> None:
    config = tmp_path / "h.toml"
    config.write_text(
        'auth = "jwt"\n' + table() + "\n" + table(issuer='"other"', jwks='"jwks.json"')
    )
    first, second = load(config, {}, {}).credentials.jwt_issuers
    assert (first.is_remote, second.is_remote) == (True, False)


ROUTE = '[[routes]]\nprefix = "/a"\nstorage = "memory:"\n'
HTTP_ROUTE = '[[routes]]\nprefix = "/a"\norigin = "http://127.0.0.1:1"\n'
LEFT_OUT = "must be left out while no credential is asked for: say by which credentials"
MISTAKES = {
    "h.toml:1: credentials.jwt_issuers[0].issuer is missing; it must be text as it": table(
        issuer=""
    ),
    'credentials.jwt_issuers[0].issuer is "", but must be text as it stands in the': table(
        issuer='""'
    ),
    "credentials.jwt_issuers[0].audience is missing": table(audience=""),
    "but must be an https URL, or the path of a file, of a JSON Web Key Set.": table(jwks='""'),
    "must be https: who changes the answer": table(jwks='"http://id.example.com/"'),
    "not shown here (27 characters), but must be an": table(jwks='"https://u:p@id.example.com/"'),
    "but must be an https URL": table(jwks='"https://id.example.com/#x"'),
    "credentials.jwt_issuers[0].algorithms is missing; it must be a list of sign": table(
        algorithms=""
    ),
    "credentials.jwt_issuers[0].algorithms is [], but must be a list of signature": table(
        algorithms="[]"
    ),
    'credentials.jwt_issuers[0].algorithms is ["HS256"], but must be': table(
        algorithms='["HS256"]'
    ),
    "must be given, or grants_claim: else no token would permit anything.": table(grants=""),
    'grants[0].streams is "/s/{sub}x", but must have each {claim} as one': (
        table(grants='[{ streams = "/s/{sub}x", operations = ["read"] }]')
    ),
    "it has a * before its end.": table(grants='[{ streams = "/s/*/x", operations = ["read"] }]'),
    'credentials.jwt_issuers[0].grants[0].operations is ["write"], but must be': (
        table(grants='[{ streams = "/s", operations = ["write"] }]')
    ),
    "h.toml:7: credentials.jwt_issuers[0].kid is not a setting": table(kid='"x"'),
    "is not a setting; the nearest is credentials.jwt_issuers[0].audience.": table(audiences='"x"'),
    (
        "h.toml:8: credentials.jwt_issuers[1].issuer is not shown here (23 characters), but must "
        "not be the issuer of credentials.jwt_issuers[0] too."
    ): f"{table()}\n{table()}",
    'conceal is "on", but must be off: the origin refuses in its own words': (
        f'{HTTP_ROUTE}conceal = "on"\nauth = "origin"'
    ),
    f'routes[0].anonymous is ["read"], but {LEFT_OUT}': f'{ROUTE}anonymous = ["read"]',
    f'routes[0].conceal is "on", but {LEFT_OUT}': f'{ROUTE}conceal = "on"',
    f'routes[0].listing is "on", but {LEFT_OUT}': f'{ROUTE}listing = "on"',
    f'routes[0].visibility is "private", but {LEFT_OUT}': f'{ROUTE}visibility = "private"',
    'reader_keys is "on", but must be off: the route is public': f'{ROUTE}reader_keys = "on"',
    'routes[0].reader_keys is "on", but must be off: the route is public': (
        f'{ROUTE}auth = "tokens"\nreader_keys = "on"\nanonymous = "read"'
    ),
    'routes[0].reader_keys is "on", but must be off without credentials.keys_file': (
        f'{ROUTE}auth = "tokens"\nreader_keys = "on"'
    ),
    'h.toml:1: credentials.tokens_file is "t", but must be left out, or used': (
        'credentials.tokens_file = "t"'
    ),
    'credentials.tokens_file is "t", but must be left out, or used: auth of no route has': (
        f'credentials.tokens_file = "t"\n{ROUTE}auth = "none"'
    ),
    "credentials.jwt_issuers is a list of tables, but must be left out, or used": (
        f'auth = "tokens"\n{table()}'
    ),
    (
        'routes[0].anonymous is ["write"], but must be a list of read, append, create, close, '
        "delete."
    ): f'{ROUTE}auth = "tokens"\nanonymous = ["write"]',
    **{
        f"auth is {shown}, but must be none, or a list of ": text
        for text, shown in (
            ('auth = "passkeys"', '"passkeys"'),
            ('auth = ["tokens", "passkeys"]', '["tokens", "passkeys"]'),
            (f'auth = "tokens"\n{ROUTE}auth = ["pass"]', '["pass"]'),
            ('auth = "origin"', '"origin"'),  # which only routes know
        )
    },
}


@pytest.mark.parametrize(("said", "text"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_of_access_is_reported_with_a_line(tmp_path: Path, said: str, text: str) -> None:
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
        f'{ROUTE}auth = "none"\nvisibility = "private"',  # a proxy in front asks
        f'credentials.tokens_file = "t"\n{ROUTE}auth = "jwt"',  # revocations are in the file
        f'auth = "tokens"\n{ROUTE}anonymous = "read"\nconceal = "on"\nvisibility = "private"',
    ],
    ids=["private-without-auth", "a-tokens-file-for-jwt", "tokens-with-all-settings"],
)
def test_access_settings_with_an_effect_are_accepted(tmp_path: Path, text: str) -> None:
    config = tmp_path / "h.toml"
    config.write_text(text)
    assert load(config, {}, {}).routes[0].prefix == "/a"
