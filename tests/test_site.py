"""The documentation as a site: whole, with every public name of the library, and by itself."""

from __future__ import annotations

import fcntl
import importlib
import pkgutil
import re
import subprocess
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from markdown_it import MarkdownIt
from typing_extensions import override

import headgate
from tests.support.processes import ROOT
from tests.support.shared_folder import shared_folder
from tests.test_architecture import modules
from tests.test_docs import DOCUMENTS

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Browser

# To build it takes half a minute of a core, which others may need as well.
pytestmark = pytest.mark.timeout(240)

# A form, what the console shows, and the descriptions of the two packages, for their indexes.
NOT_IN_THE_SITE = {
    ".github/PULL_REQUEST_TEMPLATE.md",
    "admin/headgate_admin/pages/alerts.md",
    "client/README.md",
    "client/js/README.md",
}
REFERENCE = "client/reference"
PUBLIC = re.compile(r"headgate\b(?!.*__main__)")
# The attribute by which an element loads something by itself.
LOADING = {"audio": "src", "iframe": "src", "img": "src", "script": "src", "video": "src"}
LOADING_RELATIONS = {"icon", "modulepreload", "preload", "stylesheet"}
INDEX_ENTRY = re.compile(r"- \[[^\]]+\]\((?P<link>[^)\s]+)\)(?:: (?P<note>\S.*))?")
STRUCTURE = ("h1", "h2", "h3", "li", "ol", "pre", "table", "tr", "ul")


class BuiltPage(HTMLParser):
    """A page of the site: what it loads, its ids, and how often its article has an element."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.ids: set[str] = set()
        self.elements = dict.fromkeys(STRUCTURE, 0)
        self._is_in_article = False
        self.feed(html)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        fields = {name: value or "" for name, value in attrs}
        self.ids.add(fields.get("id", ""))
        if tag == "link" and fields.get("rel") in LOADING_RELATIONS:
            self.loaded.append(fields["href"])
        self.loaded.append(fields.get(LOADING.get(tag, ""), ""))
        self._is_in_article |= tag == "article"
        if self._is_in_article and tag in self.elements:
            self.elements[tag] += 1

    @override
    def handle_endtag(self, tag: str) -> None:
        self._is_in_article &= tag != "article"


def place(document: str) -> str:
    """The folder in the site of a page of the repository."""
    name = document.removesuffix(".md").removesuffix("README").rstrip("/")
    if name.startswith("docs/"):
        return name.removeprefix("docs/")
    return name.lower().replace("_", "-").replace("/headgate-cdn/", "/") or "."


PLACES = {place(str(path)): ROOT / path for path in DOCUMENTS if str(path) not in NOT_IN_THE_SITE}


def build(options: str) -> subprocess.CompletedProcess[str]:
    """Run what `make docs` does, with other options behind it."""
    steps = subprocess.check_output(["make", "-n", "docs"], cwd=ROOT, text=True).splitlines()
    (command,) = [step for step in steps if "mkdocs build" in step]
    return subprocess.run(
        ["sh", "-c", f"{command} {options}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the site as `make docs` builds it; the first worker that asks builds it."""
    folder = shared_folder(tmp_path_factory) / "site"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            made = folder.with_suffix(".made")
            done = build(f"--site-dir {made}")
            assert done.returncode == 0, done.stdout
            made.rename(folder)
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, BuiltPage]:
    """The pages of the site by their folders."""
    return {
        path.parent.relative_to(site).as_posix(): BuiltPage(path.read_text())
        for path in site.rglob("index.html")
    }


@pytest.mark.usefixtures("processes")
def test_a_link_or_an_anchor_that_leads_nowhere_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text("# One\n\n[a](gone.md) [b](#two) [c](#one)\n")
    (tmp_path / "mkdocs.yml").write_text(
        f"{{INHERIT: {ROOT / 'mkdocs.yml'}, docs_dir: docs, nav: null, hooks: [], plugins: []}}"
    )
    done = build(f"--config-file {tmp_path / 'mkdocs.yml'} --site-dir {tmp_path / 'site'}")
    warnings = [line for line in done.stdout.splitlines() if line.startswith("WARNING")]
    assert [("'gone.md'" in line, "'#two'" in line) for line in warnings] == [
        (True, False),
        (False, True),
    ]
    assert done.returncode == 1


def test_the_site_has_every_page_of_the_repository_and_no_other(
    pages: dict[str, BuiltPage],
) -> None:
    assert set(pages) == set(PLACES)


