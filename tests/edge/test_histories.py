"""An origin that loses its end, before readers of every kind: a short run of `histories`."""

from __future__ import annotations

import pytest

from tests.edge.histories import play
from tests.support.examples import IS_WHOLE


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("kind", ["echoes", "file"])
async def test_readers_get_only_content_that_existed_when_the_origin_loses_its_end(
    kind: str,
) -> None:
    findings = await play(kind, restores=4 if IS_WHOLE else 2, seed=7)
    assert findings.wrong == []
    assert all(findings.read[one] for one in ("events", "poll", "read"))
    assert kind != "echoes" or sum(findings.gone.values()) > 0
