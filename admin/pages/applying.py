"""Instructions to apply the file of a target: the section *Apply it* of its page, as HTML."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import cdn_configs

_SECTION = re.compile(r"^## Apply it\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


@cache  # some milliseconds, and the files never change
def how_to_apply(folder: str) -> str:
    """Return the section of the page in a folder of cdn_configs as HTML, without its links.

    Those lead to other pages of the documentation, which a gateway does not have.
    """
    from markdown_it import MarkdownIt  # 3 MB, for whoever looks at this page

    page = Path(cdn_configs.__path__[0], folder, "README.md").read_text("utf-8")
    found = _SECTION.search(page)
    assert found is not None, f"{folder} says how it is applied"
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    html: str = markdown.render(_LINK.sub(r"\1", found[1]))
    # Below the heading of the card; and what may be wider than the page is reached by the keyboard.
    html = html.replace("<h3>", "<h4>").replace("</h3>", "</h4>")
    return html.replace("<pre>", '<pre tabindex="0">')
