"""The licences of what is shipped: which are accepted, and the file that has the texts of all."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import click
from license_expression import get_spdx_licensing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scripts.release.parts import Part

SPDX = get_spdx_licensing()
# What each asks of those who ship copies, and is done: a licence that asks for more is refused.
ACCEPTED = {
    "Apache-2.0": "the text and the NOTICE file come along; ours",
    "Apache-2.0 WITH LLVM-exception": "asks for less than Apache-2.0",
    "BSD-2-Clause": "the text comes along",
    "BSD-3-Clause": "the text comes along, and nobody is said to endorse Headgate",
    "CC0-1.0": "asks for nothing",
    "MIT": "the text comes along",
    "MIT-0": "asks for nothing",
    "PSF-2.0": "the text comes along; the code was not changed by us, which else had to be said",
    "Unicode-3.0": "the text comes along",
    "Zlib": "the text comes along",
}
# By reading the texts, for what names no licence of SPDX.
READ = {
    "aiofastnet": "MIT",
    "aiosignal": "Apache-2.0",  # "Apache 2.0"
    "async-timeout": "Apache-2.0",  # "Apache 2"
    "apsw": "Zlib",  # "any-OSI", which leaves it to who reads it
    "jinja2": "BSD-3-Clause",
    "markdown-it-py": "MIT",
    "mdurl": "MIT",
    "openssl": "Apache-2.0",  # from version 3 on; it is within cryptography
    "uvloop": "MIT OR Apache-2.0",  # "MIT License", with the texts of both
}
HEAD = """\
The licences of Headgate {version}, of all that it is installed with, and of all that is in its
image and its packages for Debian. First each part with its version and its licence in the words of
SPDX, and below it what was compiled into it; then each text, below the files that have it.

A part with * comes without a text: the wheel that it is compiled into names it and its licence.
"""


def is_accepted(expression: str) -> bool:
    """Return whether one may ship what has this licence."""
    return _accepts(SPDX.parse(expression, validate=True))


def _accepts(tree: object) -> bool:
    if isinstance(tree, SPDX.OR):
        return any(map(_accepts, tree.args))
    if isinstance(tree, SPDX.AND):
        return all(map(_accepts, tree.args))
    return str(tree) in ACCEPTED


def licence_texts(version: str, parts: Iterable[Part]) -> str:
    """Return the licences of parts as one text. Raises ClickException for one not accepted."""
    found = sorted(parts, key=lambda part: (part.name, part.purl.type))
    lines = [HEAD.format(version=version)]
    for part in found:
        lines.append(_line(part))
        lines += [f"    {_line(one)}" for one in part.within]
    texts: dict[str, list[str]] = defaultdict(list)
    for part in (one for above in found for one in (above, *above.within)):
        for name, text in part.texts.items():
            texts[_plain(text)].append(f"{part.name} {part.version}: {name}")
    for text, users in texts.items():
        lines += ["", "=" * 100, *users, "-" * 100, text]
    return "\n".join(lines) + "\n"


def _line(part: Part) -> str:
    if not part.licence or SPDX.validate(part.licence).errors:
        raise click.ClickException(
            f"{part.name} states the licence {part.licence!r}, which SPDX does not know:"
            " read its text, and add it to READ in scripts/release/licences.py"
        )
    if not is_accepted(part.licence):
        raise click.ClickException(
            f"{part.name} has the licence {part.licence}, which ACCEPTED in"
            " scripts/release/licences.py does not have: do not ship it, or say there what it asks"
        )
    return f"{part.name} {part.version}: {part.licence}{'' if part.texts else ' *'}"


def _plain(text: str) -> str:
    """Return a text without what differs between files and says nothing."""
    return "\n".join(line.rstrip() for line in text.strip("\ufeff\r\n").splitlines())
