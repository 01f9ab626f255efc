"""`headgate doctor health`: whether the server with these settings is alive, for a container."""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import TYPE_CHECKING

import click

from gateway.commands.options.configuration import complain, config_option, load_reachable
from gateway.tools.shell.exit_status import FAILED

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings import Address

TIMEOUT_S = 2.0  # an event loop that answers no sooner does not serve


@click.command()
@config_option
def health(config: Path | None) -> None:
    """Check that the server is alive.

    The command requests /healthz from the admin listener that the settings name, on this machine.
    The exit status is 0 if the response is 200 within two seconds, otherwise 1.
    """
    settings = load_reachable(config)
    admin = settings.admin.listen
    fault = fault_of(admin, settings.admin.tls.certificate)
    if fault is not None:
        complain(f"{admin} {fault}.")
        sys.exit(FAILED)


def fault_of(admin: Address, certificate: str = "") -> str | None:
    """Return why the server with this admin listener is not healthy; None if it is.

    With a `certificate`, the path of its file, it is asked by TLS.
    """
    from http.client import HTTPConnection, HTTPException, HTTPSConnection

    host, port = admin.reached_at, admin.port
    connection = HTTPConnection(host, port, timeout=TIMEOUT_S)
    if certificate:
        from gateway import trust

        try:
            trusted = trust.own_listener(certificate)
        except OSError as error:
            return f"cannot be reached: {certificate} cannot be used: {error.strerror or error}"
        connection = HTTPSConnection(host, port, timeout=TIMEOUT_S, context=trusted)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except TimeoutError:
        return f"does not answer within {TIMEOUT_S:g} s"
    except HTTPException:  # among them an end without an answer, which is an OSError, too
        return "does not answer in HTTP"
    except OSError as error:
        return f"cannot be reached: {error.strerror or error}"
    finally:
        connection.close()
    if status == HTTPStatus.BAD_REQUEST and not certificate:
        return (
            "answers 400, as a listener with TLS answers plain HTTP: give its settings by --config"
        )
    return None if status == HTTPStatus.OK else f"answers {status}"
