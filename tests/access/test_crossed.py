"""Nobody gets what is another's, however the requests of many are mixed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.access import crossed as campaign
from tests.access.crossed import crossed
from tests.support.examples import examples

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def test_no_response_is_of_another_principal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "BEFORE_A_CHANGE", 20)
    found = await crossed(tmp_path, examples(40) * 250, seed=1)
    assert found.crossed == []
    assert found.asked // 3 < found.allowed < found.asked
