"""The figures of the console's first page, from the API of an admin listener."""

from __future__ import annotations

from typing import TYPE_CHECKING

from admin.model.overview import Overview
from admin.pages import show
from gateway.tools.server.admin_requests import admin_value

if TYPE_CHECKING:
    from headgate.stream import Stream

NO_OVERVIEW = "it is not the admin listener of a Headgate, or of one of another version"


async def get_overview(admin: Stream, span: str) -> Overview:
    """Return the figures over a span. Raises Failed and RequestRefused."""
    return await admin_value(admin, "api/v1/overview", {"span": span}, Overview, NO_OVERVIEW)


def title(overview: Overview) -> str:
    """Return the server with its state, uptime and version, in one line."""
    it = overview.instance
    up = "" if it.started_at is None else f", up {show.duration(overview.taken_at - it.started_at)}"
    workers = f", {it.workers} workers" if it.workers > 1 else ""
    return f"{it.name}: {it.state.words}{up}, version {it.version}{workers}"


def attention_lines(overview: Overview) -> list[str]:
    """Return a line for each thing that needs attention, the worst first."""
    lines = []
    for it in overview.attention:
        of = f"{it.route}: " if it.route and it.route not in it.sentence else ""
        since = "" if it.since is None else f" ({show.relative(it.since, overview.taken_at)})"
        lines.append(f"{it.level}: {of}{it.sentence}{since} {it.note}".rstrip())
    return lines


def totals(overview: Overview) -> dict[str, float | None]:
    """Return the numbers of all routes together by their names."""
    stats = {
        "requests": overview.requests,
        "without_origin": overview.without_origin,
        "collapse": overview.collapse,
        "live_readers": overview.live_readers,
        "delivery_p99": overview.delivery_p99,
        "appends": overview.appends,
        "append_p99": overview.writes.p99,
        "failed_appends": overview.writes.failed,
    }
    return {name: stat.value for name, stat in stats.items()}
