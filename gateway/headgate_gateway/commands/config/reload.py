"""`headgate config reload`: a running server reads its settings again."""

from __future__ import annotations

import json
import sys
from http import HTTPStatus
from typing import TYPE_CHECKING

import click
import msgspec

from headgate_gateway.commands.options.configuration import complain, config_option
from headgate_gateway.commands.options.server import (
    admin_by_settings,
    admin_options,
    server_options,
)
from headgate_gateway.tools.shell.exit_status import FAILED
from headgate_gateway.tools.shell.terminal import safe

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from headgate_gateway.tools.server.target import StreamTarget


class _Refusal(msgspec.Struct):
    detail: str


class _Done(msgspec.Struct):
    routes: list[str]
    warnings: list[str]


class _Change(msgspec.Struct):
    key: str
    table: str
    current: str | None
    written: str | None
    source: str
    reload: str


class _RoutePlan(msgspec.Struct):
    prefix: str
    outcome: str


class _Pending(msgspec.Struct):
    problems: list[str]
    refusals: list[str]
    changes: list[_Change]
    changes_in_all: int
    routes: list[_RoutePlan]
    warnings: list[str]


@click.command()
@config_option
@admin_options
@server_options
@click.option(
    "--dry-run",
    "is_dry",
    is_flag=True,
    help="Change nothing: print what a reload would change, and why it would be refused.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON object: the routes, or what would change.",
)
@click.pass_context
def reload(
    ctx: click.Context,
    config: Path | None,
    *,
    is_dry: bool,
    as_json: bool,
) -> None:
    """Make a server read its settings again.

    Without --admin and --config, this is the server that runs on this machine. The exit status is 0
    once the new settings are in force, in all workers too. If the server refuses them, the old
    settings stay in force: the command prints the reasons, and the exit status is 1.
    """
    from headgate_gateway.commands.running import run

    target = admin_by_settings(ctx, config)
    reasons = run(target, (_print_pending if is_dry else _reload)(target, as_json=as_json))
    if reasons:
        if not (is_dry and as_json):
            for reason in reasons:
                complain(reason)
        sys.exit(FAILED)


async def _reload(target: StreamTarget, *, as_json: bool) -> list[str]:
    """Have the settings read again; return why they are refused."""
    from headgate.errors import refusal
    from headgate_gateway.tools.server.admin_requests import admin_outcome, decoded
    from headgate_gateway.tools.server.client import connect

    async with connect(target) as admin:
        status, body = await admin_outcome(admin, "api/v1/reload")
    if status < HTTPStatus.BAD_REQUEST:
        done = decoded(target.shown, body, _Done)
        if as_json:
            click.echo(json.dumps(json.loads(body)))
        else:
            click.echo(safe(f"In force: {' '.join(done.routes)}"))
            _warn(done.warnings)
        return []
    reasons = decoded(target.shown, body, _Refusal).detail.splitlines()
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise refusal(" ".join(reasons), status, {}, stream=target.shown)
    return reasons


async def _print_pending(target: StreamTarget, *, as_json: bool) -> list[str]:
    """Print what a reload would change; return why it would be refused."""
    from headgate_gateway.tools.server.admin_requests import admin_value, decoded
    from headgate_gateway.tools.server.client import connect

    async with connect(target) as admin:
        answer = await admin_value(admin, "api/v1/configuration/pending", {}, msgspec.Raw)
        pending = decoded(admin.shown, answer, _Pending)
    reasons = [*pending.problems, *pending.refusals]
    if as_json:
        click.echo(json.dumps(json.loads(bytes(answer))))
        return reasons
    for it in pending.changes:
        key = f"{it.key} of {it.table}" if it.table else it.key
        present = "none yet" if it.current is None else it.current
        written = "removed" if it.written is None else f"{it.written} ({it.source})"
        click.echo(safe(f"{key}: {present} -> {written}; by a reload: {it.reload}"))
    left_out = pending.changes_in_all - len(pending.changes)
    if left_out:
        click.echo(f"and {left_out} more")
    for route in pending.routes:
        click.echo(safe(f"{route.prefix} {route.outcome}"))
    if not pending.changes and not pending.problems:
        click.echo("Nothing would change.")
    _warn(pending.warnings)
    return reasons


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        complain(f"warning: {warning}.")
