"""Run what a command asks of a server; a failure becomes a sentence and an exit status."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, TypeVar

from headgate_gateway.tools.server.client import in_words, status_of
from headgate_gateway.tools.shell.exit_status import DONE, INTERRUPTED
from headgate_gateway.tools.shell.failure import FAILURES, OutputClosed
from headgate_gateway.tools.shell.output import end_line, note

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from headgate_gateway.tools.server.target import StreamTarget

T = TypeVar("T")


def run(target: StreamTarget | None, work: Coroutine[object, object, T]) -> T:
    """Return the result of the work; a failure becomes one sentence, and ends the program.

    Advice about credentials and certificates is for `target`, where the work has a server.
    """
    try:
        try:
            return asyncio.run(work)
        finally:
            end_line()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except OutputClosed:
        sys.exit(DONE)
    except FAILURES as failure:
        note(f"headgate: {in_words(failure, target)}.")
        sys.exit(status_of(failure))
