"""Some of the drills, without their pictures; `python -m campaigns.drills` plays all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.admin.drills import DRILLS, Drill
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

SHORT = {
    *("flooding client", "leaked token", "nearly used quota", "origin slow"),
    *("reader that does not read", "refused settings"),
}


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("drill", [it for it in DRILLS if it.name in SHORT], ids=lambda it: it.name)
def test_the_console_answers_what_is_wrong_within_some_looks(drill: Drill, tmp_path: Path) -> None:
    with drill.cause(tmp_path) as fault:
        wait_until(
            lambda: not drill.unanswered(fault.server),
            "the pages answer",
            lambda: f"without {drill.unanswered(fault.server)}",
            within_s=60,
        )
        fault.end()
        wait_until(
            lambda: not drill.present(fault.server),
            "nothing is told in the present tense",
            lambda: "\n".join(drill.present(fault.server)),
            within_s=90,
        )
