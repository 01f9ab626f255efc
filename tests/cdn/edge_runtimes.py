"""What runs edge functions, as processes: workerd, as at Cloudflare, and the runtime of Vercel."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.ports import accepts, free_port
from tests.support.processes import NODE, ROOT
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_S = 30.0
STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Runtime:
    """What runs a module that answers requests."""

    script: str
    """In tests/node."""

    def command(self, module: Path, port: int, **variables: str) -> list[str]:
        """Serve the module on this port; it finds the variables where its platform has them."""
        script = str(ROOT / "tests" / "node" / self.script)
        return [str(NODE), script, str(module), str(port), json.dumps(variables)]

    @contextlib.contextmanager
    def serving(self, module: Path, **variables: str) -> Iterator[int]:
        """It serves the module on the port that is given, until the block ends."""
        port = free_port()
        with tempfile.TemporaryFile("w+") as log:
            process = subprocess.Popen(
                self.command(module, port, **variables),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                wait_until(
                    lambda: process.poll() is not None or accepts(port),
                    f"{module.name} to be served",
                    lambda: _said(log.fileno()),
                    within_s=START_S,
                )
                assert process.poll() is None, _said(log.fileno())
                yield port
            finally:
                _stop(process)


WORKERD = Runtime("worker_engine.mjs")
EDGE_RUNTIME = Runtime("edge_engine.mjs")


def _said(log: int) -> str:
    return os.pread(log, 1 << 16, 0).decode(errors="replace")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """In order; then whoever is left of its session, such as a runtime that was its child."""
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