def test_a_page_has_the_same_headings_lists_and_tables_in_the_site_as_in_the_repository(
    pages: dict[str, BuiltPage],
) -> None:
    """Forges and MkDocs read lists differently: indent by four what is below an item of one."""
    commonmark = MarkdownIt().enable("table")
    differing = {}
    for name, path in PLACES.items():
        there = BuiltPage(f"<article>{commonmark.render(path.read_text())}</article>").elements
        here = pages[name].elements
        if name != REFERENCE and here != there:
            differing[name] = {tag: (here[tag], there[tag]) for tag in here}
    assert differing == {}


def test_the_index_for_programs_lists_every_page_below_the_sections_of_the_navigation(
    site: Path,
) -> None:
    text = (site / "llms.txt").read_text()
    configuration = (ROOT / "mkdocs.yml").read_text()
    told = dict(re.findall(r"^(site_\w+): (.*)$", configuration, re.MULTILINE))
    sections = re.findall(r"^  - ([^:\n]+):$", configuration.partition("\nnav:\n")[2], re.MULTILINE)
    assert text.startswith(f"# {told['site_name']}\n\n> {told['site_description']}\n\n## ")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE)[1:] == sections
    lines = [line for line in text.splitlines()[3:] if line and not line.startswith("## ")]
    entries = [INDEX_ENTRY.fullmatch(line) for line in lines]
    assert [line for line, entry in zip(lines, entries, strict=True) if entry is None] == []
    links = [entry["link"] for entry in entries if entry is not None]
    assert sorted(link.removesuffix("/") for link in links) == sorted(PLACES)
    notes = [entry["note"] for entry in entries if entry is not None and entry["note"]]
    assert len(notes) > len(links) * 0.9


@pytest.mark.usefixtures("processes")
def test_the_index_for_programs_has_absolute_links_if_the_site_has_a_url(tmp_path: Path) -> None:
    (tmp_path / "docs/deep").mkdir(parents=True)
    (tmp_path / "docs/index.md").write_text(
        "# One\n\n| no | prose |\n\nIt [is](deep/two.md) so. Or so.\n"
    )
    (tmp_path / "docs/deep/two.md").write_text("# Two\n")
    (tmp_path / "mkdocs.yml").write_text(
        f"{{INHERIT: {ROOT / 'mkdocs.yml'}, docs_dir: docs, site_url: 'https://docs.test/x/',"
        " nav: [index.md, {Below: [{Deeper: [deep/two.md]}]}],"
        f" hooks: [{ROOT / 'scripts/llms_txt.py'}], plugins: []}}"
    )
    done = build(f"--config-file {tmp_path / 'mkdocs.yml'} --site-dir {tmp_path / 'site'}")
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "site/llms.txt").read_text().splitlines()[4:] == [
        *("## Start here", "", "- [One](https://docs.test/x/): It is so.", ""),
        *("## Below", "", "- [Two](https://docs.test/x/deep/two/)"),
    ]


def test_the_reference_has_every_public_name_of_the_library(pages: dict[str, BuiltPage]) -> None:
    ids = {id_ for id_ in pages[REFERENCE].ids if id_.startswith("headgate.")}
    assert {f"headgate.{name}" for name in headgate.__all__} - ids == set()
    shown = {id(pkgutil.resolve_name(each)) for each in ids}  # by whichever of its names
    library = [importlib.import_module(name) for name in modules() if PUBLIC.match(name)]
    public = [(each, name) for each in library for name in getattr(each, "__all__", ())]
    missing = [
        f"{each.__name__}.{name}" for each, name in public if id(getattr(each, name)) not in shown
    ]
    assert missing == []


def test_no_page_loads_anything_from_another_host(site: Path, pages: dict[str, BuiltPage]) -> None:
    loaded = {address for page in pages.values() for address in page.loaded}
    for style in site.rglob("*.css"):
        loaded |= set(re.findall(r"(?:url\(|@import )['\"]?([^'\")]+)", style.read_text()))
    assert len(loaded) > 10
    assert {address for address in loaded if re.match(r"([a-z]+:)?//", address)} == set()


@pytest.mark.usefixtures("processes")
@pytest.mark.asyncio(loop_scope="session")
async def test_a_browser_finds_a_setting_by_the_search_and_asks_no_other_host(
    site: Path, browser: Browser
) -> None:
    async def file(request: web.Request) -> web.FileResponse:
        path = site / request.match_info["path"]
        return web.FileResponse(path / "index.html" if path.is_dir() else path)

    application = web.Application()
    application.add_routes([web.get("/{path:.*}", file)])
    async with TestServer(application, host="127.0.0.1") as server:
        page = await browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await page.goto(str(server.make_url("/")))
        await page.get_by_role("textbox", name="Search").fill("long_poll_timeout")
        found = page.locator(".md-search-result a[href*='configuration/']")
        await found.first.click()
        await page.wait_for_url("**/configuration/**")
        await page.close()
        own = str(server.make_url("/"))
        assert [url for url in asked if not url.startswith((own, "data:", "blob:"))] == []
