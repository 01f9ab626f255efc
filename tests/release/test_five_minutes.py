"""The page *Five minutes* from the wheels of a release, word for word, and in the release."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import click
import pytest

from scripts.release import examples as examples_archive
from scripts.release import trial
from scripts.release.making import Release
from scripts.sessions import PageDiffers, Terminal, sessions
from tests.clients.pages import chromium, examples, holds
from tests.packages.distributions import build, unpack
from tests.release.package_index import HIGHER, OURS, package_index
from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.processes import ROOT, Headgate

PAGE = (ROOT / trial.PAGE).read_text()
FENCED = re.compile(r"```.*?```", re.DOTALL)


@pytest.fixture(scope="module")
def release(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Release:
    """A folder with what the page installs, unpacks and links to."""
    folder = tmp_path_factory.mktemp("release")
    for project in (".", "client", "doctor"):
        made = build(ROOT / project, tmp_path_factory.mktemp("made"))
        for path in made:
            path.rename(folder / path.name)
    (version,) = (path.name.split("-")[1] for path in folder.glob("headgate-*.whl"))
    release = Release(ROOT, folder, version, 0, "")
    examples_archive.build(release)
    return release


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(240)
def test_the_page_is_followed_word_for_word_with_the_wheels_of_the_release_alone(
    release: Release, tmp_path: Path
) -> None:
    """It gets nothing of ours from the index, where others have published higher versions."""
    folder, index = tmp_path / "release", tmp_path / "index"
    shutil.copytree(release.folder, folder)
    index.mkdir()
    addresses = {it: f"127.0.0.1:{free_port()}" for it in (trial.STREAMS, trial.CONSOLE)}
    with package_index(index) as url:
        told = {"PATH": os.environ["PATH"], "PIP_INDEX_URL": url, "PIP_CONFIG_FILE": os.devnull}
        trial.play(PAGE, folder, trial.as_somebody_new(tmp_path, told), addresses)
    (packages,) = folder.glob("headgate-try/lib/*/site-packages")
    found = [it.name.removesuffix(".dist-info").split("-") for it in packages.glob("*.dist-info")]
    ours = {name: version for name, version in found if name.replace("_", "-") in OURS}
    assert len(ours) == len(OURS)
    assert set(ours.values()) & set(HIGHER) == set()
    used = (folder / "headgate-try/bin/python3").resolve()  # and no program of the clone
    assert used == Path(sys.executable).resolve()


def test_the_page_names_each_file_that_is_in_a_release(release: Release, tmp_path: Path) -> None:
    folder = tmp_path / "release"
    shutil.copytree(release.folder, folder, ignore=shutil.ignore_patterns("unpacked", "more"))
    for name in (
        *("README.md", "LICENSES.txt", "SHA256SUMS", "headgate-client-0.1.0.tgz"),
        *("headgate-image-0.1.0.tar.gz", "headgate-image-0.1.0.cdx.json"),
        *("headgate_0.1.0-1+deb12_amd64.deb", "headgate_0.1.0-1+deb13_arm64.deb"),
    ):
        (folder / name).touch()
    assert trial.files_without_row(PAGE, folder) == []
    for name in ("headgate-extra-0.1.0.tar.gz", "headgate_0.1.0-1+deb14_amd64.deb"):
        (folder / name).touch()
    assert trial.files_without_row(PAGE, folder) == [
        "headgate-extra-0.1.0.tar.gz",
        "headgate_0.1.0-1+deb14_amd64.deb",
    ]


def test_the_program_of_the_page_is_the_first_one_of_the_readme() -> None:
    assert examples(trial.PAGE, "python") == examples("README.md", "python")[:1]


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(120)
def test_the_page_in_the_release_has_the_same_blocks_and_no_link_that_leads_nowhere(
    release: Release,
) -> None:
    trial.build(release)
    page = (release.folder / "README.md").read_text()
    assert FENCED.findall(page) == FENCED.findall(PAGE)
    links = re.findall(r"\]\(([^)\s]+)\)", page)
    assert len(links) == len(re.findall(r"\]\(([^)\s]+)\)", PAGE)) > 5
    (command,) = re.findall(r"`tar -xf (\S+)`", page)
    unpack(release.folder / command, release.folder / "unpacked")
    # The page has the archive of the examples unpacked where it leads into that.
    (examples,) = release.files("headgate-examples-*.tar.gz")
    unpack(examples, release.folder / "more").rename(
        release.folder / "unpacked" / examples.name.removesuffix(".tar.gz")
    )
    assert f"headgate-examples-{release.version}/README.md" in links
    lost = [it for it in links if not (release.folder / "unpacked" / it.split("#")[0]).exists()]
    assert lost == []


@pytest.mark.usefixtures("processes")
async def test_the_page_of_the_tab_follows_the_stream_though_the_server_is_killed(
    tmp_path: Path,
) -> None:
    (content,) = examples(trial.PAGE, "html")
    server = Headgate(f"file:{tmp_path / 'streams'}")
    (tmp_path / "tale.html").write_text(content.replace(trial.STREAMS, server.url[7:]))

    def append(text: bytes) -> int:
        return ask(server.port, "POST", "/v1/stream/tale", text, content_type="text/plain").status

    try:
        server.start()
        ask(server.port, "PUT", "/v1/stream/tale", b"Once upon a time", content_type="text/plain")
        async with chromium() as browser:
            tab = await browser.new_page()
            await tab.goto((tmp_path / "tale.html").as_uri())
            await holds(tab, "() => document.body.textContent.trim() === 'Once upon a time'")
            server.kill()
            server.start()
            assert append(b" there was a log.") == 204
            await holds(tab, "() => document.body.textContent.trim().endsWith('log.')")
            text = await tab.text_content("body")
            assert (text or "").strip() == "Once upon a time there was a log."
    finally:
        server.close()


@pytest.mark.parametrize("made", [(), ("headgate-1-py3-none-any.whl",)], ids=["none", "wheels"])
def test_the_page_is_not_played_without_the_files_of_other_parts(
    made: tuple[str, ...], tmp_path: Path
) -> None:
    for name in made:
        (tmp_path / name).touch()
    with pytest.raises(click.ClickException, match="make distributions examples"):
        trial.build(Release(ROOT, tmp_path, "1", 0, ""))


def test_somebody_new_has_what_pip_needs_and_nothing_else_of_this_environment(
    tmp_path: Path,
) -> None:
    own = tmp_path / ".config/pip/pip.conf"
    found = {
        "PATH": f"{ROOT / '.venv/bin'}:/usr/bin",
        "HOME": str(tmp_path),
        "PIP_INDEX_URL": "http://127.0.0.1/simple",
        "https_proxy": "http://127.0.0.1:3128",
        "SSL_CERT_FILE": "authorities.pem",
        **dict.fromkeys(("PYTHONPATH", "VIRTUAL_ENV", "HEADGATE_AUTH", "STREAM_URL"), "ours"),
        "PIP_QUIET": "ours",
    }
    told = trial.as_somebody_new(tmp_path / "new", found)
    assert "ours" not in told.values()
    assert told["PATH"] == f"{sys.base_prefix}/bin:/usr/bin"
    assert told["HOME"] == told["XDG_RUNTIME_DIR"] == str(tmp_path / "new")
    for name in ("PIP_INDEX_URL", "https_proxy", "SSL_CERT_FILE"):
        assert told[name] == found[name]
    assert "PIP_CONFIG_FILE" not in told
    own.parent.mkdir(parents=True)
    own.touch()
    assert trial.as_somebody_new(tmp_path, found)["PIP_CONFIG_FILE"] == str(own)


@pytest.mark.usefixtures("processes")
def test_a_console_that_nobody_serves_is_told(tmp_path: Path) -> None:
    addresses = dict.fromkeys((trial.STREAMS, trial.CONSOLE), f"127.0.0.1:{free_port()}")
    with pytest.raises(PageDiffers, match=f"the console: http://{addresses[trial.CONSOLE]} does"):
        trial.play(SHOWN, tmp_path, {"PATH": os.environ["PATH"]}, addresses)


SHOWN = """# A page

