"""How a run of pytest went, test by test, as one process tells another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from pathlib import Path


class Failure(msgspec.Struct, frozen=True):
    """A test that failed, and everything that pytest has to say about it."""

    node_id: str
    told: str


class Outcomes(msgspec.Struct, frozen=True):
    """A run. It is whole when nothing but tests went wrong, and none was left out for it."""

    passed: int
    failures: tuple[Failure, ...]
    is_whole: bool
    seed: int | None


def write(outcomes: Outcomes, path: Path) -> None:
    """Leave what a run has come to."""
    path.write_bytes(msgspec.json.encode(outcomes))


def read(path: Path) -> Outcomes | None:
    """What a run has left; None when it did not come to its end."""
    return msgspec.json.decode(path.read_bytes(), type=Outcomes) if path.stat().st_size else None
