"""Each command of README and pages that makes a file, before an origin that knows cookies."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from headgate_cdn.targets import TARGETS
from tests.cdn.origin import STREAMS, telling_who
from tests.cdn.page_commands import NAME, Command, Here, commands, typed, typed_here
from tests.support.certificates import HERE, Authority
from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.processes import HEADGATE, Headgate, run
from tests.support.proxy_engines import ENGINES, started

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What has the settings of a container in its variables has no file of them.
WITHOUT_FILE = {"docs/installing.md"}
PRINTED = tuple(commands())
COMMANDS = tuple(command for command in PRINTED if command.page not in WITHOUT_FILE)
# Readers of the origin: by their cookie, which has other names beside it, and without any.
READERS = ("", "session=ann", "session=bob", "theme=dark; session=ann", "_ga=1")
# These look for a copy before they look at the reader, so there is no file for such an origin.
REFUSED = {"bunny", "vercel"}


@pytest.fixture(scope="module")
def gateways(
    processes: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[bool, Here]]:
    """A gateway before an origin that tells each reader its cookie; with TLS, and without."""
    folder = tmp_path_factory.mktemp("gateways")
    authority = Authority.of(folder)
    paths = authority.issue(hosts=(NAME,)).write(folder)
    with telling_who() as readers_port, contextlib.ExitStack() as end:
        found = {}
        for has_tls in (False, True):
            origin = f"http://127.0.0.1:{readers_port}"
            server = Headgate(origin, environment=paths.settings() if has_tls else {})
            end.callback(server.close)
            server.start()
            lines = [f'listen = "127.0.0.1:{server.port}"', f'origin = "{origin}"']
            if has_tls:
                lines += [
                    f'tls.certificate = "{paths.certificate}"',
                    f'tls.key = "{paths.key}"',
                ]
            config = folder / f"{'tls' if has_tls else 'plain'}.toml"
            config.write_text("\n".join(lines))
            found[has_tls] = Here(config, server.port, free_port(), authority.file)
        yield found


def test_each_command_that_makes_a_cdn_file_names_the_settings_of_its_gateway() -> None:
    pages = {command.page for command in PRINTED}
    assert {"README.md", "docs/cdn/README.md", "docs/commands.md", *WITHOUT_FILE} <= pages
    folders = {target.folder for target in TARGETS.values()}
    assert {f"cdn_configs/headgate_cdn/{folder}/README.md" for folder in folders} <= pages
    assert [str(command) for command in COMMANDS if "--config" not in command.words] == []


def answers(port: int) -> list[tuple[str, str]]:
    """Return each reader's cookie, and whom it is told it is; twice, so that copies are made."""
    found = []
    for query in ("?offset=-1", "?offset=-1&live=long-poll"):
        for _ in range(2):
            for cookie in READERS:
                fields = {"Host": HERE, **({"Cookie": cookie} if cookie else {})}
                answer = ask(port, "GET", f"{STREAMS}/of-all{query}", None, **fields)
                found.append((cookie, answer.body.decode()))
    return found


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_readers_with_a_cookie_stay_signed_in_behind_the_file_that_a_page_makes(
    command: Command, gateways: dict[bool, Here], tmp_path: Path
) -> None:
    here = gateways[command.speaks_tls]._replace(listen=free_port())
    done = typed(command, here, tmp_path)
    if command.target in REFUSED:
        assert done.returncode == 2
        assert b"take another target for its routes, or name all that" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    first = TARGETS[command.target].file_name
    if not command.is_run:
        check = run([HEADGATE, "cdn", "check", tmp_path / first, "--config", here.config])
        assert check.returncode == 0, check
        return
    folder = tmp_path / "here"
    folder.mkdir()
    done = typed_here(command, here, folder)
    assert done.returncode == 0, done.stderr
    files = {file.name: file.read_text() for file in folder.iterdir()}
    with started(ENGINES[command.target], {first: files.pop(first), **files}, here.listen):
        told = answers(here.listen)
    assert told == [(cookie, cookie or "nobody") for cookie, _ in told]


def test_a_file_made_without_these_settings_signs_readers_out_and_says_for_what_it_is(
    gateways: dict[bool, Here], tmp_path: Path
) -> None:
    here = gateways[False]
    command = Command("", ("nginx", "--upstream", "10.0.0.5:4437", "-o", "headgate.conf"))
    done = typed_here(command, here, tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / TARGETS["nginx"].file_name).read_text()
    assert "# Made for one own log at /v1/stream: nobody signs in, unless by" in text
    with started(ENGINES["nginx"], {"nginx.conf": text}, here.listen):
        told = answers(here.listen)
    assert {whom for _, whom in told} == {"nobody"}
