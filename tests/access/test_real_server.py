"""Several workers as people run them: what files of tokens and keys say counts in each of them."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.given_settings import variables
from tests.support.keys_files import new_keys_file
from tests.support.processes import Headgate, headgate
from tests.support.tokens_files import static_token
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STATIC = "canary-static-0123456789abcdef"
APP = "canary-app-0123456789abcdef"
STREAM = "/v1/stream/chat"
PROMISE_S = 1.0
SLACK_S = 3.0  # requests and the machine take their time, too
ASKED = 12  # connections, which two workers share: all at one of them is 1 in 2,048


def tokens(more: str = "") -> str:
    return static_token("ann", STATIC, "/v1/stream/*", more=more)


class Guarded(NamedTuple):
    server: Headgate
    folder: Path

    def say(self, text: str) -> None:
        new = self.folder / "tokens.new"
        new.write_text(text)
        new.replace(self.folder / "tokens.toml")

    def statuses(self, headers: dict[str, str], query: str = "") -> set[int]:
        """Of as many requests, each on a connection of its own."""
        return {self._status(headers, query) for _ in range(ASKED)}

    def _status(self, headers: dict[str, str], query: str) -> int:
        url = f"{self.server.url}{STREAM}?offset=-1{query}"
        request = urllib.request.Request(url, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refusal:
            return refusal.code

    def made(self, lifetime_s: int = 900) -> tuple[str, str]:
        """A read token for the stream, and its id."""
        wish = {"subject": "ben", "streams": STREAM, "lifetime": lifetime_s}
        body = json.dumps(wish).encode()
        url = f"{self.server.admin_url}/api/v1/tokens"
        request = urllib.request.Request(url, body, bearer(APP), method="POST")
        with urllib.request.urlopen(request, timeout=20) as answer:
            told = json.load(answer)
        return told["token"], told["jti"]

    def ready(self) -> str:
        with urllib.request.urlopen(f"{self.server.admin_url}/readyz?verbose", timeout=20) as told:
            return str(told.read().decode())


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def guarded(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "tokens.toml").write_text(tokens())
    environment = {
        "HEADGATE_WORKERS": "2",
        "HEADGATE_AUTH": "tokens,read-tokens",
        "HEADGATE_CREDENTIALS__TOKENS_FILE": str(folder / "tokens.toml"),
        "HEADGATE_CREDENTIALS__KEYS_FILE": new_keys_file(folder),
        **variables({"admin_tokens": [{"name": "app", "role": "operator", "token": APP}]}),
        "HEADGATE_LOG__LEVEL": "debug",
        "HEADGATE_LOG__REQUESTS": "debug",
    }
    with headgate() as origin:
        put = urllib.request.Request(f"{origin.url}{STREAM}", b"hello", method="PUT")
        put.add_header("Content-Type", "text/plain")
        urllib.request.urlopen(put, timeout=20).close()
        with headgate(origin.streams, environment=environment) as server:
            yield Guarded(server, folder)
            assert "canary" not in server.output()


@pytest.fixture(autouse=True)
def as_before(guarded: Guarded) -> Iterator[None]:
    yield
    guarded.say(tokens())
    wait_until(lambda: guarded.statuses(bearer(STATIC)) == {200})


def test_a_revoked_token_is_refused_by_every_worker_within_a_second(guarded: Guarded) -> None:
    assert guarded.statuses(bearer(STATIC)) == {200}
    assert guarded.statuses({}) == {401}
    guarded.say(tokens('[[revoked]]\nname = "ann"\n'))
    began = time.monotonic()
    wait_until(lambda: guarded.statuses(bearer(STATIC)) == {401})
    assert time.monotonic() - began < PROMISE_S + SLACK_S


def test_a_mistake_in_the_tokens_file_is_reported_and_changes_nothing(guarded: Guarded) -> None:
    guarded.say("[[tokens]]\n")
    path = guarded.folder / "tokens.toml"
    wait_until(lambda: f"[-] {path} " in guarded.ready())
    told = guarded.ready()
    assert f"{path}:1: tokens[0].name is missing; " in told
    assert told.endswith("\nready\n")
    assert guarded.statuses(bearer(STATIC)) == {200}
    # One line of each worker.
    wait_until(lambda: guarded.server.output().count("access.file_refused") == 2)


def test_a_read_token_works_in_header_cookie_and_query_until_revoked(guarded: Guarded) -> None:
    token, token_id = guarded.made()
    other, _ = guarded.made()
    ways: tuple[tuple[dict[str, str], str], ...] = (
        (bearer(token), ""),
        ({"Cookie": f"a=b; __Secure-headgate={token}"}, ""),
        ({}, f"&token={token}"),
    )
    assert [guarded.statuses(*way) for way in ways] == [{200}] * 3
    guarded.say(tokens(f'[[revoked]]\njti = "{token_id}"\n'))
    wait_until(lambda: guarded.statuses(*ways[0]) == {401})
    assert [guarded.statuses(*way) for way in ways] == [{401}] * 3
    assert guarded.statuses(bearer(other)) == {200}
    printed = guarded.server.output()
    assert all(part not in printed for it in (token, other) for part in it.split(".")[1:])
    assert token_id in printed  # of the audit


def test_a_read_token_is_refused_once_its_lifetime_is_over(guarded: Guarded) -> None:
    lifetime_s = 5
    token, _ = guarded.made(lifetime_s)
    began = time.time()  # noqa: TID251 - what is in the token is of this clock
    assert guarded.statuses(bearer(token)) == {200}
    wait_until(lambda: guarded.statuses(bearer(token)) == {401})
    assert time.time() - began < lifetime_s + SLACK_S  # noqa: TID251 - as above
