"""A feature from outside is added by the setting `features` alone, to all that a server has."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.settings import load
from headgate_gateway.settings.added import of_plain
from tests.support.http1 import ask
from tests.support.processes import ANEW, HEADGATE, ROOT, headgate, run
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")

TOY = "tests.features.toy"
# The console script has no folder of tests among its modules.
FINDS_TESTS = {**os.environ, "PYTHONPATH": str(ROOT)}
GREETING = "/v1/stream/__greeting/Ada"


@contextlib.contextmanager
def serving(file: Path, text: str) -> Iterator[Headgate]:
    """Run a server by a settings file, anew: a fork would not find the modules of tests."""
    file.write_text(text)
    environment = {"HEADGATE_CONFIG": str(file), "PYTHONPATH": str(ROOT)}
    with headgate("memory:", environment=environment, preface=ANEW) as server:
        yield server


def reload(server: Headgate, file: Path, text: str) -> None:
    """Have the server read other settings."""
    file.write_text(text)
    assert server.process is not None
    server.process.send_signal(signal.SIGHUP)


def greeting(server: Headgate) -> bytes:
    return ask(server.port, "GET", GREETING).body


def test_a_feature_from_outside_is_served_shown_counted_and_switched_by_reloads(
    tmp_path: Path,
) -> None:
    file = tmp_path / "headgate.toml"
    on = f'features = ["{TOY}"]\n[greeting]\nword = "Ahoy"\ntimes = 2\n'
    with serving(file, on) as server:
        assert greeting(server) == b"Ahoy Ahoy, Ada\n"
        page = ask(server.admin_port, "GET", "/greeting", Accept="text/html")
        assert page.status == 200
        assert b"The first word is Ahoy." in page.body
        assert re.search(b'<a href="/greeting" [^>]*aria-current="page"', page.body)
        shown = ask(server.admin_port, "GET", "/configuration", Accept="text/html").body
        assert b"greeting.word" in shown
        metrics = ask(server.admin_port, "GET", "/metrics").body
        assert b'toy_greetings_total{route="/v1/stream"} 1.0' in metrics
        reload(server, file, f'features = ["{TOY}"]\n[greeting]\nword = "Hi"\n')
        wait_until(lambda: greeting(server) == b"Hi, Ada\n")
        file.write_text("")  # the console shows what a reload would do
        assert ask(server.admin_port, "GET", "/api/v1/configuration/pending").status == 200
        reload(server, file, "")
        wait_until(lambda: ask(server.port, "GET", GREETING).status == 404)
        assert (
            ask(server.port, "PUT", GREETING, b"", **{"Content-Type": "text/plain"}).status == 201
        )
        assert ask(server.admin_port, "GET", "/greeting", Accept="text/html").status == 404
        assert ask(server.port, "GET", f"{GREETING}?offset=-1").status == 200
        reload(server, file, on)
        wait_until(lambda: greeting(server) == b"Ahoy Ahoy, Ada\n")
        assert ask(server.admin_port, "GET", "/greeting", Accept="text/html").status == 200


@pytest.mark.parametrize("where", ["variable", "file", "option"])
def test_commands_of_a_feature_from_outside_are_found(where: str, tmp_path: Path) -> None:
    (tmp_path / "headgate.toml").write_text(f'features = ["{TOY}"]\n')
    file = str(tmp_path / "headgate.toml")
    added = {"variable": {"HEADGATE_FEATURES": TOY}, "file": {"HEADGATE_CONFIG": file}}
    environment = {**FINDS_TESTS, **added.get(where, {})}
    options = ["--config", file] if where == "option" else []
    found = run([*ANEW, HEADGATE, "greeting", "say", "Ada", *options], environment=environment)
    assert found.stdout == b"Hello, Ada\n"
    assert where == "option" or (
        b"Greet, as the greeting feature does."
        in run([*ANEW, HEADGATE, "--help"], environment=environment).stdout
    )


RUNS = "headgate_gateway.features.kinds.runs"
NO_FEATURES = {
    "no.such.module": "must name Python modules of features that are installed here",
    "tests.features": "must name modules that have a KIND, and tests.features has none",
    RUNS: f"{RUNS} brings runs, which is there",
    f"{TOY},{TOY}": "must name each feature once, and greeting is there twice",
    "tests.features.toy.mistaken": "no section of Headgate's own, as tests.features.toy.mistaken",
}


@pytest.mark.parametrize("name", NO_FEATURES)
def test_a_name_that_adds_no_feature_is_refused_with_the_reason(name: str) -> None:
    environment = {**FINDS_TESTS, "HEADGATE_STORAGE": "memory:", "HEADGATE_FEATURES": name}
    found = run([*ANEW, HEADGATE, "config", "check"], environment=environment)
    assert found.returncode != 0
    assert NO_FEATURES[name] in found.stderr.decode()


def test_mistakes_in_the_section_of_a_feature_are_reported_as_in_any_other() -> None:
    environment = {
        **FINDS_TESTS,
        "HEADGATE_STORAGE": "memory:",
        "HEADGATE_FEATURES": TOY,
        "HEADGATE_GREETING__TIMES": "10",
        "HEADGATE_GREETING__WORDD": "Ahoy",
    }
    refused = run([*ANEW, HEADGATE, "config", "check"], environment=environment)
    sentences = refused.stderr.decode()
    assert "HEADGATE_GREETING__TIMES is 10, but must be" in sentences
    assert "the nearest is HEADGATE_GREETING__WORD." in sentences


def test_a_worker_gets_the_section_of_a_feature_from_its_supervisor() -> None:
    environment = {"HEADGATE_FEATURES": TOY, "HEADGATE_GREETING__WORD": "Ahoy"}
    settings = load(None, environment, {"storage": "memory:"})
    sent = json.dumps(settings.plain(explicit_only=True, secrets=True))
    assert of_plain(json.loads(sent)) == settings
    assert of_plain(json.loads(sent)).section("greeting").word == "Ahoy"
