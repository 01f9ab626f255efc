"""The fuzz of chunks at a small size."""

from __future__ import annotations

import pytest

from tests.client.runs.chunk_fuzz import SHORT, Case, complaints, play


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(120)  # Headgate and Node start
async def test_a_chat_keeps_the_messages_that_the_ai_sdk_makes_of_random_chunks() -> None:
    assert await play(range(SHORT)) == []


def test_the_chunk_fuzz_reports_missing_parts_changed_fields_and_sdk_errors() -> None:
    """A part that is missing, another field, and a chunk that the SDK throws at are complaints."""
    parts = [{"type": "text", "text": "Once"}, {"type": "step-start"}]
    message = {"id": "1", "role": "assistant", "parts": parts}

    def found(kept: dict[str, object], *errors: str) -> bool:
        made = {version: {"message": message, "errors": errors} for version in "67"}
        return complaints(Case(1, "", None, {**message, **kept}), made) != []

    assert not found({})
    assert not found({"parts": parts[:1]})
    assert not found({}, "the source failed: X")
    assert found({"parts": []})
    assert found({"metadata": 1})
    assert found({}, "No text.")
