"""The settings, as commands that need them take them from file, environment and flags."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headgate_gateway.tools.shell.exit_status import UNUSABLE
from headgate_gateway.tools.shell.terminal import safe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate_gateway.settings import Settings

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, readable=False),  # `load` complains, and says what named it
    metavar="FILE",
    envvar="HEADGATE_CONFIG",
    show_envvar=True,
    help="TOML file with settings.",
)


def load_settings(config: Path | None, flags: Mapping[str, str | None]) -> Settings:
    """Load the settings; if they have mistakes, print each and end the program."""
    from headgate_gateway.settings import SettingsError

    try:
        return reread_settings(config, flags)
    except SettingsError as refusal:
        for problem in refusal.problems:
            complain(problem)
        sys.exit(UNUSABLE)


def reread_settings(config: Path | None, flags: Mapping[str, str | None]) -> Settings:
    """Return the settings as they are written now. Raises SettingsError."""
    from headgate_gateway.settings import SettingsError, load

    if config is not None and config.is_dir():
        raise SettingsError((f"{config} is a folder: name the file of settings in it.",))
    if config is not None and config.exists() and not config.is_file():  # such as a pipe
        raise SettingsError((f"{config} is no file, so it cannot be read again.",))
    return load(config, os.environ, flags, look_at_files=True)


def complain(sentence: str) -> None:
    """Say on stderr what is wrong; of several sentences each has a line."""
    for line in sentence.splitlines():
        click.echo(safe(f"headgate: {line}"), err=True)
