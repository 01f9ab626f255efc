"""The check of a rendered file against the settings, and by its vendor's own checker."""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from headgate_cdn.errors import Refused
from headgate_cdn.options import Options, from_settings, settled
from headgate_cdn.render import MARK, render, whole
from headgate_cdn.targets import target

if TYPE_CHECKING:
    from headgate_cdn.target import Target
    from headgate_gateway.settings import Settings

LONGEST_FILE = 1 << 20  # a hundred times the longest that is rendered
CHECKER_S = 30.0  # varnishd compiles what it checks
SYSTEM = "/usr/local/sbin:/usr/sbin:/sbin"  # where servers are that are in nobody's PATH
MOST_SAID = 4000  # characters of a checker

_PASSES_ON = (
    "It passes on the header Forwarded as clients make it up, by which one client has its quota "
    "twice. What takes it out is missing"
)
_BYTE_ORDER_MARK = (
    "It begins with a byte order mark, for which most servers refuse it: save it as UTF-8 without"
)
_NUL = "the file has NUL characters, as UTF-16 without a byte order mark has: save it as UTF-8"
_NO_MARK = (
    "the file bears no mark of headgate cdn render, which is its first line: check a file as that "
    "command wrote it, or render one"
)
_MARK = re.compile(rf"{MARK}([a-z-]+) (\{{.*\}})")


class CheckReport(msgspec.Struct, frozen=True):
    """The result of a check; `difference` is a unified diff, empty for a file as it should be."""

    target: str
    difference: str
    checker: str  # its program; "" where a vendor has none that runs here
    # None where the checker is not installed.
    accepted: bool | None
    said: str
    warning: str = ""  # of what the difference means, where it is not plain to see

    @property
    def is_fine(self) -> bool:
        """True if the file has no difference and the vendor's checker did not refuse it."""
        return not self.difference and self.accepted is not False


def check(text: str, settings: Settings) -> CheckReport:
    """Compare a rendered file with what the settings ask for now, and have it checked.

    Line ends of Windows, which editors and git leave, are no difference, nor is a byte order mark;
    the checker gets the file as it is. Raises Refused when the file bears no mark, or no right file
    can be made any more.
    """
    plain = text.removeprefix("\ufeff").replace("\r\n", "\n")
    named, now, as_made = rendered_now(plain, settings)
    difference = "".join(
        difflib.unified_diff(
            plain.splitlines(keepends=True),
            as_made.splitlines(keepends=True),
            "the file",
            "rendered now",
        )
    )
    program = Path(named.checker[0]).name if named.checker else ""
    accepted, output = _checked(named, now, text) if program else (None, "")
    clears = named.clears_forwarded
    passes_on = bool(clears) and text.count(clears) < as_made.count(clears)
    warning = f"{_PASSES_ON}: {clears}" if passes_on else ""
    if not warning and text.startswith("\ufeff"):
        warning = _BYTE_ORDER_MARK
    return CheckReport(named.name, difference, program, accepted, output, warning)


def rendered_now(text: str, settings: Settings) -> tuple[Target, Options, str]:
    """Return a rendered file's target, and its options and text as the settings make them now.

    Raises Refused as `check` does.
    """
    if len(text) > LONGEST_FILE:
        raise Refused(f"the file is over {LONGEST_FILE >> 20} MiB: no target's is so long")
    named, marked = _marked(text)
    decided = settled(settings, marked.get("credentials"))
    chosen = {name: value for name, value in marked.items() if name not in decided}
    now = from_settings(settings, **chosen)
    return named, now, render(named, now)


def _marked(text: str) -> tuple[Target, dict[str, object]]:
    """Return the target and the options that the file's mark names."""
    mark = _MARK.search(_comment(text))
    if mark is None:
        raise Refused(_NUL if "\0" in text else _NO_MARK)
    try:
        msgspec.json.decode(mark[2], type=Options)  # so that each is known, and right
        options = msgspec.json.decode(mark[2], type=dict[str, object])
    except (msgspec.DecodeError, Refused) as cause:
        raise Refused(f"the mark of the file cannot be read: {cause}") from cause
    return target(mark[1]), options


def _comment(text: str) -> str:
    """Return the text with the mark: one of a JSON document's, else the first line."""
    if not text.lstrip().startswith(("{", "[")):
        return text.partition("\n")[0]
    try:
        return next((one for one in _texts(json.loads(text)) if one.startswith(MARK)), "")
    except (ValueError, RecursionError) as cause:
        raise Refused("the file is no JSON, though it begins like it") from cause


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in _texts(part)]


def _checked(named: Target, options: Options, text: str) -> tuple[bool | None, str]:
    """Run the vendor's checker on the file; return its verdict, None without one, and its words."""
    program, *arguments = named.checker
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:{SYSTEM}")
    if found is None:
        return None, ""
    try:
        made = tempfile.TemporaryDirectory(prefix="headgate-cdn-")
    except OSError as cause:
        raise Refused(
            f"no folder for temporary files can be written, and {program} needs one: set TMPDIR"
        ) from cause
    with made as folder:
        file = _laid_out(Path(folder), named, options, text)
        command = [found, *(part.format(file=file, folder=folder) for part in arguments)]
        try:
            run = subprocess.run(  # noqa: S603 - a program that a target names
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=CHECKER_S,
                check=False,
                cwd=folder,
            )
        except subprocess.TimeoutExpired:
            return False, f"no answer within {CHECKER_S:g} s"
    output = (run.stdout + run.stderr).decode(errors="replace")
    return run.returncode == 0, output.replace(f"{folder}/", "")[:MOST_SAID]


def _laid_out(folder: Path, named: Target, options: Options, text: str) -> Path:
    """Write the files that the checker needs into `folder`; return the one that it begins with."""
    for path in named.machine_folders:
        text = text.replace(path, str(folder / Path(path).name))
    file = folder / named.file_name
    file.write_text(text)
    for other in map(target, named.beside):
        (folder / other.file_name).write_text(render(other, options))
    if not named.whole or options.standalone:
        return file
    around = folder / f"whole-{named.file_name}"
    around.write_text(whole(named, options))
    return around
