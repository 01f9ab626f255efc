"""Execute a program that the kernel kills when its parent process ends, however that ends.

`python -I -S bound_child.py PARENT PROGRAM ARGUMENT…` runs as a script, so that it imports little.
PARENT is the process id of the parent.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> None:
    """Have the kernel kill this process when its parent ends, and execute the program."""
    parent, *command = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    # Only Linux has it. Elsewhere the program goes on if its parent is killed.
    if hasattr(libc, "prctl") and libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != int(parent):  # the parent ended before prctl
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - the program is of the caller's choice


if __name__ == "__main__":
    main()
