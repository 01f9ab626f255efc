"""The machine the figures come from: its cores, limits and versions."""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

from tests.support.processes import NODE, ROOT

SERVER_CORE = 0
TOOL_CORE = 1
MOST_FILES = 20_000
LEAST_FILES = 11_000  # 8,000 connections and what a server needs beside them
NCHAN_MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
REFERENCE = ROOT / "tests/node/node_modules/@durable-streams/server"
MEMORY_FOLDER = Path("/dev/shm")


class Unprepared(Exception):
    """Something that the benchmarks need is not on this machine."""


def program(name: str) -> str:
    """Find a program, also in the folders that only root searches."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        raise Unprepared(f"{name} is not installed; `make bench` installs it.")
    return found


def prepare() -> None:
    """Make ready to measure against other servers, and miss nothing later."""
    prepare_alone()
    for path in (NCHAN_MODULE, REFERENCE):
        if not path.exists():
            raise Unprepared(f"{path} is missing; `make bench` installs it.")
    for name in ("nginx", "redis-server", "redis-benchmark"):
        program(name)


def prepare_alone() -> None:
    """Raise the limit of open files for this process and its children, to measure Headgate only."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if most < LEAST_FILES:
        raise Unprepared(f"The limit of open files is {hard}; {LEAST_FILES} are needed.")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if not {SERVER_CORE, TOOL_CORE} <= os.sched_getaffinity(0):
        raise Unprepared(f"Cores {SERVER_CORE} and {TOOL_CORE} must both be free to use.")
    for name in ("cc", "taskset"):
        program(name)
    if file_system(MEMORY_FOLDER) != "tmpfs":
        raise Unprepared(f"{MEMORY_FOLDER} is no tmpfs.")


def file_system(path: Path) -> str:
    """Return the type of the file system that a path is on."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    place = path.resolve()
    points = {point: kind for point, kind in mounts if place.is_relative_to(point)}
    return points[max(points, key=len)]


def facts() -> dict[str, str]:
    """Return what a figure depends on besides the code."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    nginx = told_by(program("nginx"), "-v").rpartition("/")[2]
    reference = re.search(r'"version": "(.*)"', (REFERENCE / "package.json").read_text())
    return {
        "cpu": f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "aiohttp": version("aiohttp"),
        "uvloop": version("uvloop"),
        "node": told_by(str(NODE), "--version").lstrip("v"),
        "reference server": reference[1] if reference else "unknown",
        "nginx": nginx,
        "nchan": _nchan_version(),
        "redis": _redis_version(),
        "open files": str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
    }


def _nchan_version() -> str:
    if shutil.which("dpkg-query") is None:
        return "unknown"
    return told_by("dpkg-query", "--show", "--showformat=${Version}", "libnginx-mod-nchan")


def _redis_version() -> str:
    found = re.search(r"v=(\S+)", told_by(program("redis-server"), "--version"))
    return found[1] if found else "unknown"


def told_by(*command: str) -> str:
    """Return what a command prints on stdout and stderr."""
    run = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    )
    return run.stdout.strip()


# ---------------------------------------------------------------- processes


def resident_bytes(pid: int) -> int:
    """Resident set size of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def cpu_seconds(pid: int) -> float:
    """Time on a processor of all threads of a process so far."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def busy_cores() -> float:
    """How many of the two cores were busy, for whomever, during the last quarter of a second."""
    before, began = busy_seconds(), time.monotonic()
    time.sleep(0.25)
    return (busy_seconds() - before) / (time.monotonic() - began)


def busy_seconds() -> float:
    """Time that the two cores have worked for anybody so far."""
    lines = Path("/proc/stat").read_text().splitlines()
    cores = [line.split() for line in lines if re.match(rf"cpu({SERVER_CORE}|{TOOL_CORE}) ", line)]
    # user nice system idle iowait irq softirq steal; idle and iowait are not work.
    ticks = sum(int(core[i]) for core in cores for i in (1, 2, 3, 6, 7, 8))
    return ticks / os.sysconf("SC_CLK_TCK")
