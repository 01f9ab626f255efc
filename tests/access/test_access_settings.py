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


def test_an_issuer_is_taken(tmp_path: Path) -> None:
    config = tmp_path / "h.toml"
    config.write_text(table() + "\n" + table(issuer='"other"', jwks='"jwks.json"'))
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
def test_a_mistake_of_an_issuer_is_told(tmp_path: Path, more: dict[str, str], said: str) -> None:
    (sentence,) = refusals(tmp_path, table(**more))
    assert said in sentence
    assert sentence.startswith("h.toml:")


def test_an_issuer_stands_once(tmp_path: Path) -> None:
    assert refusals(tmp_path, f"{table()}\n{table()}") == (
        'h.toml:8: jwt_issuers[1].issuer is "https://id.example.com/", but must not be the issuer '
        "of jwt_issuers[0] too.",
    )


def test_an_origin_that_decides_conceals_itself(tmp_path: Path) -> None:
    route = '[[routes]]\nprefix = "/s"\norigin = "http://127.0.0.1:1"\nconceal = "on"\nauth = '
    (sentence,) = refusals(tmp_path, f'{route}"origin"')
    assert 'conceal is "on", but must be off: the origin refuses in its own words' in sentence
    config = tmp_path / "h.toml"
    config.write_text(f'{route}"none"')
    assert load(config, {}, {}).routes[0].conceal == "on"
