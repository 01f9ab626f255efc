"""The command `headgate-doctor URL`, which is `headgate doctor cdn URL`, too."""

from __future__ import annotations

import os
import re
import sys

import click

_DIGEST = re.compile(r"[a-z-]{1,64}/[0-9a-f]{16}")
_ORIGIN = re.compile(r"https?://[^\s/?#@,*]+")
MOST_ORIGINS = 2  # enough to see that one page gets what was stored for another
INTERRUPTED = 130  # 128 + SIGINT, as shells report it


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("url", metavar="URL")
@click.option(
    "--digest",
    metavar="DIGEST",
    help="Digest of the file of headgate cdn render that should be deployed, as it stands in it.",
)
@click.option(
    "--origin",
    "origins",
    multiple=True,
    metavar="URL",
    help="Web origin whose pages may read: give two, to see that each gets its own responses.",
)
@click.option(
    "--cacert",
    "ca_file",
    type=click.Path(dir_okay=False),
    default="",
    metavar="FILE",
    help="Trust only the certificate authorities in this PEM file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.version_option(
    package_name="headgate-doctor",
    message="headgate-doctor %(version)s",
    help="Print the version of headgate-doctor.",
)
def doctor(
    url: str, digest: str | None, origins: tuple[str, ...], ca_file: str, *, as_json: bool
) -> None:
    """Find faults of a proxy or CDN in front of a server.

    The command creates streams with random names below the URL, reads them, appends to them and
    deletes them, with at most 400 requests. It sends the value of STREAM_AUTH as their
    Authorization. It only reads with the value of STREAM_READ_AUTH, a read token. The exit status
    is 1 if something is wrong, and 2 if the URL cannot be examined.
    """
    if digest is not None and _DIGEST.fullmatch(digest) is None:
        raise click.BadParameter("it is like nginx/4b377d29c24c42d1.", param_hint="--digest")
    if len(origins) > MOST_ORIGINS or not all(map(_ORIGIN.fullmatch, origins)):
        why = "it must be one or two web origins such as https://app.example.com."
        raise click.BadParameter(why, param_hint="--origin")
    from headgate_doctor import report
    from headgate_doctor.deployment import ExaminationOptions
    from headgate_doctor.streams import first_target, reader_of

    try:
        target = first_target(url, os.environ, ca_file)
        reader = reader_of(url, os.environ)
    except ValueError as refusal:
        raise click.BadParameter(str(refusal), param_hint="URL") from refusal
    options = ExaminationOptions(reader, digest, origins)
    sys.exit(report.run(target.shown.rpartition("/")[0], target, options, as_json=as_json))


def main() -> None:
    """Run the command; when interrupted, exit with 130, where click would exit with 1."""
    try:
        doctor.main(prog_name="headgate-doctor", standalone_mode=False)
    except click.ClickException as refusal:
        refusal.show()
        sys.exit(refusal.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(INTERRUPTED)
