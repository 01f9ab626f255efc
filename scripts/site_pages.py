"""The places of the repository's pages in the documentation site: a hook of MkDocs.

MkDocs takes pages below one folder. Here the README is the home page, and pages of docs/ link to
others beside docs/. So every page is known to MkDocs by its path in the repository, by which links
are found as they are written, and its address in the site is given apart from that.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File, Files, InclusionLevel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
PAGE = ".md"
IN_CELL = re.compile(r"(?<=<td><code>)[^<]+|(?<=, <code>)tests/[^<]+")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Return the files of docs/ by their paths in the repository, with the pages beside docs/."""
    placed = []
    for file in files:
        if file.src_dir != config.docs_dir:
            placed.append(file)  # the theme's
        elif not is_example(file):
            placed.append(_file(f"docs/{file.src_uri}", file.dest_uri, config))
    for path in beside_docs(config.nav):
        placed.append(_file(path, address(path), config))
        if path != "README.md":  # as which others would be the first page of their section
            placed[-1].name = Path(path).parent.name
    return Files(placed)


def on_page_markdown(markdown: str, *, page: Page, **_: object) -> str:
    """Take the navigation beside the home page away, which would have that page alone."""
    if page.is_homepage:
        page.meta["hide"] = ["navigation"]
    return markdown


def on_page_content(html: str, **_: object) -> str:
    """Let names in tables break at their underscores: the columns of settings are narrow."""
    return IN_CELL.sub(lambda code: code[0].replace("_", "_<wbr>"), html)


def is_example(file: File) -> bool:
    """Return whether this is a source of an example, which is read in the repository."""
    return file.src_uri.startswith("examples/") and not file.src_uri.endswith(PAGE)


def beside_docs(nav: Any) -> Iterator[str]:  # noqa: ANN401 - lists and dicts of YAML
    """Yield the pages of the navigation that are not below docs/."""
    if isinstance(nav, str):
        if not nav.startswith("docs/"):
            yield nav
        return
    for entry in nav.values() if isinstance(nav, dict) else nav:
        yield from beside_docs(entry)


def address(path: str) -> str:
    """Return the file in the site for a page beside docs/: the README is the home page."""
    name = path.removesuffix(PAGE).removesuffix("README").strip("/").lower().replace("_", "-")
    return f"{name}/index.html".removeprefix("/").replace("/headgate-cdn/", "/")


def _file(path: str, dest_uri: str, config: MkDocsConfig) -> File:
    return File(
        path,
        src_dir=str(ROOT),
        dest_dir=config.site_dir,
        use_directory_urls=True,
        dest_uri=dest_uri,
        inclusion=InclusionLevel.INCLUDED,
    )
