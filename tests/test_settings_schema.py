"""What editors say of a file by the schema is what `load` says of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from headgate_gateway.settings import SettingsError, describe_settings, load
from headgate_gateway.settings.documents.commented_file import commented_file
from headgate_gateway.settings.documents.json_schema import json_schema
from tests.test_documented_settings import settings_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parents[1]
CHECKER, TAPLO = (Path(sys.executable).with_name(it) for it in ("check-jsonschema", "taplo"))
ROUTE = '[[routes]]\nprefix = "/a"\norigin = "http://h"\n'
STORED = '[[routes]]\nprefix = "/a"\nstorage = "memory:"\n'
ISSUER = (
    '[[credentials.jwt_issuers]]\nissuer = "i"\naudience = "a"\njwks = "k.json"\n'
    'algorithms = ["ES256"]\n'
)
GRANTS = f'auth = "jwt"\n{ISSUER}[[credentials.jwt_issuers.grants]]\n'
USER = f'password_hash = "$argon2id$v=19$m=65536,t=3,p=4${"A" * 22}${"A" * 43}"\n'

RIGHT = [
    "",
    'listen = "[::1]:0"',
    'storage = "memory:"',
    'storage = "file:/var/lib/headgate"',
    'storage = "redis+sentinel://:pw@a,b:1/mymaster?prefix=x"',
    'origin = "https://a:8443/x"',
    'origin = ["http://a", "https://[::1]:80/x"]',
    'origin = "http://a, http://b:81/c"',
    "workers = 1",
    "live.sse_heartbeat = 1",
    "live.sse_heartbeat = 0.5",
    'live.sse_heartbeat = "15s"',
    'credentials.read_token_max_age = "1.5 h"',
    "limits.cache_size = 0",
    'limits.cache_size = "1 GiB"',
    'limits.cache_size = "1000"',
    'log.level = "error"',
    'http.cors_origins = "*"',
    'http.cors_origins = ["https://a.example"]',
    'http.trusted_proxies = "10.0.0.0/8, 10.0.0.1"',
    'http.hosts = ["a.example", "[::1]"]',
    '[limits]\nmax_append = "4MiB"\n[live]\nsse_heartbeat = 5',
    'admin = "[::1]:1"',
    '[admin]\nlisten = "127.0.0.1:1"',
    'front = ["a.example"]\nauth = "none"',
    'front = "a.example, b.example"\nauth = "none"',
    'auth = "none"\n[front]\nhosts = ["a.example"]\nacme = "internal"\n[http]\nhosts = "a.example"',
    'origin = "http://a"\n[subscriptions]\nmax_per_client = 5',
    '[admin.tls]\n[tls]\nminimum_version = "1.3"',
    'auth = "none"',
    f'auth = ["tokens", "jwt"]\n{ISSUER}grants_claim = "g"',
    f"{GRANTS}streams = '/v1/{{sub}}'\noperations = ['read']",
    f'{ROUTE}auth = "origin"',
    f'{ROUTE}health_path = "/up?x"\ndrop_query = ["a*"]\nidentity_headers = ["X-Me"]',
    f"{STORED}runs = true\nretention_age = 86_400",
    f'[[admin.users]]\nname = "ann"\nrole = "viewer"\n{USER}',
    f'[[admin.tokens]]\nname = "p"\nrole = "operator"\ntoken = "{"t" * 22}"',
    '[[purges]]\nkind = "nginx"\nurl = "http://n:80"',
    'features = ["headgate_greeting"]\n[greeting]\nword = "Hi"',
]
WRONG = [
    "sse_hartbeat = 1",
    "sse_heartbeat = 1",
    "live.sse_hartbeat = 1",
    "limits.sse_heartbeat = 1",
    "limits = 3",
    "limits = []",
    "[[limits]]\nmax_append = 1",
    "admin = 4439",
    'admin = "4439"',
    '[admin]\nlisten = "4439"',
    "[admin.listen]",
    "admin.tls = 'c.pem'",
    "front = 5",
    "front = ['a/b']",
    "subscriptions = true",
    "subscriptions = 'http://h'",
    'storage = "http://h"',
    'storage = ["memory:"]',
    'origin = "memory:"',
    'origin = "redis://h"',
    'origin = ["http://a", "memory:"]',
    'listen = "4437"',
    "listen = 4437",
    'origin = "/var/lib/headgate"',
    'origin = "http://a?b"',
    "origin = []",
    "workers = 0",
    'workers = "2"',
    "workers = 1.5",
    "workers = true",
    "live.sse_heartbeat = 0",
    "live.sse_heartbeat = 3601",
    'live.sse_heartbeat = "15 sec"',
    'live.sse_heartbeat = "15"',
    "limits.cache_size = -1",
    'limits.cache_size = "16MB"',
    'limits.cache_size = "1.5GiB"',
    'log.level = "loud"',
    "http.cors_origins = [1]",
    'http.cors_origins = ["a.example"]',
    'http.hosts = ["a/b"]',
    'auth = ["passwords"]',
    f'storage = "memory:"\n{STORED}',
    'storage = "memory:"\norigin = "http://h"',
    f"admin = '127.0.0.1:1'\n{ROUTE}admin = '127.0.0.1:1'",
    '[[routes]]\nprefix = "/a"',
    f'{STORED}origin = "http://a"',
    '[[routes]]\nprefix = "a/"\nstorage = "memory:"',
    "[routes]",
    f"{ROUTE}listen = '127.0.0.1:1'",
    f'{ROUTE}response_timeout = "30"',
    f'{ROUTE}anonymous = ["reed"]',
    f'{ROUTE}drop_query = ["a=b"]',
    f'{ROUTE}identity_headers = ["X Me"]',
    f'{ROUTE}health_path = "up"',
    f"{ROUTE}runs = 1",
    f'{ISSUER}algorithm = "ES256"',
    f"{GRANTS}streams = '/v1/*'\noperations = ['reed']",
    f"{GRANTS}operations = ['read']",
    f'[[admin.users]]\nname = "a b"\nrole = "viewer"\n{USER}',
    f'[[admin.users]]\nname = "ann"\nrole = "root"\n{USER}',
    '[[admin.users]]\nname = "ann"\nrole = "viewer"\npassword_hash = "secret"',
    '[[purges]]\nkind = "squid"\nurl = "http://n"',
    '[[purges]]\nkind = "nginx"\nurl = "http://n/path"',
]
# What is wrong only with what stands elsewhere, or by more than a pattern can say.
ONLY_READER = [
    'limits.cache_size = "2048GiB"',
    'listen = "127.0.0.1:65536"',
    "workers = 1.0",  # which is a whole number to a schema
    "workers = 2",
    'listen = "0.0.0.0:4437"',
    'http.write_origins = ["https://a.example"]\nhttp.cors_origins = ["https://b.example"]',
    'http.trusted_proxies = ["10.0.0.1/8"]',
    f"{STORED}response_timeout = 3.0",
    f"{ROUTE}{ROUTE}",
    'auth = "passwords"',
]


def refused_by_schema(files: Iterable[str], folder: Path) -> set[str]:
    """Return the files that check-jsonschema refuses, and Taplo as editors run it."""
    schema = folder / "schema.json"
    schema.write_text(json.dumps(json_schema()))
    by_name = {folder / f"{number}.toml": text for number, text in enumerate(files)}
    for path, text in by_name.items():
        path.write_text(f"#:schema ./{schema.name}\n{text}")
    arguments = ["--schemafile", str(schema), "--output-format", "json", *map(str, by_name)]
    done = subprocess.run([CHECKER, *arguments], capture_output=True, check=False)
    found = json.loads(done.stdout)
    assert found.get("parse_errors", []) == []
    refused = {Path(error["filename"]) for error in found.get("errors", [])}
    assert refused_by_taplo(by_name) == refused
    return {by_name[path] for path in refused}


def refused_by_taplo(paths: Iterable[Path]) -> set[Path]:
    """Return the files that Taplo refuses by the schema that their first lines name.

    Each has a run of its own: what a run says of several files may be mixed.
    """

    def is_refused(path: Path) -> bool:
        command = [str(TAPLO), "lint", "--no-auto-config", str(path)]
        return subprocess.run(command, capture_output=True, check=False).returncode != 0

    files = list(paths)
    with ThreadPoolExecutor(4) as pool:
        return {
            path
            for path, refused in zip(files, pool.map(is_refused, files), strict=True)
            if refused
        }


def refused_by_reader(files: Iterable[str], folder: Path) -> set[str]:
    """The files that `load` refuses."""
    refused, config = set(), folder / "h.toml"
    for text in files:
        config.write_text(text)
        try:
            load(config, {}, {})
        except SettingsError:
            refused.add(text)
    return refused


@pytest.mark.usefixtures("processes")
def test_the_schema_is_a_valid_one(tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(json_schema()))
    subprocess.run([CHECKER, "--check-metaschema", schema], check=True, capture_output=True)


@pytest.mark.usefixtures("processes")
def test_right_values_are_accepted_by_the_schema_and_by_the_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "tests/features/headgate-greeting")
    assert refused_by_reader(RIGHT, tmp_path) == set()
    assert refused_by_schema(RIGHT, tmp_path) == set()


@pytest.mark.usefixtures("processes")
def test_wrong_values_are_refused_by_the_schema_and_by_the_reader(tmp_path: Path) -> None:
    assert refused_by_reader(WRONG, tmp_path) == {*WRONG}
    assert refused_by_schema(WRONG, tmp_path) == {*WRONG}


@pytest.mark.usefixtures("processes")
def test_values_that_conflict_with_others_are_refused_by_the_reader_alone(tmp_path: Path) -> None:
    assert refused_by_reader(ONLY_READER, tmp_path) == {*ONLY_READER}
    assert refused_by_schema(ONLY_READER, tmp_path) == set()


@pytest.mark.usefixtures("processes")
def test_every_example_in_the_documents_is_accepted_by_the_schema(tmp_path: Path) -> None:
    examples = {it.text for it in settings_files()}
    assert len(examples) > 30
    assert refused_by_schema(examples, tmp_path) == set()


@pytest.mark.usefixtures("processes")
def test_the_file_that_init_writes_is_accepted_by_the_schema(tmp_path: Path) -> None:
    text = commented_file("headgate.toml")
    text = re.sub(r"^storage = ", "#storage = ", text, flags=re.M)  # beside an origin
    # The keys of an array of tables are commented with its heading.
    parts = re.split(r"(^#?\[.*\]\n)", text, flags=re.M)
    values = parts[0] + "".join(
        heading + ("" if heading.startswith("#") else body)
        for heading, body in zip(parts[1::2], parts[2::2], strict=True)
    )
    values = re.sub(r"^#([a-z_]+ = (?!\.\.\.))", r"\1", values, flags=re.M)
    values = re.sub(r"^(storage|origin) = .*$", "", values, flags=re.M)
    assert tomllib.loads(values).keys() >= {"listen", "workers", "log", "limits"}
    assert refused_by_schema([text, values], tmp_path) == set()


def shown(schema: dict[str, Any], at: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the path of each setting, those of sections too, with what the schema says of it."""
    for key, one in schema["properties"].items():
        assert one["description"], f"{at}{key}"
        section = next((it for it in (one, *one.get("anyOf", ())) if "properties" in it), None)
        if section is None:
            yield f"{at}{key}", one
        else:
            yield from shown(section, f"{at}{key}.")


def test_every_setting_has_a_description_and_a_default_for_editors_to_show() -> None:
    found = dict(shown(json_schema()))
    assert found.keys() == {it.path for it, _ in describe_settings()}
    assert [path for path, one in found.items() if "default" not in one] == []
