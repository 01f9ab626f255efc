"""`headgate init`: a commented file of settings to begin with."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from gateway.commands.configuration import complain
from gateway.commands.shell.exit_status import UNUSABLE


@click.command()
@click.argument("file", default="headgate.toml", type=click.Path(path_type=Path), metavar="[FILE]")
def init(file: Path) -> None:
    """Write a settings file with comments.

    FILE is headgate.toml by default. The file is valid as it is, and has every setting with its
    meaning and default. An existing file is not changed.
    """
    from gateway.settings.documents.commented_file import commented_file

    quoted = shlex.quote(str(file))
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(commented_file(quoted))
    except FileExistsError:
        complain(f"{file} is there already: it was left as it is.")
        sys.exit(UNUSABLE)
    except OSError as error:
        complain(f"{file} cannot be written: {error.strerror}.")
        sys.exit(UNUSABLE)
    click.echo(f"Wrote {file}. To serve by it: headgate serve --config {quoted}")
