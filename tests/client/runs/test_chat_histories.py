"""The random histories of chats at a small size."""

from __future__ import annotations

import pytest

from tests.client.runs.chat_histories import SHORT_BURSTS, play


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(180)  # what is given up is waited for
async def test_random_histories_of_chats_fulfil_the_promises_of_chats() -> None:
    seen = await play(1, bursts=SHORT_BURSTS)
    assert seen["answered"] > 0
    assert seen["deleted"] > 0
