"""Real Redis servers on loopback, one by one; `redis_groups` makes groups of them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.ports import accepts, free_port
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import TypeAlias

    Options: TypeAlias = Mapping[str, str | Sequence[str]]

HOST = "127.0.0.1"
PROGRAM = "redis-server"
DEADLINE_S = 30.0
# What a test may ask of a server at once is answered in far less, unless the server is paused.
_ANSWER_S = 5.0
# Written as in redis.conf. Nothing is kept on disk, and a stop waits for no replica.
_DEFAULTS = {
    "bind": HOST,
    "save": '""',
    "appendonly": "no",
    "shutdown-timeout": "0",
    "enable-debug-command": "yes",
}


class RedisServer:
    """One redis-server process, which keeps its port and folder when it is started again.

    The options are lines of its redis.conf: a name with a value, or with several for several
    lines of that name. A `requirepass` among them is what `command` logs in with.
    """

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        options: Options | None = None,
        *,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = port or free_port()
        given = options or {}
        password = given.get("requirepass")
        self.password = password if isinstance(password, str) else None
        self._conf = folder / "redis.conf"
        self._arguments = arguments
        self._environment = {**os.environ, **(environment or {})}
        self._write_conf({**_DEFAULTS, "port": str(self.port), "dir": str(folder), **given})
        self.process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"RedisServer(port={self.port}, running={self.is_running})"

    def _write_conf(self, options: Options) -> None:
        lines: list[str] = []
        for name, value in options.items():
            values = [value] if isinstance(value, str) else value
            lines.extend(f"{name} {one}\n" for one in values)
        self._conf.write_text("".join(lines))

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def url(self) -> str:
        login = f":{self.password}@" if self.password else ""
        return f"redis://{login}{self.address}"

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None, "not started"
        return self.process.pid

    def start(self) -> Self:
        """Start and wait until it answers PING, that is, until its data are loaded."""
        self.spawn()
        wait_until(self.answers, f"{self!r} to answer PING", self.output)
        return self

    def spawn(self) -> Self:
        """Start and wait until it accepts connections, whatever it answers."""
        with (self.folder / "log").open("ab") as log:
            command = [PROGRAM, str(self._conf), *self._arguments]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=self._environment)
        wait_until(self._accepts, f"{self!r} to accept", self.output)
        return self

    def answers(self) -> bool:
        """Whether PING is answered; a server that loads its data refuses it."""
        return bool(self.command("PING"))

    def _accepts(self) -> bool:
        assert self.is_running, f"{self!r} ended:\n{self.output()}"
        return accepts(self.port)

    def stop(self) -> None:
        """SIGTERM, as a service manager would; what persistence there is, is completed."""
        self._signal(signal.SIGTERM)
        assert self.process is not None, "not started"
        self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        """SIGKILL, as a crash would be; safe to call twice."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def restart(self) -> Self:
        """A crash, and a start on the same port."""
        self.kill()
        return self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self.is_running, f"{self!r} does not run"
        assert self.process is not None
        self.process.send_signal(number)

    def client(self) -> redis.Redis:
        """A client of its own, which gives bytes and tries nothing twice."""
        return redis.Redis(
            host=HOST,
            port=self.port,
            password=self.password,
            socket_timeout=_ANSWER_S,
            retry=Retry(NoBackoff(), 0),
        )

    def command(self, *words: str | bytes | float) -> Any:
        """The reply to one command, sent on a connection of its own."""
        with self.client() as client:
            return client.execute_command(*words)

    def info(self, section: str) -> dict[str, Any]:
        """The fields of a section of INFO."""
        fields: dict[str, Any] = self.command("INFO", section)
        return fields

    def output(self) -> str:
        """Everything it logged so far."""
        log = self.folder / "log"
        return log.read_text(errors="replace") if log.exists() else ""


@contextlib.contextmanager
def redis_server(
    folder: Path, environment: Mapping[str, str] | None = None, /, **options: str
) -> Iterator[RedisServer]:
    """A started server that is killed when the block ends; `_` in a name stands for `-`."""
    given = {name.replace("_", "-"): value for name, value in options.items()}
    server = RedisServer(folder, options=given, environment=environment)
    try:
        yield server.start()
    finally:
        server.kill()
