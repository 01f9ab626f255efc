"""What is looked at while a gateway is fuzzed, and what must be so when it is left in peace."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.support.http1 import Answer, ConnectionEnded, Wire, ask, request

if TYPE_CHECKING:
    from typing import Self

    from tests.support.processes import Headgate

PROMPT_S = 1.0
"""In which a valid request is answered at rest, on a machine that does other things, too."""
REST_S = 30.0
"""For everything under way to end: every timeout of the gateway is shorter."""
GROWTH_BYTES = 48 << 20
"""What a gateway may grow by after its warm-up, however long it runs: its caches are an eighth."""
MORE_FILES = 16
"""Connections to the origin that are kept for the next request."""
AT_REST = (
    "headgate_connections",
    "headgate_admin_connections",
    "headgate_live_readers",
    "headgate_receiving_bytes",
    "headgate_appends_pending",
    "headgate_append_pending_bytes",
    "headgate_origin_requests_in_flight",
)
_TROUBLE = re.compile(r'Traceback|"level": ?"(error|critical)"|\[(error|critical) *\]')
_PLACE = re.compile(r'File ".*?([^/"]+/[^/"]+)", line \d+, in (\w+)')
_TICKS = os.sysconf("SC_CLK_TCK")


class Resources(NamedTuple):
    """What a process has."""

    files: int
    resident_bytes: int


class Watch:
    """Of one gateway; `findings` is a line for each thing that is not as it must be."""

    def __init__(self, gateway: Headgate, probe: str, admin_token: str = "") -> None:
        self.gateway = gateway
        self._authorization = f"Bearer {admin_token}"
        self.findings: list[str] = []
        self.logged: dict[str, int] = {}  # lines that only a fault can have written, in short
        self.slowest_s = 0.0
        self._probe = probe
        self._read = 0  # of what the gateway has printed
        self._ended = threading.Event()
        self._pulse = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        self._pulse.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._pulse.join()

    def rest(self) -> Resources:
        """Wait until nothing is under way, and look at what is held then."""
        deadline = time.monotonic() + REST_S
        while (held := self._held()) and time.monotonic() < deadline:
            time.sleep(0.05)  # it is asked again then
        if held:
            self.findings.append(f"{REST_S:.0f} s after the last request it still holds {held}")
        if min(self._takes() for _ in range(2)) > PROMPT_S:
            self.findings.append(f"at rest, two requests took over {PROMPT_S} s each")
        self.read_log()
        files = len(list(Path(f"/proc/{self.gateway.pid}/fd").iterdir()))
        return Resources(files, self.gateway.resident_bytes())

    def compare(self, before: Resources, after: Resources) -> None:
        """Between two rests nothing may have been left over."""
        if after.files > before.files + MORE_FILES:
            self.findings.append(f"{before.files} open files became {after.files}")
        if after.resident_bytes > before.resident_bytes + GROWTH_BYTES:
            grown = (after.resident_bytes - before.resident_bytes) >> 20
            self.findings.append(f"its memory grew by {grown} MiB")

    def read_log(self) -> None:
        """Count the lines that only a fault of ours can have written."""
        text = self.gateway.output()
        new, self._read = text[self._read :], len(text)
        for line in new.splitlines():
            if _TROUBLE.search(line):
                said = _in_short(line)
                self.logged[said] = self.logged.get(said, 0) + 1
        process = self.gateway.process
        if process is not None and process.poll() is not None:
            raise AssertionError(f"the gateway has ended:\n{text[-4000:]}")

    def _held(self) -> dict[str, float]:
        with_token = request("GET", "/metrics", Authorization=self._authorization)
        with Wire(self.gateway.admin_port) as wire:
            wire.send(with_token)
            text = wire.answer().body.decode()
        found = {}
        for line in text.splitlines():
            name, _, number = line.rpartition(" ")
            if name.partition("{")[0] in AT_REST and float(number) != 0:
                found[name] = float(number)
        # The pulse has a connection of its own, and so has this question.
        for name in ("headgate_connections", "headgate_admin_connections"):
            if found.get(name) == 1:
                del found[name]
        return found

    def _takes(self) -> float:
        began = time.monotonic()
        answered(self.gateway.port, self._probe)
        return time.monotonic() - began

    def _beat(self) -> None:
        """Ask all the time. A late answer counts when the gateway was at work for so long, not
        when the machine had no time for it.
        """
        wire = Wire(self.gateway.port)
        while not self._ended.wait(0.05):
            began, worked = time.monotonic(), _worked_s(self.gateway.pid)
            try:
                wire.send(request("GET", self._probe))
                found = wire.answer()
            except (OSError, ConnectionEnded):
                wire.socket.close()
                wire = Wire(self.gateway.port)
                continue
            took = time.monotonic() - began
            if found.status != 200:
                self.findings.append(
                    f"a valid request, GET {self._probe}, was answered with {found.status}: "
                    f"{found.body[:500]!r}"
                )
            self.slowest_s = max(self.slowest_s, took)
            if took > PROMPT_S and (busy := _worked_s(self.gateway.pid) - worked) > PROMPT_S / 2:
                self.findings.append(
                    f"a valid request took {took:.2f} s, {busy:.2f} s of them work"
                )
        wire.socket.close()


def _in_short(line: str) -> str:
    """What is the same in each line of one fault: the event, and the end of its traceback."""
    try:
        fields = json.loads(line)
    except ValueError:
        return line[:500]
    trace = fields.get("exception", "").rstrip().splitlines()
    places = [found for each in trace if (found := _PLACE.search(each))]
    where = " < ".join(f"{place[1]} {place[2]}" for place in reversed(places[-4:]))
    return f"{fields['event']}: {trace[-1] if trace else ''} in {where}"


def answered(port: int, target: str) -> Answer:
    """The answer to a valid read, on a connection of its own."""
    return ask(port, "GET", target)


def _worked_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
