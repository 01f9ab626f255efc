"""The outcomes of copying one stream once."""

from __future__ import annotations

from typing import NamedTuple


class CopyProgress(NamedTuple):
    """Two offsets that mean the same place, up to which both streams were compared."""

    source_offset: str
    target_offset: str


class CopyOutcome(NamedTuple):
    """The outcome of copying one stream; `is_gone` if the source has none any more."""

    is_changed: bool
    bytes: int
    progress: CopyProgress | None
    is_gone: bool = False


GONE = CopyOutcome(False, 0, None, is_gone=True)
