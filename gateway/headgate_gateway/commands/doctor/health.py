"""`headgate doctor health`: whether the server with these settings is alive, for a container."""

from __future__ import annotations

import json
import sys
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from headgate_gateway.commands.options.configuration import complain, config_option
from headgate_gateway.commands.options.server import (
    admin_by_settings,
    admin_option,
    server_options,
)
from headgate_gateway.errors import StartError
from headgate_gateway.tools.server.target import ANOTHER_SERVER
from headgate_gateway.tools.shell.exit_status import FAILED

if TYPE_CHECKING:
    from pathlib import Path

    from headgate_gateway.tools.server.target import StreamTarget

TIMEOUT_S = 2.0  # an event loop that answers no sooner does not serve
LONGEST_ANSWER = 64  # bytes; that of an admin listener has 16
# The statuses of a server without this path.
NOT_THERE = {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED}


@click.command()
@config_option
@admin_option
@server_options
@click.pass_context
def health(ctx: click.Context, config: Path | None) -> None:
    """Check that the server is alive.

    The command requests /healthz from its admin listener. Without --admin and --config, this is the
    server that runs on this machine. The exit status is 0 if the response is that of an alive
    server within two seconds, otherwise 1.
    """
    target = admin_by_settings(ctx, config)
    fault = fault_of(target)
    if fault is not None:
        complain(f"{target.shown.removesuffix('/api')} {fault}.")
        sys.exit(FAILED)


def fault_of(admin: StreamTarget) -> str | None:
    """Return why the server with this admin API is not healthy; None if it is."""
    from http.client import HTTPConnection, HTTPException, HTTPSConnection

    url = urlsplit(admin.url)
    host = url.hostname or ""
    try:
        trusted = admin.trusted()
    except StartError as refusal:
        return f"cannot be reached: {refusal.detail}"
    if trusted is None:
        connection = HTTPConnection(host, url.port, timeout=TIMEOUT_S)
    else:
        connection = HTTPSConnection(host, url.port, timeout=TIMEOUT_S, context=trusted)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        status, body = answer.status, answer.read(LONGEST_ANSWER)
    except TimeoutError:
        return f"does not answer within {TIMEOUT_S:g} s"
    except HTTPException:  # among them an end without an answer, which is an OSError, too
        return "does not answer in HTTP"
    except OSError as error:
        return f"cannot be reached: {error.strerror or error}"
    finally:
        connection.close()
    return _fault_of_answer(status, body, is_plain=trusted is None)


def _fault_of_answer(status: int, body: bytes, *, is_plain: bool) -> str | None:
    """Return why an answer is not that of an alive server; None if it is."""
    if status == HTTPStatus.OK:
        return None if _is_ours(body) else ANOTHER_SERVER
    if status in NOT_THERE:
        return f"{ANOTHER_SERVER}: {status}"
    if status == HTTPStatus.BAD_REQUEST and is_plain:
        return (
            "answers 400, as a listener with TLS answers plain HTTP: give its settings by --config"
        )
    return f"answers {status}"


def _is_ours(body: bytes) -> bool:
    """Return whether a body is what the admin listener of an alive server sends."""
    try:
        return bool(json.loads(body) == {"status": "ok"})
    except (ValueError, RecursionError):
        return False
