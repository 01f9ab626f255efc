"""The setting `fold`: events of an application's own, and functions that cannot be used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from gateway.__main__ import cli
from tests.support.serving import get, put, serving

if TYPE_CHECKING:
    from pathlib import Path

EVENTS = [
    {"kind": "words", "at": 1, "body": {"words": "Hel"}},
    {"kind": "words", "at": 2, "body": {"words": "lo"}},
    {"type": "text-delta", "id": "t", "delta": "a"},
    {"type": "text-delta", "id": "t", "delta": "b"},
    {"kind": "end"},
]
WORDS = {"kind": "words", "at": 2, "body": {"words": "Hello"}}
TEXT = {"type": "text-delta", "id": "t", "delta": "ab"}
MODULE = "tests.hosted.own_events"


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("find_delta", [WORDS, TEXT, EVENTS[-1]]),
        ("fail", EVENTS),
        ("answer_nonsense", EVENTS),
    ],
    ids=["a fold", "a function that raises", "a function that returns nonsense"],
)
async def test_a_compact_read_joins_what_the_function_of_the_route_finds(
    function: str, expected: list[object]
) -> None:
    async with serving(own={"fold": f"{MODULE}:{function}"}) as gateway:
        body = json.dumps(EVENTS).encode()
        await gateway.ask(put("s", body=body, content_type="application/json"))
        answer = await gateway.ask(get("s?offset=-1&view=compact"))
        assert json.loads(answer.body) == expected


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("find_delta", "must be an import path such as package.module:function"),
        ("nowhere.at_all:find_delta", "ModuleNotFoundError: No module named 'nowhere'"),
        (f"{MODULE}:other", "has no attribute 'other'"),
        (f"{MODULE}:NO_FUNCTION", f"must be a function: {MODULE}:NO_FUNCTION is str"),
    ],
    ids=["no function named", "no module", "no such function", "no function"],
)
def test_a_fold_that_cannot_be_imported_is_refused_by_check(
    path: str, reason: str, tmp_path: Path
) -> None:
    settings = tmp_path / "headgate.toml"
    settings.write_text(f'[[routes]]\nprefix = "/s"\norigin = "memory:"\nfold = "{path}"\n')
    done = CliRunner().invoke(cli, ["check", "--config", str(settings)])
    assert done.exit_code == 2
    assert f"{settings}:4: routes[0].fold is" in done.stderr
    assert reason in done.stderr
