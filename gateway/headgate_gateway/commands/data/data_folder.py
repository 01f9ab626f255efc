"""`headgate data verify`, `backup` and `restore`: the data folder of a `file:` origin."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headgate_gateway.commands.options.configuration import complain
from headgate_gateway.errors import StartError
from headgate_gateway.tools.server.target import is_whole_url
from headgate_gateway.tools.shell.amounts import byte_size, counted
from headgate_gateway.tools.shell.exit_status import DONE, FAILED, UNUSABLE
from headgate_gateway.tools.shell.progress import Progress
from headgate_gateway.tools.shell.terminal import safe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.tools.backups.copying import OnProgress
    from headgate_gateway.tools.backups.verification import FileVerification


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def _path_of(_ctx: click.Context, option: click.Parameter, value: str) -> Path:
    """Return a path, which may also be given as the storage of a route. Raises UsageError."""
    if is_whole_url(value):
        raise click.UsageError(
            f"{option.metavar} is a folder or file on this machine, such as /var/lib/headgate, and "
            "not the URL of a server: headgate data copy URL file:FOLDER copies its streams."
        )
    return Path(value.removeprefix("file:"))


@click.command()
@click.argument("place", metavar="FOLDER", type=click.Path(), callback=_path_of)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def verify(place: Path, as_json: bool) -> None:
    """Verify a data folder or a backup.

    The command verifies each checksum, and that no record is missing. It changes nothing, and a
    server may use the folder meanwhile. It prints a line for each damaged record, with the path of
    the stream and the offset. The exit status is 1 if something is damaged, and 2 if there is
    nothing to verify.
    """
    from headgate_gateway.tools.backups.source import SourceFile
    from headgate_gateway.tools.backups.verification import FileVerification

    with _refusals(UNUSABLE), _progress() as progress, SourceFile.open(place) as source:
        check = FileVerification(source, lambda: progress("verified", check.bytes, 0))
        for damage in check.run():
            if as_json:
                click.echo(json.dumps(damage._asdict()))
            else:
                at = f"{damage.path} at {damage.offset}: " if damage.path else ""
                click.echo(safe(f"{at}{damage.problem}"))
    _summarize(check, source.file, as_json=as_json)
    sys.exit(FAILED if check.damages else DONE)


def _summarize(check: FileVerification, file: Path, *, as_json: bool) -> None:
    from headgate_gateway.logs.sqlite.data_folder import SCHEMA_VERSION

    if as_json:
        summary = {"file": str(file), "format": SCHEMA_VERSION, "damages": check.damages}
        click.echo(json.dumps({**summary, "streams": check.streams, "bytes": check.bytes}))
        return
    verdict = f"Damaged in {counted(check.damages, 'place')}" if check.damages else "Sound"
    size = _size(check.streams, check.bytes)
    click.echo(safe(f"{verdict}: {size} in {file}, format {SCHEMA_VERSION}."))


@click.command()
@click.argument("source", metavar="FROM", type=click.Path(), callback=_path_of)
@click.argument("to", metavar="TO", type=click.Path(), callback=_path_of)
@json_option
def backup(source: Path, to: Path, *, as_json: bool) -> None:
    """Copy the data folder FROM to the file TO.

    The server may keep running. The copy has all appends that were acknowledged before, and is
    verified before it gets its name. An existing file is never overwritten.
    """
    from headgate_gateway.tools.backups.copying import back_up

    with _refusals(FAILED), _progress() as progress:
        copied = back_up(source, to, progress)
    size = _size(copied.streams, copied.records_bytes)
    sentence = f"Backed up {size} to {to}, {counted(copied.file_bytes, 'byte')}."
    _finish(sentence, {"file": str(to), **copied._asdict()} if as_json else None)


@click.command()
@click.argument("backup", metavar="BACKUP", type=click.Path(), callback=_path_of)
@click.argument("folder", metavar="FOLDER", type=click.Path(), callback=_path_of)
@json_option
def restore(backup: Path, folder: Path, *, as_json: bool) -> None:
    """Create the data folder FOLDER from a BACKUP.

    The folder must be empty, or not exist. Appends after the backup are lost, and the server
    refuses their offsets.
    """
    from headgate_gateway.tools.backups.copying import restore as restore_backup

    with _refusals(FAILED), _progress() as progress:
        copied = restore_backup(backup, folder, progress)
    sentence = f"Restored {_size(copied.streams, copied.records_bytes)} to {folder}."
    _finish(sentence, {"folder": str(folder), **copied._asdict()} if as_json else None)


def _finish(sentence: str, result: dict[str, object] | None) -> None:
    """Print what a command has done as a sentence, or its `result` as a JSON object."""
    click.echo(safe(sentence) if result is None else json.dumps(result))


def _size(streams: int, records_bytes: int) -> str:
    return f"{counted(streams, 'stream')} with {counted(records_bytes, 'byte')}"


@contextlib.contextmanager
def _refusals(status: int) -> Iterator[None]:
    """End the program with a sentence about what cannot be done, and this status."""
    try:
        yield
    except StartError as refusal:
        from headgate_gateway.tools.backups.source import NothingThere

        complain(f"{refusal.detail}.")
        sys.exit(UNUSABLE if isinstance(refusal, NothingThere) else status)


@contextlib.contextmanager
def _progress() -> Iterator[OnProgress]:
    """Show progress on a terminal within the block."""
    progress = Progress()

    def show(what: str, done: int, total: int) -> None:
        of_all = f" of {byte_size(total)}" if total else ""
        progress.show(lambda: f"{byte_size(done)}{of_all} {what}")

    try:
        yield show
    finally:
        progress.clear()
