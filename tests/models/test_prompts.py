"""Bodies of requests as they are stored: JSON as it was sent, all else as a text, step by step."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from gateway.background import at_once
from gateway.features.models.record import RequestEntry, prompt_of

if TYPE_CHECKING:
    from collections.abc import Callable

REQUEST = RequestEntry("/v1", "", None, 0.0, position=7)
LONG = 13 << 20


@pytest.mark.parametrize(
    ("body", "stored"),
    [
        (b' {"a": [1, 2.50]} ', {"a": [1, 2.5]}),
        pytest.param(b'{"a": ', '{"a": ', id="cut"),
        pytest.param(b"1,2", "1,2", id="two"),
        pytest.param(b"", "", id="empty"),
        pytest.param('"é'.encode() * 40_000, '"é' * 40_000, id="cut-in-characters"),
        pytest.param(b'{"a":"\xff"}', '{"a":"\ufffd"}', id="no-utf-8"),
        pytest.param(b"[" * 100 + b"]" * 100, "[" * 100 + "]" * 100, id="deep"),
    ],
)
def test_a_prompt_is_stored_as_json_or_as_a_text(body: bytes, stored: object) -> None:
    assert json.loads(at_once(prompt_of(REQUEST, body))) == {"position": 7, "body": stored}


@pytest.mark.parametrize(
    "made",  # by the test: together they are 30 MiB
    [
        pytest.param(lambda: b"[" + b"[]," * (LONG // 9) + b"[]]", id="lists"),
        pytest.param(lambda: b'{"a":"' + b"x" * LONG + b'"}', id="text"),
        pytest.param(lambda: b"\xff" * LONG, id="no-utf-8"),
    ],
)
def test_a_long_prompt_is_stored_in_short_steps(made: Callable[[], bytes]) -> None:
    steps, turns, is_over = prompt_of(REQUEST, made()), [], False
    while not is_over:
        began = time.thread_time()
        is_over = next(steps, True) is True
        turns.append(time.thread_time() - began)
    assert max(turns) < 0.05  # the copies at the beginning and the end, on a busy machine
    assert sorted(turns)[len(turns) * 9 // 10] < 0.01
