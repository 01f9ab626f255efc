"""`headgate reload`: a running server reads its settings again."""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import TYPE_CHECKING

import click

from gateway.commands.configuration import UNUSABLE, complain, config_option, load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings import Address

TIMEOUT_S = 60.0  # a reload opens logs, and asks each worker
REFUSED = 1


@click.command()
@config_option
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="File with the token of an operator, where the console has admin_users or admin_tokens.",
)
def reload(config: Path | None, token_file: str | None) -> None:
    """Have the server with these settings read them again.

    Its admin listener on this machine is asked. The exit status is 0 once the new settings are in
    force, also in all workers. Otherwise the former ones stay in force: then the reasons are
    printed, and the exit status is 1.
    """
    admin = load_settings(config, {}).admin
    if admin.port == 0:
        complain("admin has port 0, so the server's port is not known: send it SIGHUP.")
        sys.exit(UNUSABLE)
    problem, routes = request_reload(admin, token_file)
    if problem is not None:
        complain(problem)
        sys.exit(REFUSED)
    click.echo(f"In force: {' '.join(routes)}")


def request_reload(admin: Address, token_file: str | None) -> tuple[str | None, list[str]]:
    """Request a reload; return why it was refused, or None and the routes in force."""
    import json
    from http.client import HTTPConnection, HTTPException
    from pathlib import Path

    headers = {"Content-Type": "application/json"}
    connection = HTTPConnection(admin.reached_at, admin.port, timeout=TIMEOUT_S)
    try:
        if token_file is not None:
            headers["Authorization"] = f"Bearer {Path(token_file).read_text().strip()}"
        else:  # while everybody on this machine is an operator, a change needs this against pages
            connection.request("GET", "/api/session")
            headers["X-CSRF-Token"] = json.loads(connection.getresponse().read()).get("csrf", "")
        connection.request("POST", "/api/reload", headers=headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (HTTPException, ValueError):
        return f"{admin} is not the admin listener of Headgate", []
    except OSError as error:
        return f"{admin} cannot be reached: {error.strerror or error}", []
    finally:
        connection.close()
    if response.status == HTTPStatus.OK:
        return None, answer["routes"]
    return str(answer.get("detail", f"{admin} answers {response.status}")), []
