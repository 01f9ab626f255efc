"""Run what a command asks of a server; a failure becomes a sentence and an exit status."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from gateway.tools.server.client import in_words, status_of
from gateway.tools.shell.exit_status import INTERRUPTED
from gateway.tools.shell.failure import FAILURES, OutputClosed
from gateway.tools.shell.output import end_line, note

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gateway.tools.server.target import StreamTarget


def run(target: StreamTarget, work: Coroutine[object, object, None]) -> None:
    """Run the work on a stream; a failure becomes one sentence and an exit status."""
    try:
        try:
            asyncio.run(work)
        finally:
            end_line()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except OutputClosed:
        pass
    except FAILURES as failure:
        note(f"headgate: {in_words(failure, target)}.")
        sys.exit(status_of(failure))
