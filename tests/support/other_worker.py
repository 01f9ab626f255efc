"""A second worker beside a gateway in the process of a test, which sees each write."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from headgate_gateway.runtime.write_journal import WriteJournal, share_memory

if TYPE_CHECKING:
    from headgate_gateway.routes.services import Services
    from headgate_gateway.runtime.write_journal import Write


def writes_told_by(services: Services) -> list[Write]:
    """Return a list to which each write that a gateway announces from now on is added."""
    memory = share_memory(2)
    told: list[Write] = []
    other = WriteJournal(memory, 2, 2)
    other.listen(told.append, lambda: None)
    gateway = WriteJournal(memory, 2, 1, other.catch_up)
    os.close(memory)
    # A worker has it from its start: this one gets it between two requests.
    object.__setattr__(services, "journal", gateway)
    return told
