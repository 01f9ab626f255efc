"""Pass on what Caddy logs, as lines of our own log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.telemetry.logs import log

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

LONGEST_LINE = 64 << 10  # bytes; a longer one is left out
SHOWN_CHARACTERS = 1000


class CaddyLine(msgspec.Struct):
    """A line of Caddy's log; of its fields those that hold nothing of a request."""

    msg: str
    logger: str = ""
    error: str = ""
    identifier: str = ""  # the host that a certificate is for


async def relay(
    stderr: asyncio.StreamReader, on_certificate_failure: Callable[[str, str], None]
) -> str:
    """Log each line until the end; return the last one, which says why Caddy could not start.

    Call `on_certificate_failure` with a host and the reason of each line that names both.
    """
    last = ""
    while True:
        try:
            line = await stderr.readline()
        except ValueError:  # longer than the limit
            continue
        if not line:
            return last
        text = line.decode(errors="replace").strip()
        try:
            caddy_line = msgspec.json.decode(text, type=CaddyLine)
        except msgspec.DecodeError:
            last = text[:SHOWN_CHARACTERS] or last
            continue
        last = _log(caddy_line)[:SHOWN_CHARACTERS] or last
        if caddy_line.identifier and caddy_line.error:
            on_certificate_failure(caddy_line.identifier, caddy_line.error[:SHOWN_CHARACTERS])


def _log(line: CaddyLine) -> str:
    """Log a line, and return what it says."""
    fields = {name: value for name, value in msgspec.structs.asdict(line).items() if value}
    message = fields.pop("msg", "")
    log.error("front.caddy", message=message[:SHOWN_CHARACTERS], **_short(fields))
    return f"{message}: {line.error}" if line.error else message


def _short(fields: dict[str, str]) -> dict[str, str]:
    return {name: value[:SHOWN_CHARACTERS] for name, value in fields.items()}
