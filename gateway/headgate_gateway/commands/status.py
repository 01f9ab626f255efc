"""`headgate status`: what the first page of the console says about a server, as text."""

from __future__ import annotations

import json
import re
import sys
from itertools import islice
from typing import TYPE_CHECKING

import click

from headgate_gateway.commands.options.server import on_admin_listener
from headgate_gateway.tools.shell.amounts import counted
from headgate_gateway.tools.shell.exit_status import DONE, FAILED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headgate_admin.model.overview import Overview, RouteView
    from headgate_gateway.features.questions.loudest import ClientLoad, Load, LoudestList
    from headgate_gateway.tools.server.target import StreamTarget

SPANS = ("15m", "1h", "6h", "24h")
LOUDEST = 5  # streams, and clients
HEADING = 2  # lines before a list of loads
HEADINGS = re.compile(r" *(REQUESTS/S|REFUSED) ")


@click.command()
@click.option(
    "--span",
    type=click.Choice(SPANS),
    default=SPANS[0],
    show_default=True,
    help="Time over which ratios and delays are taken.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@on_admin_listener
def status(span: str, as_json: bool, target: StreamTarget) -> None:
    """Say how a server is doing: what needs attention, traffic, readers, storage, origins.

    Below each thing that needs attention is the command that finds out more. At the end are the
    loudest streams and clients. The figures are those of the console's first page. The exit status
    is 0 if nothing needs attention, and 1 if something does. The server must be a Headgate, because
    its admin listener has the figures.
    """
    from headgate_gateway.commands.running import run

    overview = run(target, _print_figures(target, span, as_json=as_json))
    sys.exit(FAILED if overview.attention else DONE)


async def _print_figures(target: StreamTarget, span: str, *, as_json: bool) -> Overview:
    """Print the figures of a server, and return them."""
    from headgate_admin.model.overview import Overview
    from headgate_gateway.features.questions.loudest import LoudestList
    from headgate_gateway.tools.server.admin_requests import admin_value
    from headgate_gateway.tools.server.client import connect
    from headgate_gateway.tools.shell.output import report

    async with connect(target) as admin:
        overview = await admin_value(admin, "api/v1/overview", {"span": span}, Overview)
        loudest = await admin_value(admin, "api/v1/loudest", {}, LoudestList)
    lines = [json.dumps(_object(overview, loudest))] if as_json else _lines(overview, loudest)
    report("".join(f"{line}\n" for line in lines), str if as_json else painted_line)
    return overview


def _object(overview: Overview, loudest: LoudestList) -> dict[str, object]:
    """Return the figures for scripts: without the histories that the API has."""
    import msgspec

    routes = [msgspec.to_builtins(route) for route in overview.routes]
    for route in routes:
        del route["figures"]["history"]
    return {
        "needs_attention": bool(overview.attention),
        "instance": msgspec.to_builtins(overview.instance),
        "attention": msgspec.to_builtins(overview.attention),
        "span": overview.span,
        "requests": overview.requests.value,
        "without_origin": overview.without_origin.value,
        "collapse": overview.collapse.value,
        "live_readers": overview.live_readers.value,
        "delivery_p99": overview.delivery.p99.value,
        "appends": overview.appends.value,
        "append_p99": overview.append.p99.value,
        "failed_appends": overview.failed_appends,
        "routes": routes,
        "loudest_streams": msgspec.to_builtins(loudest.streams[:LOUDEST]),
        "loudest_clients": msgspec.to_builtins(loudest.clients[:LOUDEST]),
    }


def _lines(overview: Overview, loudest: LoudestList) -> Iterator[str]:
    from headgate_admin.pages import show

    yield title(overview)
    yield "Needs attention:" if overview.attention else "Nothing needs attention."
    for it, line in zip(overview.attention, attention(overview), strict=True):
        yield f"  {line}"
        if it.next.command:
            yield f"    next: {it.next.command}"
    for it in overview.ended:
        over_s = max(0, int(overview.taken_at - (it.ended_at or overview.taken_at)))
        yield f"  over for {show.duration(over_s)}: {it.sentence}"
    yield ""
    readers = ", ".join(f"{count:,} {name}" for name, count in overview.readers.items() if count)
    live = show.count(overview.live_readers.value)
    for name, value in (
        ("Requests", show.rate(overview.requests.value)),
        (overview.served, show.percent(overview.without_origin.value)),
        ("Readers fed by one read", show.factor(overview.collapse.value)),
        ("Live readers", f"{live} {readers and f'({readers})'}"),
        ("Delivery delay, p99", show.duration(overview.delivery.p99.value)),
        ("Appends", show.rate(overview.appends.value)),
        ("Time of an append, p99", show.duration(overview.append.p99.value)),
        ("Failed appends", show.rate(overview.failed_appends)),
    ):
        yield f"{name:<26} {value}".rstrip()
    for route in overview.routes:
        yield ""
        yield from _of_route(route)
    yield from islice(stream_loads(loudest), HEADING + LOUDEST)
    yield from islice(client_loads(loudest), HEADING + LOUDEST)


def stream_loads(loudest: LoudestList) -> Iterator[str]:
    """Yield a heading of HEADING lines and a line for each stream, the loudest first."""
    return _loads("STREAM", [(f"{it.route}/{it.name}", it) for it in loudest.streams])


def client_loads(loudest: LoudestList) -> Iterator[str]:
    """Yield a heading of HEADING lines and a line for each client, the loudest first."""
    return _loads("CLIENT", [(_client(it), it) for it in loudest.clients])


def _client(client: ClientLoad) -> str:
    """Return who a client is: a principal, or an address that a viewer may not see."""
    if client.account:
        return client.name or client.account
    return f"{client.address or 'anonymous'} {client.user_agent or ''}"


def _loads(subject: str, rows: Sequence[tuple[str, Load]]) -> Iterator[str]:
    from headgate_admin.pages import show

    if rows:
        yield from ("", f"REQUESTS/S  APPENDS/S  REFUSED/S     SENT/S RECEIVED/S  {subject}")
    for name, it in rows:
        rates = (show.number(value) for value in (it.requests, it.appends, it.refused))
        sizes = (show.size(value) for value in (it.sent_bytes, it.received_bytes))
        yield f"{' '.join(f'{figure:>10}' for figure in (*rates, *sizes))}  {name}"


def painted_line(line: str) -> str:
    """Return a line of the figures with its colours: levels, and headings of loads."""
    from headgate_gateway.tools.shell.colour import bold, painted

    return bold(line) if HEADINGS.match(line) else painted(line)


def title(overview: Overview) -> str:
    """Return the server with its state, uptime and version, in one line."""
    from headgate_admin.pages import show

    it = overview.instance
    # A clock that was set back says nothing on how long the server has been up.
    is_known = it.started_at is not None and it.started_at <= overview.taken_at
    up_s = int(overview.taken_at - (it.started_at or 0.0))
    up = f", up {show.duration(up_s)}" if is_known else ""
    workers = f", {it.workers} workers" if it.workers > 1 else ""
    return f"{it.name}: {it.state.words}{up}, version {show.version(it.version)}{workers}"


def attention(overview: Overview) -> Iterator[str]:
    """Yield a line for each thing that needs attention, the worst first."""
    from headgate_admin.pages import show

    for it in overview.attention:
        of = f"{it.route}: " if it.route and it.route not in it.sentence else ""
        since = "" if it.since is None else f" ({show.relative(it.since, overview.taken_at)})"
        muted = f"muted by {it.mute.by}" if it.mute else ""
        yield " ".join(filter(None, (f"{it.level}: {of}{it.sentence}{since}", it.note, muted)))


def _of_route(route: RouteView) -> Iterator[str]:
    from headgate_admin.model.overview import served
    from headgate_admin.pages import show

    yield f"{route.prefix} -> {route.origin} ({route.state.words})"
    figures = route.figures
    readers = sum(figures.readers.values())
    share = f"{show.percent(figures.without_origin)} {served(route.kind).lower()}"
    yield (
        f"  {show.rate(figures.requests)} requests, {show.rate(figures.appends)} appends, "
        f"{counted(readers, 'live reader')}, {share}"
    )
    if route.streams:
        fates = {**route.streams}
        stored = fates.pop("stored", None)
        now = "" if stored is None else f"{counted(stored, 'stream')} stored; "
        since = ", ".join(f"{number:,} {fate}" for fate, number in fates.items())
        yield f"  {now}since the start: {since}"
    for fact in route.facts:
        yield f"  {fact.name}: {show.with_unit(fact.value, fact.unit)}"
