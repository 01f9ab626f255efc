"""The fuzz of chunks at a small size."""

from __future__ import annotations

import pytest

from tests.client.runs.chunk_fuzz import SHORT, Case, complaints, play

pytestmark = [
    pytest.mark.usefixtures("processes"),
    pytest.mark.timeout(120),  # Headgate and Node start
]


async def test_a_chat_keeps_the_messages_that_the_ai_sdk_makes_of_random_chunks() -> None:
    assert await play(range(SHORT)) == []


async def test_the_chunk_fuzz_reports_a_changed_message_and_an_error_of_the_sdk() -> None:
    start, unknown = (f'data: {{"type":"{type_}","messageId":"m"}}\n\n' for type_ in ("start", "x"))
    message = {"id": "m", "role": "assistant", "parts": [{"type": "text", "text": "forged"}]}
    for body, kept in ((start, message), (start + unknown, None)):
        assert await complaints([Case(1, body, None, kept)]), body
