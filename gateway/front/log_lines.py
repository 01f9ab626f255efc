"""Pass on what Caddy logs, as lines of our own log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.telemetry.logs import log

if TYPE_CHECKING:
    import asyncio

LONGEST_LINE = 64 << 10  # bytes; a longer one is left out
SHOWN_CHARACTERS = 1000


class CaddyLine(msgspec.Struct):
    """A line of Caddy's log; of its fields those that hold nothing of a request."""

    msg: str
    logger: str = ""
    error: str = ""
    identifier: str = ""  # the host that a certificate is for


async def relay(stderr: asyncio.StreamReader) -> str:
    """Log each line until the end; return the last one, which says why Caddy could not start."""
    last = ""
    while True:
        try:
            line = await stderr.readline()
        except ValueError:  # longer than the limit
            continue
        if not line:
            return last
        last = _log(line.decode(errors="replace").strip())[:SHOWN_CHARACTERS] or last


def _log(text: str) -> str:
    """Log a line, and return what it says."""
    try:
        line = msgspec.json.decode(text, type=CaddyLine)
    except msgspec.DecodeError:
        return text
    fields = {name: value for name, value in msgspec.structs.asdict(line).items() if value}
    message = fields.pop("msg", "")
    log.error("front.caddy", message=message[:SHOWN_CHARACTERS], **_short(fields))
    return f"{message}: {line.error}" if line.error else message


def _short(fields: dict[str, str]) -> dict[str, str]:
    return {name: value[:SHOWN_CHARACTERS] for name, value in fields.items()}
