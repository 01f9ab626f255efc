"""The library in a Python that lacks what Windows lacks; nobody has tried it on Windows."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.processes import headgate
from tests.test_architecture import modules

LIBRARY = [name for name in modules() if name.split(".")[0] == "headgate"]
# Imports everything once for the packages of others, then again without the parts of Unix.
SCRIPT = """
import asyncio, ctypes, importlib, json, os, select, signal, socket, sys, time

url, names = sys.argv[1], json.loads(sys.argv[2])

def imported():
    missing = {}
    for name in names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            missing[name] = error.name
    return missing

before = imported()
for name in [it for it in sys.modules if it.split(".")[0] == "headgate"]:
    del sys.modules[name]

pair, family = socket.socketpair, socket.AF_UNIX
socket.socketpair = lambda: pair(family)  # which Windows has in another way

def refuse(*_):
    raise NotImplementedError

for name in "add_signal_handler remove_signal_handler add_reader add_writer".split():
    setattr(asyncio.SelectorEventLoop, name, refuse)  # as its ProactorEventLoop does
for module, parts in {
    os: "fork forkpty register_at_fork getuid geteuid getgid getegid getgroups setsid setuid"
    " killpg getpgid uname sysconf statvfs mkfifo chown fchown nice getloadavg pread pwrite"
    " sendfile readv writev memfd_create posix_fallocate posix_spawn sched_getaffinity sched_yield"
    " wait waitid WNOHANG",
    socket: "AF_UNIX SO_REUSEPORT",
    signal: "SIGKILL SIGHUP SIGQUIT SIGUSR1 SIGUSR2 SIGALRM SIGCHLD SIGPIPE setitimer alarm"
    " pthread_kill",
    select: "poll epoll",
    time: "tzset",
    asyncio: "open_unix_connection start_unix_server",
}.items():
    for part in parts.split():
        if hasattr(module, part):
            delattr(module, part)
for name in "fcntl grp pwd resource termios tty pty syslog posix _posixsubprocess uvloop".split():
    sys.modules[name] = None  # its import fails
loaded = ctypes.CDLL

def load(name, *arguments, **options):
    if name is None:
        raise TypeError("there is no library without a name")
    return loaded(name, *arguments, **options)

ctypes.CDLL = load

after = imported()
import headgate
import headgate.sync

async def use():
    async with headgate.Client(url) as hg:
        stream = await hg.create("asyncio", json=True)
        await stream.append({"id": 1})
        async with hg.writer("asyncio") as writer:
            await writer.write({"id": 2})
        await stream.close()
        return [message.value["id"] async for message in stream.follow()]

def use_threads():
    with headgate.sync.Client(url) as hg:
        stream = hg.create("threads", json=True)
        stream.append({"id": 3})
        stream.close()
        return [message.value["id"] for message in stream.follow()]

print(json.dumps([before == after, len(names) - len(after), asyncio.run(use()) + use_threads()]))
"""


@pytest.mark.usefixtures("processes")
def test_the_library_is_imported_and_used_without_any_part_of_python_that_only_unix_has() -> None:
    with headgate("memory:") as server:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, f"{server.url}/v1/stream", json.dumps(LIBRARY)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    are_the_same, imported, read = json.loads(done.stdout)
    assert are_the_same
    assert imported >= len(LIBRARY) - 8  # those for frameworks that are not installed
    assert read == [1, 2, 3]
