"""The doctor of deployments: an operator has it examine what lies before this gateway.

It asks hosts alone that the settings name, one deployment at a time, and without credentials.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec.structs import replace

from admin.access.audit import audited
from admin.errors import ConsoleError
from admin.model.viewer import Viewer
from admin.operation import operation
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from gateway.features.questions.process_source import Setup

# An examination takes 130 s at most, and 8 s to remove its streams; the rest is for a busy machine.
LONGEST_S = 180.0
REMOVAL_S = 10.0


class DoctorFinding(msgspec.Struct, frozen=True):
    """The finding of a doctor's check: sentences without the last full stop.

    `change` is what to do about it; empty where there is nothing to do.
    """

    check: str
    verdict: str  # pass, fail, could not tell, note
    saw: str
    change: str


class DoctorWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A deployment to be examined: a host that the settings name, and a route's prefix there.

    Without a route the first is taken. `digest` is the one that the deployed file should have.
    """

    host: Annotated[str, msgspec.Meta(max_length=300)]
    scheme: Literal["https", "http"] = "https"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None
    route: Annotated[str, msgspec.Meta(max_length=8192)] | None = None
    digest: Annotated[str, msgspec.Meta(pattern="^[a-z-]{1,64}/[0-9a-f]{16}$")] | None = None


class DoctorView(msgspec.Struct, frozen=True):
    """The possible examinations, and the last one: its `url` is None before the first.

    `trouble` is why there are no findings; `left` are streams that could not be removed.
    """

    hosts: tuple[str, ...]
    routes: tuple[str, ...]
    url: str | None = None
    by: str = ""
    began_at: float | None = None
    is_running: bool = False
    findings: tuple[DoctorFinding, ...] = ()
    requests: int = 0
    seconds: float = 0.0
    trouble: str = ""
    left: tuple[str, ...] = ()


class _Report(msgspec.Struct):
    """The output of `headgate doctor cdn URL --json`."""

    error: str = ""
    checks: tuple[DoctorFinding, ...] = ()
    requests: int = 0
    seconds: float = 0.0
    left: tuple[str, ...] = ()


class CdnDoctor:
    """Examines one deployment at a time, and keeps what was found last."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._examining: asyncio.Task[None] | None = None
        self._last = DoctorView((), ())  # without what can be examined now

    @operation("GET", "/api/v1/cdn/doctor")
    def last(self) -> DoctorView:
        """Return the state of the examination of a deployment."""
        settings = self._setup.settings
        prefixes = tuple(route.prefix for route in settings.route_table)
        return replace(self._last, hosts=settings.http.hosts, routes=prefixes)

    @operation("POST", "/api/v1/cdn/doctor")
    def begin(self, body: DoctorWish, viewer: Viewer) -> DoctorView:
        """Begin to examine a deployment.

        Raises ConsoleError for what may not be examined, or not now.
        """
        with audited(viewer, "doctor", body.route or "", "") as logged:
            logged["host"] = body.host
            url = self._url(body)
            if self._last.is_running:
                raise ConsoleError(409, f"{self._last.url} is being examined: wait for its end")
        now = self._setup.clock()
        self._last = DoctorView((), (), url, viewer.name, now, is_running=True)
        self._examining = asyncio.create_task(self._examine(url, body.digest))
        return self.last()

    async def close(self) -> None:
        """Break off an examination; its streams are removed all the same."""
        if self._examining is not None:
            self._examining.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._examining

    def _url(self, wish: DoctorWish) -> str:
        hosts, prefixes = self.last().hosts, self.last().routes
        if not hosts:
            raise ConsoleError(409, "the settings name no hosts, and no others are examined")
        if wish.host not in hosts:
            raise ConsoleError(400, f"host must be one of the settings' hosts: {', '.join(hosts)}")
        route = wish.route or prefixes[0]
        if route not in prefixes:
            raise ConsoleError(404, "no route has this prefix")
        port = "" if wish.port is None else f":{wish.port}"
        return f"{wish.scheme}://{wish.host}{port}{route}"

    async def _examine(self, url: str, digest: str | None) -> None:
        found = _Report(error="the examination was broken off")
        try:
            found = await _examined(url, digest)
        except TimeoutError:
            found = _Report(error=f"it took more than {LONGEST_S:g} s")
        except (OSError, msgspec.DecodeError) as cause:
            log.error("admin.doctor_failed", url=url, error=repr(cause))
            found = _Report(error="the doctor could not be run; the log tells why")
        finally:
            self._last = replace(
                self._last,
                is_running=False,
                trouble=found.error,
                findings=found.checks,
                requests=found.requests,
                seconds=found.seconds,
                left=found.left,
            )


async def _examined(url: str, digest: str | None) -> _Report:
    """Run the doctor as a process of its own: its requests hold up nobody who is served here."""
    digest_options = [] if digest is None else ["--digest", digest]
    # What is in the environment for commands, such as a token, is for whoever runs them.
    environment = {key: it for key, it in os.environ.items() if not key.startswith("STREAM_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "doctor", "cdn", url, "--json", *digest_options),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment,
    )
    try:
        async with asyncio.timeout(LONGEST_S):
            printed, _ = await process.communicate()
    finally:
        await _ended(process)
    try:
        return msgspec.convert(json.loads(printed), _Report)
    except ValueError as cause:
        raise msgspec.DecodeError(f"it ended with {process.returncode}") from cause


async def _ended(process: asyncio.subprocess.Process) -> None:
    """End the process, which removes its streams before it ends."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(REMOVAL_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
