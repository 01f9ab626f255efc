"""Parts of pages that are made from Markdown: runbooks, and how the file of a target is applied.

They contain nothing of this gateway, and are the same for everybody.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import headgate_cdn

SOURCE = Path(__file__).with_name("alerts.md")  # in a clone a link to that of docs/
_SECTION = re.compile(r"^## Apply it\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


class Runbook(NamedTuple):
    """The section of one alert."""

    name: str
    anchor: str
    html: str


class Runbooks(NamedTuple):
    """The sections of all alerts, and the introduction before the first."""

    title: str
    intro: str
    sections: tuple[Runbook, ...]


@cache  # some milliseconds, and the file never changes
def runbooks() -> Runbooks:
    """Return the page's parts as HTML."""
    from markdown_it import MarkdownIt  # 3 MB, which a gateway without readers of this page saves

    markdown = MarkdownIt("commonmark", {"html": False})
    text = SOURCE.read_text("utf-8")
    first, *others = (part.partition("\n") for part in re.split("^##? ", text, flags=re.M)[1:])
    sections = (Runbook(name, name.lower(), markdown.render(body)) for name, _, body in others)
    return Runbooks(first[0], markdown.render(first[2]), tuple(sections))


@cache  # some milliseconds, and the files never change
def how_to_apply(folder: str) -> str:
    """Return the section of the page in a folder of cdn_configs as HTML, without its links.

    Those lead to other pages of the documentation, which a gateway does not have.
    """
    from markdown_it import MarkdownIt  # 3 MB, which a gateway without readers of this page saves

    page = Path(headgate_cdn.__path__[0], folder, "README.md").read_text("utf-8")
    found = _SECTION.search(page)
    assert found is not None, f"{folder} says how it is applied"
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    html: str = markdown.render(_LINK.sub(r"\1", found[1]))
    # What may be wider than the page is reached by the keyboard.
    return html.replace("<pre>", '<pre tabindex="0">')
