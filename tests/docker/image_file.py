"""What the image file says."""

from __future__ import annotations

from scripts.release.replay import steps
from tests.support.processes import ROOT

DOCKER = ROOT / "docker"


def instructions(name: str) -> list[str]:
    """Return what the image file says by this instruction, each in one line."""
    return [step.words for step in steps(DOCKER / "Dockerfile") if step.instruction == name]
