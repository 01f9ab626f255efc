"""`headgate config reload`: a running server reads its settings again."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from gateway.commands.options.admin_target import admin_of, admin_option, admin_token_option
from gateway.commands.options.configuration import complain, config_option, load_reachable
from gateway.commands.options.home import ca_file_of, home_of, server_options
from gateway.errors import StartError
from gateway.tools.server.target import CERTIFICATE_ADVICE
from gateway.tools.shell.exit_status import FAILED, REFUSED, UNAVAILABLE, UNTRUSTED
from gateway.tools.shell.terminal import safe

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from pathlib import Path
    from ssl import SSLCertVerificationError
    from urllib.error import HTTPError

    from gateway.tools.server.target import StreamTarget

TIMEOUT_S = 60.0  # a reload opens logs, and asks each worker


class ReloadFailed(Exception):
    """The former settings stay in force: why, in sentences, and the exit status for it."""

    def __init__(self, why: str, exit_status: int = FAILED) -> None:
        super().__init__(why)
        self.exit_status = exit_status


@click.command()
@config_option
@admin_option
@admin_token_option
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
    admin: str | None,
    admin_token: Path | None,
    *,
    is_dry: bool,
    as_json: bool,
) -> None:
    """Make a server read its settings again.

    Without --admin and a context, this is the server with these settings on this machine. The exit
    status is 0 once the new settings are in force, in all workers too. If the server refuses them,
    the old settings stay in force: the command prints the reasons, and the exit status is 1.
    """
    certificate = ""
    try:
        home = home_of(os.environ, ctx, needs_base=False)
        is_of_settings = not home.admin and not home.has_context
        if admin is None and (config is not None or is_of_settings):
            admin, certificate = _own_admin(config)
        target = admin_of(home, admin, admin_token, ctx)
    except ValueError as cause:
        raise click.UsageError(f"{cause}.") from cause
    certificate = "" if ca_file_of(ctx) else certificate
    try:
        if is_dry:
            _print_pending(
                _request(target, certificate, "configuration/pending", "GET"), as_json=as_json
            )
            return
        done = _request(target, certificate, "reload", "POST")
    except ReloadFailed as failure:
        complain(str(failure))
        sys.exit(failure.exit_status)
    if as_json:
        click.echo(json.dumps(done))
        return
    click.echo(f"In force: {' '.join(done['routes'])}")
    _warn(done)


def _own_admin(config: Path | None) -> tuple[str, str]:
    """Return the admin listener of the settings, and the file of its certificate or ""."""
    from gateway.settings.reached import console_url

    settings = load_reachable(config, instead=": send it SIGHUP")
    return console_url(settings), settings.admin.tls.certificate


def _print_pending(pending: dict[str, Any], *, as_json: bool) -> None:
    """Print what a reload would change; end the program with 1 if it would be refused."""
    if as_json:
        click.echo(json.dumps(pending))
    else:
        for it in pending["changes"]:
            key = f"{it['key']} of {it['table']}" if it["table"] else it["key"]
            present = "none yet" if it["current"] is None else it["current"]
            written = "removed" if it["written"] is None else f"{it['written']} ({it['source']})"
            click.echo(safe(f"{key}: {present} -> {written}; by a reload: {it['reload']}"))
        left_out = pending["changes_in_all"] - len(pending["changes"])
        if left_out:
            click.echo(f"and {left_out} more")
        for route in pending["routes"]:
            click.echo(safe(f"{route['prefix']} {route['outcome']}"))
        if not pending["changes"] and not pending["problems"]:
            click.echo("Nothing would change.")
        for reason in (*pending["problems"], *pending["refusals"]):
            complain(reason)
        _warn(pending)
    if pending["problems"] or pending["refusals"]:
        sys.exit(FAILED)


def _warn(found: dict[str, Any]) -> None:
    for warning in found.get("warnings", ()):
        complain(f"warning: {warning}.")


def _request(target: StreamTarget, certificate: str, path: str, method: str) -> dict[str, Any]:
    """Return the answer of the admin API as it is. Raises ReloadFailed.

    With a `certificate`, the path of its file, the server is trusted only if it has that one.
    """
    from http.client import HTTPException
    from ssl import SSLCertVerificationError
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    tls = _trusted(target, certificate)

    def answer(path: str, method: str, headers: Mapping[str, str]) -> dict[str, Any]:
        request = Request(f"{target.url}/{path}", method=method, headers=dict(headers))  # noqa: S310 - http or https
        with urlopen(request, timeout=TIMEOUT_S, context=tls) as response:  # noqa: S310
            found: dict[str, Any] = json.loads(response.read())
            return found

    headers = {"Content-Type": "application/json"}
    try:
        if target.authorization is not None:
            headers["Authorization"] = target.authorization
        elif method != "GET":  # without tokens, this keeps web pages from making changes
            headers["X-CSRF-Token"] = answer("session", "GET", {}).get("csrf", "")
        return answer(path, method, headers)
    except HTTPError as refusal:
        raise _refused(refusal, target) from refusal
    except URLError as error:
        reason: object = error.reason
        if isinstance(reason, SSLCertVerificationError):
            why = f"{target.url}: {_untrusted(reason, certificate)}"
            raise ReloadFailed(why, UNTRUSTED) from error
        words = reason.strerror if isinstance(reason, OSError) else None
        why = f"{target.url} cannot be reached: {words or reason}"
        raise ReloadFailed(why, UNAVAILABLE) from error
    except (HTTPException, OSError, ValueError) as error:
        why = f"{target.url} is not the admin listener of Headgate: {error}"
        raise ReloadFailed(why) from error


def _refused(refusal: HTTPError, target: StreamTarget) -> ReloadFailed:
    """Return why the server has not reloaded."""
    reasons = _reasons(refusal)
    if refusal.status == 401:
        return ReloadFailed(f"{reasons}; {target.advice}", REFUSED)
    if refusal.status == 403:
        return ReloadFailed(reasons, REFUSED)
    return ReloadFailed(reasons)


def _untrusted(reason: SSLCertVerificationError, certificate: str) -> str:
    """Return why a server is not trusted, and what to do."""
    if not certificate:
        why = f"its certificate is not trusted: {reason.verify_message}"
        return f"{why}; {CERTIFICATE_ADVICE}"
    return (
        f"its certificate is not the one in {certificate} (admin.tls.certificate): if the server "
        "has not read a new one yet, give the former one by --cacert FILE, or send it SIGHUP"
    )


def _trusted(target: StreamTarget, certificate: str) -> ssl.SSLContext | None:
    """Return whose certificate is trusted, or None without TLS. Raises ReloadFailed."""
    from gateway import trust

    try:
        return trust.own_listener(certificate) if certificate else target.trusted()
    except StartError as cause:
        raise ReloadFailed(str(cause)) from cause
    except OSError as cause:
        reason = trust.why_not(cause)
        raise ReloadFailed(f"cannot use {certificate} (admin.tls.certificate): {reason}") from cause


def _reasons(refusal: HTTPError) -> str:
    try:
        return str(json.loads(refusal.read())["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{refusal.url} answers {refusal.status}"
