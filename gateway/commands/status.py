"""`headgate status`: what the first page of the console says about a server, as text."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from gateway.commands.options.admin_target import on_admin_listener
from gateway.tools.shell.exit_status import DONE, FAILED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from admin.model.overview import Overview, RouteView
    from gateway.tools.server.target import StreamTarget

SPANS = ("15m", "1h", "6h", "24h")


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

    The figures are those of the console's first page. The exit status is 0 if nothing needs
    attention, and 1 if something does. The server must be a Headgate, because its admin listener
    has the figures.
    """
    from gateway.commands.running import run

    found: list[Overview] = []
    run(target, _print(target, span, found, as_json=as_json))
    sys.exit(FAILED if any(overview.attention for overview in found) else DONE)


async def _print(target: StreamTarget, span: str, found: list[Overview], *, as_json: bool) -> None:
    from gateway.tools.server.client import connect
    from gateway.tools.server.overview import get_overview
    from gateway.tools.shell.output import report

    async with connect(target) as admin:
        overview = await get_overview(admin, span)
    found.append(overview)
    lines = [json.dumps(_object(overview))] if as_json else _lines(overview)
    report("".join(f"{line}\n" for line in lines))


def _object(overview: Overview) -> dict[str, object]:
    """Return the figures for scripts: without the histories that the API has."""
    import msgspec

    from gateway.tools.server.overview import totals

    routes = [msgspec.to_builtins(route) for route in overview.routes]
    for route in routes:
        del route["figures"]["history"]
    return {
        "needs_attention": bool(overview.attention),
        "instance": msgspec.to_builtins(overview.instance),
        "attention": msgspec.to_builtins(overview.attention),
        "span": overview.span,
        **totals(overview),
        "routes": routes,
        "logs": msgspec.to_builtins(overview.logs),
    }


def _lines(overview: Overview) -> Iterator[str]:
    from admin.pages import show
    from gateway.tools.server.overview import attention_lines, title, totals

    yield title(overview)
    attention = attention_lines(overview)
    yield "Needs attention:" if attention else "Nothing needs attention."
    yield from (f"  {line}" for line in attention)
    yield ""
    number = totals(overview)
    readers = ", ".join(f"{count:,} {name}" for name, count in overview.readers.items() if count)
    for name, value in (
        ("Requests", show.rate(number["requests"])),
        ("Served without the origin", show.percent(number["without_origin"])),
        ("Readers for each request", show.factor(number["collapse"])),
        ("Live readers", f"{show.count(number['live_readers'])} {readers and f'({readers})'}"),
        ("Delivery delay, p99", show.duration(number["delivery_p99"])),
        ("Appends", show.rate(number["appends"])),
        ("Time of an append, p99", show.duration(number["append_p99"])),
        ("Failed appends", show.rate(number["failed_appends"])),
    ):
        yield f"{name:<26} {value}".rstrip()
    for route in overview.routes:
        yield ""
        yield from _of_route(overview, route)


def _of_route(overview: Overview, route: RouteView) -> Iterator[str]:
    from admin.pages import show

    yield f"{route.prefix} -> {route.origin}: {route.state.words}"
    figures = route.figures
    yield (
        f"  {show.rate(figures.requests)} requests, {show.rate(figures.appends)} appends, "
        f"{sum(figures.readers.values()):,} live readers, {show.percent(figures.without_origin)}"
        " without the origin"
    )
    if route.streams:
        fates = ", ".join(f"{number:,} {fate}" for fate, number in route.streams.items())
        yield f"  streams since the start: {fates}"
    forms = {"bytes": show.size, "seconds": show.duration, "count": show.count}
    for fact in (fact for log in overview.logs if log.route == route.prefix for fact in log.facts):
        value = fact.value if isinstance(fact.value, str) else forms[fact.unit](fact.value)
        yield f"  {fact.name}: {value}"
