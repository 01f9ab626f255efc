"""Headgate before a Redis, and a Redis alone.

Two cores for three: the gateways have core 0 for themselves, and Redis shares core 1 with the load
tool, whoever is measured.
"""

from __future__ import annotations

import csv
import resource
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.machine import (
    SERVER_CORE,
    TOOL_CORE,
    Unprepared,
    busy_seconds,
    cpu_seconds,
    program,
)
from benchmarks.servers import PINNED, HeadgateServer, Server, on_core
from tests.support.processes import ROOT
from tests.support.redis_servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.tools import Figures

DISK = ROOT / "build"
# How Redis keeps what it is given: by default not at all beyond its memory.
MEMORY_ONLY: Mapping[str, str] = {}
EVERY_SECOND = {"appendonly": "yes", "appendfsync": "everysec"}
ALWAYS = {"appendonly": "yes", "appendfsync": "always"}


class Redis:
    """A redis-server on one core, with a folder of its own on a disk."""

    def __init__(self, options: Mapping[str, str], *, core: int = TOOL_CORE) -> None:
        DISK.mkdir(exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix="bench-", dir=DISK))
        pinned = {f"{threads}_cpulist": str(core) for threads in ("server", "bio", "aof_rewrite")}
        self.server = RedisServer(self._folder, options={**pinned, **options})

    def start(self) -> None:
        try:
            self.server.start()
        except AssertionError as error:
            raise Unprepared(str(error)) from error

    def stop(self) -> None:
        self.server.kill()
        shutil.rmtree(self._folder)


class HeadgateOnRedis(HeadgateServer):
    """One gateway whose streams live in Redis."""

    def __init__(
        self,
        options: Mapping[str, str] = MEMORY_ONLY,
        *,
        label: str = "headgate redis:",
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        preface: Sequence[str] = PINNED,
    ) -> None:
        self.redis = Redis(options)
        super().__init__(
            self.redis.server.url, arguments=arguments, environment=environment, preface=preface
        )
        self.label = label

    def start(self) -> None:
        self.redis.start()
        super().start()

    def stop(self) -> None:
        super().stop()
        self.redis.stop()

    @property
    def redis_pid(self) -> int:
        return self.redis.server.pid

    def calls(self) -> int:
        """How many functions Redis has been asked to run."""
        statistics = self.redis.server.info("commandstats")
        return int(statistics.get("cmdstat_fcall", {"calls": 0})["calls"])

    def version(self, stream: str) -> int:
        """How many commits a stream has had since it was made."""
        version: bytes = self.redis.server.command("HGET", f"headgate:{{{stream}}}", "v")
        return int(version.rpartition(b".")[2])


class TwoGateways(HeadgateOnRedis):
    """Two gateways: streams are read at the first, and events posted to the other."""

    def __init__(self, label: str, *, second_core: int = SERVER_CORE) -> None:
        super().__init__(label=label)
        self._second = HeadgateServer(self.redis.server.url, preface=on_core(second_core))

    def start(self) -> None:
        super().start()
        self._second.start()

    def stop(self) -> None:
        self._second.stop()
        super().stop()

    @property
    def append_port(self) -> int:
        return self._second.port

    @property
    def second_pid(self) -> int:
        return self._second.pid


class BareRedis(Server):
    """A Redis without a gateway."""

    def __init__(
        self, label: str, options: Mapping[str, str] = MEMORY_ONLY, *, core: int = TOOL_CORE
    ) -> None:
        super().__init__()
        self.label = label
        self.redis = Redis(options, core=core)
        self.port = self.redis.server.port

    @property
    def pid(self) -> int:
        return self.redis.server.pid

    def start(self) -> None:
        self.redis.start()

    def stop(self) -> None:
        self.redis.stop()

    def run(self, clients: int, requests: int, *command: str, keys: int = 1) -> Figures:
        """redis-benchmark's closed loop; `__rand_int__` in the command is one of so many keys."""
        before = (busy_seconds(), cpu_seconds(self.pid), _children_seconds())
        load = ("-p", self.port, "-c", clients, "-n", requests, "-r", keys, "--csv", *command)
        output = subprocess.run(
            [*on_core(TOOL_CORE), program("redis-benchmark"), *map(str, load)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        after = (busy_seconds(), cpu_seconds(self.pid), _children_seconds())
        found = next(csv.DictReader(output.splitlines()))
        rate = float(found["rps"])
        seconds = requests / rate
        all_of_it, server, tool = (now - then for now, then in zip(after, before, strict=True))
        return {
            "per_s": rate,
            "p50_ms": float(found["p50_latency_ms"]),
            "p99_ms": float(found["p99_latency_ms"]),
            "seconds": seconds,
            "server_cpu": 0.0,
            "redis_cpu": server / seconds,
            "tool_cpu": tool / seconds,
            "other_cpu": max(0.0, all_of_it - server - tool) / seconds,
        }


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
