"""The page of runbooks, made from `docs/alerts.md`: what to do when an alert fires.

The page contains nothing of this gateway, and is the same for everybody.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_name("alerts.md")  # in a clone a link to that of docs/


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
    from markdown_it import MarkdownIt  # 3 MB, for whoever looks at this page

    markdown = MarkdownIt("commonmark", {"html": False})
    text = SOURCE.read_text("utf-8")
    first, *others = (part.partition("\n") for part in re.split("^##? ", text, flags=re.M)[1:])
    sections = (Runbook(name, name.lower(), markdown.render(body)) for name, _, body in others)
    return Runbooks(first[0], markdown.render(first[2]), tuple(sections))
