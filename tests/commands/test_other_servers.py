"""Commands that meet a server which is no admin listener of this version, whatever it answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.commands.conftest import CommandLine
from tests.support.blocking_origin import BlockingOrigin

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("processes")

ANSWERS = {
    "nothing": b"",
    "a page": b"<html>",
    "null": b"null",
    "a number": b"1",
    "a text": b'"x"',
    "a list": b"[1]",
    "an object without members": b"{}",
    "members of other types": json.dumps(
        dict.fromkeys(("csrf", "rows", "routes", "limits", "detail", "problems", "events"), 1)
    ).encode(),
    "a csrf like ours": json.dumps({"csrf": "x"}).encode(),
    "a csrf with a line end": json.dumps({"csrf": "x\ny"}).encode(),
    "a csrf beyond Latin-1": json.dumps({"csrf": "\u20ac"}).encode(),
    "half of a surrogate pair": b'{"csrf": "\\ud800"}',
    "bytes that are no text": b'{"csrf": "\xff"}',
    "lists 100,000 deep": b"[" * 100_000,
}
SUBSCRIPTION = ("--route", "/v1/stream", "s")
COMMANDS = [
    ("status",),
    ("status", "--json"),
    ("top",),
    ("ls",),
    ("monitor", "events"),
    ("config", "reload"),
    ("config", "reload", "--json"),
    ("config", "reload", "--dry-run"),
    ("config", "reload", "--dry-run", "--json"),
    ("data", "retention", "s"),
    ("data", "retention", "s", "--age", "60"),
    ("delete", "--prefix", "a/", "--yes"),
    ("stream", "subscriptions", "list"),
    ("stream", "subscriptions", "show", *SUBSCRIPTION),
    ("stream", "subscriptions", "show", *SUBSCRIPTION, "--json"),
    ("stream", "subscriptions", "pause", *SUBSCRIPTION),
    ("stream", "subscriptions", "resume", *SUBSCRIPTION),
    ("stream", "subscriptions", "replay", *SUBSCRIPTION, "--beginning"),
    ("stream", "subscriptions", "delete", *SUBSCRIPTION),
    ("stream", "subscriptions", "delete", *SUBSCRIPTION, "--json"),
    ("doctor", "debug", "FILE"),
    ("doctor", "health"),
]


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_server_that_is_no_admin_listener_is_named_in_one_sentence(
    answer: bytes, tmp_path: Path
) -> None:
    with BlockingOrigin() as other:
        other.play = lambda exchange: exchange.answer(answer)
        line = CommandLine(f"{other.url}/v1/stream")
        for command in COMMANDS:
            words = [str(tmp_path / "bundle") if it == "FILE" else it for it in command]
            done = line(*words, "--admin", other.url)
            said = done.stderr.decode()
            assert (done.returncode, done.stdout) == (1, b""), (command, said)
            assert f"{other.url} answers, and is no admin listener of this version" in said, command
            assert said.count("\n") == 1, (command, said)


@pytest.mark.parametrize("words", [it for it in COMMANDS if "FILE" not in it], ids=" ".join)
def test_a_server_that_takes_any_token_and_says_nothing_is_named_in_one_sentence(
    words: tuple[str, ...],
) -> None:
    with BlockingOrigin() as other:
        other.play = lambda exchange: exchange.answer()
        line = CommandLine(f"{other.url}/v1/stream")
        done = line(*words, "--admin", other.url, environment={"STREAM_ADMIN_TOKEN": "any"})
        said = done.stderr.decode()
        assert (done.returncode, done.stdout) == (1, b""), said
        assert f"{other.url} answers, and is no admin listener of this version" in said
