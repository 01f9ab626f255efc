"""Where the command begins: Ctrl-C may come before it is loaded, which takes a while."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Load the command line and run it; an interruption is a word and an exit status."""
    try:
        from gateway.__main__ import main as program

        program()
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        sys.exit(128 + signal.SIGINT)  # as a shell has it
