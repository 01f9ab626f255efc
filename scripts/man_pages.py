"""Write a man page for each command, made from its help: `man_pages.py FOLDER`."""

from __future__ import annotations

import inspect
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headgate_gateway.__main__ import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

SUMMARY_LENGTH = 200  # characters; a name line is cut by no program


def write_pages(folder: Path) -> int:
    """Write a page for each command into `folder`; return their number."""
    folder.mkdir(parents=True, exist_ok=True)
    context = click.Context(cli, info_name="headgate", **cli.context_settings)
    pages = list(_contexts(context))
    for page in pages:
        (folder / f"{_file_name(page)}.1").write_text(man_page(page), encoding="utf-8")
    return len(pages)


def _contexts(context: click.Context) -> Iterator[click.Context]:
    """Yield the context of a command, and those of the commands in it."""
    yield context
    for name, command in _commands(context):
        yield from _contexts(click.Context(command, info_name=name, parent=context))


def _commands(context: click.Context) -> list[tuple[str, click.Command]]:
    """Return the commands of a group by their names; none of a single command."""
    group = context.command
    if not isinstance(group, click.Group):
        return []
    found = ((name, group.get_command(context, name)) for name in group.list_commands(context))
    return [(name, it) for name, it in found if it is not None and not it.hidden]


def man_page(context: click.Context) -> str:
    """Return the page of a command as roff."""
    command = context.command
    name = _file_name(context)
    summary = command.get_short_help_str(SUMMARY_LENGTH).rstrip(".")
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [
        f'.TH "{name.upper()}" "1" "{_date()}" "headgate {version("headgate")}" "Headgate"',
        *(".SH NAME", f"{_text(name)} \\- {_text(summary)}"),
        *(".SH SYNOPSIS", f".B {_text(context.command_path)}", _text(usage)),
        *(".SH DESCRIPTION", *_paragraphs(command.help or "")),
    ]
    records = [it.get_help_record(context) for it in command.get_params(context)]
    # An argument without help has a record, too: the synopsis and the description explain it.
    options = [record for record in records if record is not None and record[1]]
    if options:
        lines.append(".SH OPTIONS")
    for title, meaning in options:
        lines += [".TP", f"\\fB{_text(title)}\\fR", *_paragraphs(meaning)]
    if inner := _commands(context):
        lines.append(".SH COMMANDS")
    for title, each in inner:
        summary = each.get_short_help_str(SUMMARY_LENGTH)
        lines += [".TP", f"\\fB{_text(name)}\\-{_text(title)}\\fR(1)", _text(summary)]
    if command.epilog:
        lines += [".SH NOTES", *_paragraphs(command.epilog)]
    return "\n".join(lines) + "\n"


def _file_name(context: click.Context) -> str:
    return context.command_path.replace(" ", "-")


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the lines of a text, its paragraphs apart."""
    for number, paragraph in enumerate(inspect.cleandoc(text).split("\n\n")):
        if number:
            yield ".PP"
        yield _text(" ".join(paragraph.split()))


def _text(text: str) -> str:
    """Return text in which nothing is an instruction to roff."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def _date() -> str:
    """Return the day of the page, that of SOURCE_DATE_EPOCH for a build that can be repeated."""
    now = time.time()  # noqa: TID251 - a script has no caller to hand a clock down
    return time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", now))))


if __name__ == "__main__":
    (folder,) = map(Path, sys.argv[1:])
    sys.stdout.write(f"{write_pages(folder)} pages in {folder}\n")
