"""A feature from outside: a distribution of its own, which the setting `features` alone adds.

It is installed beside the server's wheels into an environment that has nothing of this folder.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import signal
from typing import TYPE_CHECKING

import pytest

from tests.packages.distributions import build_wheel, clean_environment, install
from tests.support.http1 import ask
from tests.support.processes import ANEW, ROOT, Headgate, run
from tests.support.redis_servers import redis_server
from tests.support.tokens_files import static_token
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.redis_servers import RedisServer

FEATURE = "headgate_greeting"
SOURCE = ROOT / "tests/features/headgate-greeting"
GREETING = "/v1/stream/__greeting/Ada"
TOKEN = "ada-0123456789abcdef"
PAGE = ROOT / "docs/extending.md"


@pytest.fixture(scope="module")
def programs(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the server, the library and the feature."""
    folder = tmp_path_factory.mktemp("outside")
    wheels = [build_wheel(it, folder / it.name) for it in (ROOT, ROOT / "client", SOURCE)]
    programs = clean_environment(folder / "environment")
    install(programs, *wheels)
    return programs


@pytest.fixture
def redis(processes: None, tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis") as server:
        yield server


@contextlib.contextmanager
def serving(programs: Path, redis: RedisServer, file: Path, text: str) -> Iterator[Headgate]:
    """Run two workers by a settings file, in its folder."""
    file.write_text(text)
    tokens = file.with_name("tokens.toml")
    tokens.write_text(static_token("ada", TOKEN, "/guarded/*"))
    server = Headgate(
        environment={
            "HEADGATE_CONFIG": str(file),
            "HEADGATE_CREDENTIALS__TOKENS_FILE": str(tokens),
            "HEADGATE_WORKERS": "2",
        },
        preface=("env", "-u", "PYTHONPATH", f"--chdir={file.parent}"),
        program=programs / "headgate",
    )
    storage = f"{redis.url}?prefix=greeted"  # a log in a folder has one process
    server.serve_routes(
        {"prefix": "/v1/stream", "storage": storage},
        {"prefix": "/guarded", "storage": f"{storage}-2", "auth": "tokens"},
    )
    try:
        yield server.start()
    finally:
        server.close()


def reload(server: Headgate, file: Path, text: str) -> None:
    """Have the server read other settings."""
    file.write_text(text)
    assert server.process is not None
    server.process.send_signal(signal.SIGHUP)


def greeting(server: Headgate) -> bytes:
    return ask(server.port, "GET", GREETING).body


def page(server: Headgate, path: str = "/greeting") -> tuple[int, bytes]:
    found = ask(server.admin_port, "GET", path, Accept="text/html")
    return found.status, found.body


def test_a_feature_from_outside_is_served_asked_counted_and_switched_by_reloads(
    programs: Path, redis: RedisServer, tmp_path: Path
) -> None:
    file = tmp_path / "headgate.toml"
    on = f'features = ["{FEATURE}"]\n[greeting]\nword = "Ahoy"\ntimes = 2\n'
    with serving(programs, redis, file, on) as server:
        # Each of ten connections may lead to either worker, and a question goes to both.
        assert {greeting(server) for _ in range(10)} == {b"Ahoy Ahoy, Ada\n"}
        plain = {"Content-Type": "text/plain"}
        assert ask(server.port, "POST", GREETING, b"Bob", **plain).body == b"Ahoy Ahoy, Bob\n"
        refused = ask(server.port, "GET", f"/guarded{GREETING.removeprefix('/v1/stream')}")
        assert refused.status == 401
        bearer = f"Bearer {TOKEN}"
        guarded = ask(server.port, "GET", "/guarded/__greeting/Cy", Authorization=bearer)
        assert guarded.body == b"Ahoy Ahoy, Cy\n"
        status, shown = page(server)
        assert status == 200
        assert b"The first word is Ahoy. Greetings: 12." in shown
        assert re.search(b'<a href="/greeting" [^>]*aria-current="page"', shown)
        assert b"greeting.word" in page(server, "/configuration")[1]
        metrics = ask(server.admin_port, "GET", "/metrics").body
        assert b'greetings_total{route="/v1/stream"} 11.0' in metrics
        reload(server, file, f'features = ["{FEATURE}"]\n[greeting]\nword = "Hi"\n')
        wait_until(lambda: {greeting(server) for _ in range(10)} == {b"Hi, Ada\n"})
        file.write_text("")  # the console shows what a reload would do
        assert ask(server.admin_port, "GET", "/api/v1/configuration/pending").status == 200
        reload(server, file, "")
        wait_until(lambda: {ask(server.port, "GET", GREETING).status for _ in range(10)} == {404})
        assert ask(server.port, "PUT", GREETING, b"", **plain).status == 201
        assert page(server)[0] == 404
        reload(server, file, on)
        wait_until(lambda: {greeting(server) for _ in range(10)} == {b"Ahoy Ahoy, Ada\n"})
        assert page(server)[0] == 200


@pytest.mark.parametrize("where", ["variable", "file", "option"])
def test_commands_of_a_feature_from_outside_are_found(
    where: str, programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "headgate.toml").write_text(f'features = ["{FEATURE}"]\n')
    file = str(tmp_path / "headgate.toml")
    added = {"variable": {"HEADGATE_FEATURES": FEATURE}, "file": {"HEADGATE_CONFIG": file}}
    environment = {**os.environ, **added.get(where, {})}
    options = ["--config", file] if where == "option" else []
    headgate = (*ANEW, programs / "headgate")
    found = run([*headgate, "greeting", "say", "Ada", *options], environment=environment)
    assert found.stdout == b"Hello, Ada\n"
    assert where == "option" or (
        b"Greet, as the greeting feature does."
        in run([*headgate, "--help"], environment=environment).stdout
    )


RUNS = "headgate_gateway.features.kinds.runs"
# A feature whose section has the name of one of Headgate's own.
MISTAKEN = """
from headgate_gateway.features.kinds.declaration import FeatureKind
from headgate_greeting.section import GreetingSettings
KIND = FeatureKind(name="limits", of_log="not:loaded", section=GreetingSettings)
"""
NO_FEATURES = {
    "no.such.module": "must name Python modules of features that are installed here",
    "json": "must name modules that have a KIND, and json has none",
    RUNS: f"{RUNS} brings runs, which is there",
    f"{FEATURE},{FEATURE}": "must name each feature once, and greeting is there twice",
    "mistaken": "no section of Headgate's own, as mistaken",
}


@pytest.mark.parametrize("name", NO_FEATURES)
def test_a_name_that_adds_no_feature_is_refused_with_the_reason(
    name: str, programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "mistaken.py").write_text(MISTAKEN)
    environment = {**os.environ, "HEADGATE_STORAGE": "memory:", "HEADGATE_FEATURES": name}
    environment["PYTHONPATH"] = str(tmp_path)
    found = run([*ANEW, programs / "headgate", "config", "check"], environment=environment)
    assert found.returncode != 0
    assert NO_FEATURES[name] in found.stderr.decode()


def test_mistakes_in_the_section_of_a_feature_are_reported_as_in_any_other(programs: Path) -> None:
    environment = {
        **os.environ,
        "HEADGATE_STORAGE": "memory:",
        "HEADGATE_FEATURES": FEATURE,
        "HEADGATE_GREETING__TIMES": "10",
        "HEADGATE_GREETING__WORDD": "Ahoy",
    }
    refused = run([*ANEW, programs / "headgate", "config", "check"], environment=environment)
    sentences = refused.stderr.decode()
    assert "HEADGATE_GREETING__TIMES is 10, but must be" in sentences
    assert "the nearest is HEADGATE_GREETING__WORD." in sentences


def test_a_feature_from_outside_imports_what_the_page_lists_and_nothing_else() -> None:
    imported = {
        (node.module, name.name)
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        and re.match("headgate_(gateway|admin)", str(node.module))
        for name in node.names
    }
    rows = re.findall(r"^\| `(headgate_\S+)` \| (.*?) \|", PAGE.read_text(), re.MULTILINE)
    listed = {(module, name) for module, names in rows for name in re.findall("`(.*?)`", names)}
    assert imported == listed
