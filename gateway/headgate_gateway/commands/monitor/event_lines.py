"""Printing the events of a server, one a line."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from headgate_gateway.tools.server.admin_requests import admin_value
from headgate_gateway.tools.server.client import connect
from headgate_gateway.tools.shell.colour import painted
from headgate_gateway.tools.shell.output import heading, write
from headgate_gateway.tools.shell.terminal import safe
from headgate_gateway.tools.shell.times import utc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate.stream_requests import StreamRequests
    from headgate_gateway.tools.server.target import StreamTarget

MOST = 1000  # events of one answer of the API
COLUMNS = "{:<20}  {:<7}  {:<9}  {:>8}  {:>5}  {}"
LEVEL_COLUMNS = 22, 29  # where a line has its level
FOLLOW_S = 2.0  # between two requests; the server itself looks every five seconds


class EventLine(msgspec.Struct, frozen=True):
    """An event, with the fields of the API that are printed."""

    sequence: int
    kind: str
    level: str
    sentence: str
    at: float
    ended_at: float | None = None
    lasts: bool = False
    count: int = 1
    route: str | None = None
    gateway: str = ""


class _Events(msgspec.Struct):
    events: list[EventLine]
    last: int


async def print_events(
    target: StreamTarget, query: Mapping[str, str], *, follow: bool, as_json: bool
) -> None:
    """Print the events that fit the query, and with `follow` further ones as they happen."""
    after, is_begun = 0, as_json
    async with connect(target) as admin:
        while True:
            found = await _get(admin, {**query, "after": str(after), "limit": str(MOST)})
            if found.last < after:  # the server has begun anew
                found = await _get(admin, {**query, "limit": str(MOST)})
            for event in found.events:
                if not is_begun:
                    heading(COLUMNS, "TIME", "LEVEL", "KIND", "LASTED", "COUNT", "EVENT")
                    is_begun = True
                line = msgspec.json.encode(event).decode() if as_json else _line(event)
                line = safe(f"{line}\n")
                write((line if as_json else painted(line, *LEVEL_COLUMNS)).encode())
            if not follow:
                return
            after = found.last
            await asyncio.sleep(FOLLOW_S)


async def _get(admin: StreamRequests, query: Mapping[str, str]) -> _Events:
    return await admin_value(admin, "api/v1/events", query, _Events)


def _line(event: EventLine) -> str:
    moment = utc(event.at)
    lasted = "-" if event.ended_at is None else f"{event.ended_at - event.at:.1f}s"
    if event.lasts:
        lasted = "goes-on"
    place = f" [{event.gateway}]" if event.gateway else ""
    about = f"{event.route}: " if event.route else ""
    sentence = f"{about}{event.sentence}{place}"
    count = f"{event.count}×"
    return COLUMNS.format(moment, event.level, event.kind, lasted, count, sentence)
