"""The settings of caches that are purged: what each kind needs, and what could break out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from headgate_gateway.settings import Settings, SettingsError, load
from tests.purge.double import file_of
from tests.support.given_settings import variables

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "hunter2-hunter2"
FASTLY = {"kind": "fastly", "zone": "SU1Z0isxPaozGVKXdv0eY", "token_file": SECRET}
VARNISH = {"kind": "varnish", "url": "http://10.0.0.5:6081"}
NGINX = {"kind": "nginx", "url": "http://[::1]:8080", "host": "streams.example.com:8443"}


def loaded(*caches: dict[str, Any], look_at_files: bool = False) -> Settings:
    return load(None, variables({"purges": caches}), {}, look_at_files=look_at_files)


def problems(*caches: dict[str, Any], look_at_files: bool = False) -> list[str]:
    with pytest.raises(SettingsError) as refusal:
        loaded(*caches, look_at_files=look_at_files)
    assert SECRET not in f"{refusal.value} {refusal.value!r}"
    return [problem.removeprefix("HEADGATE_PURGES__0__") for problem in refusal.value.problems]


def test_every_cache_kind_is_loaded_with_its_url_and_secret() -> None:
    file = file_of(SECRET)
    fastly = {**FASTLY, "token_file": file}
    cloudflare = {"kind": "cloudflare", "zone": "023e105f", "token_file": file}
    bunny = {"kind": "bunny", "zone": "42", "token_file": file, "url": "http://127.0.0.1:9"}
    caches = loaded(fastly, cloudflare, bunny, VARNISH, NGINX).purges
    assert [(cache.kind, cache.url) for cache in caches] == [
        ("fastly", "https://api.fastly.com"),
        ("cloudflare", "https://api.cloudflare.com"),
        ("bunny", "http://127.0.0.1:9"),
        ("varnish", "http://10.0.0.5:6081"),
        ("nginx", "http://[::1]:8080"),
    ]
    assert [cache.secret() for cache in caches] == [SECRET] * 3 + [""] * 2


INVALID: dict[str, tuple[object, ...]] = {
    "an-unknown-kind": (
        {"kind": "akamai"},
        'KIND is "akamai", but must be one of nginx, varnish, fastly, cloudflare, '
        "cloudflare-worker, cloudfront, bunny.",
    ),
    "no-kind": (
        {"url": "http://v"},
        "KIND is missing; it must be one of nginx, varnish, fastly, cloudflare, "
        "cloudflare-worker, cloudfront, bunny.",
    ),
    "varnish-without-a-url": (
        {"kind": "varnish"},
        'URL is "", but must be the http(s)://HOST[:PORT] of the server.',
    ),
    "a-url-with-a-path": (
        {**VARNISH, "url": "http://v:6081/path"},
        'URL is "http://v:6081/path", but must be http(s)://HOST[:PORT], without a path.',
    ),
    "a-url-with-a-line-break": (
        {**VARNISH, "url": "http://v:6081\r\nX: y"},
        'URL is "http://v:6081\\r\\nX: y", but must be http(s)://HOST[:PORT], without a path.',
    ),
    "a-url-with-a-password": (
        {**VARNISH, "url": f"http://me:{SECRET}@v"},
        "URL is not shown here (27 characters), but must be http(s)://HOST[:PORT], without a path.",
    ),
    "varnish-with-a-token": (
        {**VARNISH, "token_file": SECRET},
        "TOKEN_FILE is not shown here, but must be left out: varnish asks for no token.",
    ),
    "varnish-with-a-zone": (
        {**VARNISH, "zone": "z"},
        'ZONE is "z", but must be left out: varnish has no zones.',
    ),
    "varnish-with-a-host": (
        {**VARNISH, "host": "h"},
        'HOST is "h", but must be left out: varnish goes by tags.',
    ),
    "an-nginx-host-with-a-line-break": (
        {**NGINX, "host": "a\r\nb"},
        'HOST is "a\\r\\nb", but must be a host name, maybe with a port.',
    ),
    "a-fastly-zone-with-slashes": (
        {**FASTLY, "zone": "../../other"},
        'ZONE is "../../other", but must be the id of a service.',
    ),
    "an-empty-fastly-zone": (
        {**FASTLY, "zone": ""},
        'ZONE is "", but must be the id of a service.',
    ),
    "a-bunny-zone-that-is-no-number": (
        {"kind": "bunny", "zone": "four", "token_file": SECRET},
        'ZONE is "four", but must be the number of a pull zone.',
    ),
    "a-token-over-http": (
        {**FASTLY, "url": "http://api.fastly.com"},
        'URL is "http://api.fastly.com", but must be https: the token is sent there.',
    ),
    "fastly-without-a-token": (
        {"kind": "fastly", "zone": "z"},
        "TOKEN_FILE is not shown here, but must be given for fastly.",
    ),
    "a-token-outside-a-file": (
        {**FASTLY, "token": SECRET},
        "TOKEN is not a setting; the nearest is HEADGATE_PURGES__0__TOKEN_FILE.",
    ),
    "a-misspelt-setting": (
        {**FASTLY, "zome": SECRET},
        "ZOME is not a setting; the nearest is HEADGATE_PURGES__0__ZONE.",
    ),
}


@pytest.mark.parametrize(("cache", "expected"), INVALID.values(), ids=INVALID)
def test_an_invalid_cache_is_reported_in_one_sentence_without_the_token(
    cache: dict[str, Any], expected: str
) -> None:
    assert problems(cache) == [expected]


@pytest.mark.parametrize(("count", "fits"), [(32, True), (33, False)])
def test_caches_are_accepted_only_up_to_32(count: int, fits: bool) -> None:
    if fits:
        assert len(loaded(*[VARNISH] * count).purges) == count
    else:
        assert problems(*[VARNISH] * count) != []


@pytest.mark.parametrize(("size", "fits"), [(1, True), (1024, True), (1025, False), (0, False)])
def test_a_token_from_a_file_is_accepted_only_up_to_1024_characters(
    tmp_path: Path, size: int, fits: bool
) -> None:
    file = tmp_path / "token"
    file.write_text("t" * size + "\n")
    file.chmod(0o600)
    cache = {"kind": "fastly", "zone": "z", "token_file": str(file)}
    if fits:
        assert loaded(cache, look_at_files=True).purges[0].secret() == "t" * size
    else:
        assert problems(cache, look_at_files=True) == [
            f'TOKEN_FILE is "{file}", but must be a file with a token of at most 1,024 visible '
            "characters."
        ]


@pytest.mark.parametrize(
    ("name", "why"), [("absent", "No such file or directory"), ("", "Is a directory")]
)
def test_an_unreadable_token_file_is_reported_with_its_reason(
    tmp_path: Path, name: str, why: str
) -> None:
    cache = {"kind": "fastly", "zone": "z", "token_file": str(tmp_path / name)}
    (problem,) = problems(cache, look_at_files=True)
    assert problem.endswith(f"but must be a file that can be read: {why}.")


def test_a_token_file_with_other_bytes_is_a_problem_that_hides_its_content(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"\xff\x00 two words")
    cache = {"kind": "fastly", "zone": "z", "token_file": str(file)}
    (problem,) = problems(cache, look_at_files=True)
    assert "two words" not in problem
