"""The entry point of the command; it handles Ctrl-C while the command line is imported."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Import the command line and run it; print a word and exit when interrupted."""
    try:
        from headgate_gateway.__main__ import main as program

        program()
    except KeyboardInterrupt:
        if sys.stderr is not None:  # its parent may have closed it
            sys.stderr.write("Interrupted.\n")
        sys.exit(128 + signal.SIGINT)  # as shells report it
