"""The command that turns a password into the hash that the settings have of it."""

from __future__ import annotations

import sys

import click

from gateway.commands.configuration import complain
from gateway.commands.shell.exit_status import FAILED
from gateway.commands.shell.typed_secrets import AskingCommand

# Long enough that the attempts which the server allows cannot find it; words are welcome.
SHORTEST, LONGEST = 12, 1024  # characters


@click.command("hash-password", cls=AskingCommand)
def hash_password() -> None:
    """Print the hash of a password, for admin_users.

    The command asks for the password, or reads it from stdin without the line end.
    """
    if sys.stdin.isatty():
        password = str(
            click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        )
    else:
        password = sys.stdin.read(LONGEST + 2).removesuffix("\n").removesuffix("\r")
    if not SHORTEST <= len(password) <= LONGEST or "\n" in password:
        complain(f"a password is one line of {SHORTEST} to {LONGEST:,} characters.")
        sys.exit(FAILED)
    from argon2 import PasswordHasher

    click.echo(PasswordHasher().hash(password.encode("utf-8", "surrogateescape")))
