"""The navigation of the site as `llms.txt`, an index for programs: a hook of MkDocs.

Its form is that of llmstxt.org: the name, a summary, and a list of links for each section.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.pages import Page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.nav import Navigation

# Pages of the navigation that are in no section of it.
START = "Start here"
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
# The end of a sentence, and not of an abbreviation such as `e.g.`.
_SENTENCE = re.compile(r"(.+?[^.\s]{2}[.?!])(?=\s+[A-Z`]|$)")
_PROSE = re.compile(r"[A-Za-z*`\[]")  # a first paragraph begins so, unlike tables, lists and HTML


def on_page_context(
    context: dict[str, Any], *, page: Page, config: MkDocsConfig, nav: Navigation
) -> dict[str, Any]:
    """Write the index with the home page, when all pages have been read."""
    if page.is_homepage:
        path = Path(config.site_dir) / "llms.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(_lines(config, nav)), encoding="utf-8")
    return context


def _lines(config: MkDocsConfig, nav: Navigation) -> Iterator[str]:
    yield f"# {config.site_name}\n"
    yield f"> {config.site_description}\n"
    alone = [item for item in nav if isinstance(item, Page)]
    sections = [(item.title, list(_pages(item))) for item in nav if not isinstance(item, Page)]
    for title, pages in [(START, alone), *sections]:
        if pages:
            yield f"## {title}\n"
            yield from map(_entry, pages)
            yield ""


def _pages(item: Any) -> Iterator[Page]:  # noqa: ANN401 - a page, or a section of any depth
    """Yield the pages of a section and of those below it, in their order."""
    if isinstance(item, Page):
        yield item
    for child in item.children or ():
        yield from _pages(child)


def _entry(page: Page) -> str:
    """Return the line of a page: an absolute link if the configuration has a `site_url`."""
    note = _first_sentence(page.markdown or "")
    link = f"- [{page.title}]({page.canonical_url or page.url or './'})"
    return f"{link}: {note}" if note else link


def _first_sentence(markdown: str) -> str:
    """Return the first sentence of a page's first paragraph, without the targets of its links."""
    for block in markdown.split("\n\n"):
        text = " ".join(block.split())
        if _PROSE.match(text):
            sentence = _SENTENCE.match(_LINK.sub(r"\1", text))
            return sentence[1] if sentence else ""
    return ""
