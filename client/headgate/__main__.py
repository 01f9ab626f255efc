"""`python -m headgate`: the command line of the server, where the server is installed."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points


def main() -> None:
    """Run what the distribution `headgate` calls its command."""
    for command in entry_points(group="console_scripts", name="headgate"):
        command.load()()
        return
    sys.exit(
        "headgate: this is the client library; the server and its commands are another "
        "distribution, named headgate, which is not installed here"
    )


if __name__ == "__main__":
    main()
