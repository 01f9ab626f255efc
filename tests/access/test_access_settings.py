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
        ({"issuer": ""}, "h.toml:1: jwt_issuers[0].issuer is missing; it must be text as it"),
        ({"issuer": '""'}, 'jwt_issuers[0].issuer is "", but must be text as it stands in the'),
        ({"audience": ""}, "jwt_issuers[0].audience is missing"),
        ({"jwks": '""'}, "but must be an https URL, or the path of a file, of a JSON Web Key Set."),
        ({"jwks": '"http://id.example.com/"'}, "must be https: who changes the answer"),
        (
            {"jwks": '"https://u:p@id.example.com/"'},
            '"https://***@id.example.com/", but must be an',
        ),
        ({"jwks": '"https://id.example.com/#x"'}, "but must be an https URL"),
        ({"jwks": '"ftp://id.example.com/"'}, "but must be an https URL"),
        ({"algorithms": ""}, "jwt_issuers[0].algorithms is missing; it must be a list of sign"),
        ({"algorithms": "[]"}, "jwt_issuers[0].algorithms is [], but must be a list of signature"),
        ({"algorithms": '["HS256"]'}, 'jwt_issuers[0].algorithms is ["HS256"], but must be'),
        ({"algorithms": '["none"]'}, 'jwt_issuers[0].algorithms is ["none"], but must be'),
        ({"leeway": "301"}, "jwt_issuers[0].leeway is 301, but must be a whole number of seconds"),
        ({"leeway": "true"}, "jwt_issuers[0].leeway is true, but must be a whole number of"),
        ({"grants": ""}, "must be given, or grants_claim: else no token would permit anything."),
        (
            {"grants": '[{ streams = "/s/{sub}x", operations = ["read"] }]'},
            'jwt_issuers[0].grants[0].streams is "/s/{sub}x", but must have each {claim} as one',
        ),
        (
            {"grants": '[{ streams = "/s/*/x", operations = ["read"] }]'},
            "it has a * before its end.",
        ),
        (
            {"grants": '[{ streams = "/s/../x", operations = ["read"] }]'},
            "the path has a dot segment.",
        ),
        (
            {"grants": '[{ streams = "/s/%7Ex", operations = ["read"] }]'},
            "written /s/~x.",
        ),
        (
            {"grants": '[{ streams = "/s", operations = ["write"] }]'},
            'jwt_issuers[0].grants[0].operations is ["write"], but must be',
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
        (f'{ROUTE}anonymous = ["read"]', f'routes[0].anonymous is ["read"], but {LEFT_OUT}'),
        (f'{ROUTE}conceal = "on"', f'routes[0].conceal is "on", but {LEFT_OUT}'),
        (f'auth = "none"\n{ROUTE}conceal = "on"', f'routes[0].conceal is "on", but {LEFT_OUT}'),
        (f'{ROUTE}visibility = "private"', f'routes[0].visibility is "private", but {LEFT_OUT}'),
        (f'{ROUTE}reader_keys = "on"', 'reader_keys is "on", but must be off: the route is public'),
        (
            f'{ROUTE}auth = "tokens"\nreader_keys = "on"\nanonymous = "read"',
            'routes[0].reader_keys is "on", but must be off: the route is public',
        ),
        (
            f'{ROUTE}auth = "tokens"\nreader_keys = "on"',
            'routes[0].reader_keys is "on", but must be off without keys_file',
        ),
        ('tokens_file = "t"', 'h.toml:1: tokens_file is "t", but must be left out, or used'),
        (
            f'tokens_file = "t"\n{ROUTE}auth = "none"',
            'h.toml:1: tokens_file is "t", but must be left out, or used: auth of no route has',
        ),
        (
            f'auth = "tokens"\n{table()}',
            'h.toml:2: jwt_issuers is ["https://id.example.com/"], but must be left out, or used',
        ),
        (
            f'{ROUTE}auth = "tokens"\nanonymous = ["write"]',
            'routes[0].anonymous is ["write"], but must be a list of read, append, create, close, '
            "delete.",
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
        f'{ROUTE}auth = "none"\nvisibility = "private"',  # a proxy in front asks
        f'tokens_file = "t"\n{ROUTE}auth = "jwt"',  # revocations stand in it
        f'auth = "tokens"\n{ROUTE}anonymous = "read"\nconceal = "on"\nvisibility = "private"',
    ],
)
def test_access_settings_with_an_effect_are_accepted(tmp_path: Path, text: str) -> None:
    config = tmp_path / "h.toml"
    config.write_text(text)
    assert load(config, {}, {}).routes[0].prefix == "/a"
