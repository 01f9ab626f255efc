"""`headgate doctor cdn`, which is the command of the distribution headgate-doctor."""

from __future__ import annotations

import sys

import click

from headgate_gateway.commands.options.configuration import complain
from headgate_gateway.tools.shell.exit_status import UNUSABLE

try:
    from headgate_doctor.command import doctor as doctor_cdn
except ModuleNotFoundError:

    @click.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
    @click.argument("words", nargs=-1, type=click.UNPROCESSED)
    def doctor_cdn(words: tuple[str, ...]) -> None:  # noqa: ARG001 - whatever they are
        """Find faults of a proxy or CDN in front of a server."""
        complain(
            "headgate doctor cdn needs an extra: pip install ./client ./doctor '.[doctor]' "
            "in a clone of Headgate, or ./headgate_doctor-*.whl in the folder of a release."
        )
        sys.exit(UNUSABLE)
