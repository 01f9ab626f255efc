"""The image file, taken apart into its stages and their instructions."""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.support.processes import ROOT

DOCKER = ROOT / "docker"


class Step(NamedTuple):
    """One instruction of the image file, such as RUN, and what stands behind it."""

    instruction: str
    words: str


def stages() -> list[list[Step]]:
    """Return the steps of each stage, which begins with its FROM."""
    found: list[list[Step]] = []
    for step in _steps():
        if step.instruction == "FROM":
            found.append([])
        found[-1].append(step)
    return found


def instructions(name: str) -> list[str]:
    """Return what the image file says by this instruction, each in one line."""
    return [step.words for step in _steps() if step.instruction == name]


def _steps() -> list[Step]:
    lines = (DOCKER / "Dockerfile").read_text().splitlines(keepends=True)
    # A comment may stand amid the lines of one instruction, and ends none.
    text = "".join(line for line in lines if not line.lstrip().startswith("#"))
    whole = re.sub(r"\\\n\s*", "", text).splitlines()
    return [Step(*line.split(maxsplit=1)) for line in whole if line.strip()]
