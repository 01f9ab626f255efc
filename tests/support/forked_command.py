"""The command `headgate` for a shell, forked as by `tests.support.processes.start`.

The interpreter runs it without site packages, so it imports but a few modules; what follows is
its own file, which `tests.support.recipes` writes. A signal of a shell is passed on.
"""

import json
import os
import signal
import socket
import struct
import sys

PROGRAM, SERVER = "FORKED_PROGRAM", "FORK_SERVER"  # variables: its path, and a descriptor
SIGNALS = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM}
NUMBER = struct.Struct("i")


def main() -> None:
    """Start it, wait for its end, and end as it has ended."""
    environment = dict(os.environ)
    program, server = environment.pop(PROGRAM), int(environment.pop(SERVER))
    request = {
        "arguments": [program, *sys.argv[1:]],
        "environment": environment,
        "folder": os.getcwd(),  # noqa: PTH109 - to import pathlib takes half as long as the rest
        "numbers": [0, 1, 2],
    }
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    told, report = os.pipe()
    with socket.socket(fileno=server) as requests:
        socket.send_fds(requests, [json.dumps(request).encode()], [0, 1, 2, report])
    os.close(report)
    (pid,) = NUMBER.unpack(os.read(told, NUMBER.size))
    for number in SIGNALS:
        signal.signal(number, lambda number, _: os.kill(pid, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    (status,) = NUMBER.unpack(os.read(told, NUMBER.size))
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    main()
