"""A second worker beside a gateway in the process of a test, which sees each write."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gateway.runtime.write_journal import WriteJournal, share_memory

if TYPE_CHECKING:
    from gateway.runtime.context import Context
    from gateway.runtime.writes import Write


def writes_told_by(shared: Context) -> list[Write]:
    """Return a list to which each write that a gateway announces from now on is added."""
    memory = share_memory(2)
    gateway, other = (WriteJournal(memory, 2, number) for number in (1, 2))
    os.close(memory)
    told: list[Write] = []
    other.on_write = told.append
    gateway.on_announced = other.catch_up
    shared.connect(journal=gateway)
    return told