```console
$ (sleep 0.1; echo later) &
$ echo 127.0.0.1:4437 and more; echo two
127.0.0.1:4437 … more
two
$ (trap 'exit 0' INT; echo on; while sleep 0.1; do :; done)    # Ctrl-C ends it
on
```
"""


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("printed", "otherwise", "line"),
    [
        pytest.param("two", "two", "", id="as it is"),
        pytest.param("more\ntwo", "more\nthree", "line 5", id="another line"),
        pytest.param("more\ntwo", "more\ntwo\ntwo", "line 5", id="a line more"),
        pytest.param("4437 …", "4438 …", "line 5", id="another address"),
        pytest.param("echo two", "echo two; false", "line 5", id="a failure"),
        pytest.param("exit 0", "exit 3", "line 8", id="a failure after Ctrl-C"),
        pytest.param("echo on", "echo off", "line 8", id="another line before Ctrl-C"),
        pytest.param("echo later", "echo later; exit 3", "", id="a failure in the background"),
    ],
)
def test_a_line_that_differs_is_named(
    printed: str, otherwise: str, line: str, tmp_path: Path
) -> None:
    told = ""
    with Terminal(tmp_path, {"PATH": os.environ["PATH"]}, shown_s=1.0) as terminal:
        try:
            for step in sessions(SHOWN.replace(printed, otherwise))[0]:
                terminal.play(step, lambda text: text.replace(":4437", ":5000"))
        except PageDiffers as why:
            told = str(why)
    assert told.partition(":")[0] == line
