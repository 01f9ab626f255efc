"""Commands find the server that runs on this machine."""

from __future__ import annotations

import json
import os
import signal
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.process.running_servers import running_servers
from tests.commands.conftest import CommandLine
from tests.support.processes import Headgate, headgate
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("processes")


@contextmanager
def running(folder: Path, origin: str = "memory:", workers: int = 1) -> Iterator[Headgate]:
    """A server whose user has this folder for what runs."""
    environment = {"XDG_RUNTIME_DIR": str(folder), "HEADGATE_WORKERS": str(workers)}
    with headgate(origin, environment=environment) as server:
        wait_until(lambda: server.pid in found(folder), "it is found")
        yield server


def found(folder: Path) -> list[int]:
    """The pids of the servers that are found."""
    return [it.pid for it in running_servers({"XDG_RUNTIME_DIR": str(folder)})]


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[CommandLine]:
    """The command line without STREAM_URL."""
    made = CommandLine("")
    made.environment |= {"XDG_RUNTIME_DIR": str(tmp_path)}
    yield made
    made.kill()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_command_finds_the_server_on_another_port(
    workers: int, plain: CommandLine, tmp_path: Path
) -> None:
    with headgate() as origin, running(tmp_path, origin.url, workers) as server:
        plain.output("create", "story", "--data", "found")
        assert plain.output("read", f"{server.streams}/story") == b"found"
        assert "export STREAM_URL" not in server.output()
        assert server.terminate() == 0
        assert list((tmp_path / "headgate").iterdir()) == []


def test_a_killed_server_is_not_found_and_found_again_after_its_start(
    plain: CommandLine, tmp_path: Path
) -> None:
    with running(tmp_path) as server:
        server.kill()
        assert found(tmp_path) == []
        server.start()
        wait_until(lambda: found(tmp_path) == [server.pid], "it is found again")
        assert plain("create", "story").returncode == 0


def test_with_several_servers_a_name_is_refused_and_a_url_is_not(
    plain: CommandLine, tmp_path: Path
) -> None:
    with ExitStack() as opened:
        one, other = (opened.enter_context(running(tmp_path)) for _ in range(2))
        done = plain("create", "story")
        assert done.returncode == 2
        said = done.stderr.decode()
        assert "several servers run here: say which by a whole URL, or STREAM_URL: " in said
        assert one.streams in said
        assert other.streams in said
        plain.output("create", f"{one.streams}/story")
        by_variable = plain("create", "story", environment={"STREAM_URL": other.streams})
        assert by_variable.returncode == 0


def test_with_several_servers_a_scheme_that_reaches_no_stream_is_named_first(
    plain: CommandLine, tmp_path: Path
) -> None:
    with ExitStack() as opened:
        for _ in range(2):
            opened.enter_context(running(tmp_path))
        assert b"ftp:// is no way to reach a stream" in plain("head", "ftp://a/b").stderr


def test_with_several_servers_the_url_of_an_admin_listener_says_which(
    plain: CommandLine, tmp_path: Path
) -> None:
    with ExitStack() as opened:
        one, other = (opened.enter_context(running(tmp_path)) for _ in range(2))
        plain.output("create", f"{other.streams}/story")
        listed = plain.output("ls", "--json", "--admin", other.admin_url)
        assert json.loads(listed)["url"] == f"{other.streams}/story"
        assert plain.output("ls", "--admin", one.admin_url) == b""
        events = ("monitor", "events", "--admin", one.admin_url)
        wait_until(lambda: b"the server has started" in plain.output(*events), "an event is there")
        unnamed = plain("monitor", "events")
        assert unnamed.returncode == 2
        said = " ".join(unnamed.stderr.decode().split())
        assert "several servers run here: say which by --admin URL, or STREAM_URL: " in said
        deleted = plain("delete", "--prefix", "s", "--yes", "--admin", other.admin_url)
        assert deleted.stderr == b"Deleted 1 stream.\n"


def test_the_admin_listener_of_a_contexts_server_is_found_where_it_runs_here(
    plain: CommandLine, tmp_path: Path
) -> None:
    plain.environment["XDG_CONFIG_HOME"] = str(tmp_path)
    with ExitStack() as opened:
        one, _other = (opened.enter_context(running(tmp_path)) for _ in range(2))
        plain.output("create", f"{one.streams}/story")
        plain.output("config", "context", "add", "here", one.streams)
        assert b"story" in plain.output("ls", "--context", "here")


@contextmanager
def with_routes(folder: Path, *prefixes: str) -> Iterator[Headgate]:
    """A server with these routes to logs in memory, which commands find."""
    server = Headgate(environment={"XDG_RUNTIME_DIR": str(folder)})
    server.serve_routes(*[{"prefix": prefix, "storage": "memory:"} for prefix in prefixes])
    try:
        server.start()
        wait_until(lambda: server.pid in found(folder), "it is found")
        yield server
    finally:
        server.close()


def test_a_name_that_could_be_a_stream_of_several_routes_is_refused_with_their_urls(
    plain: CommandLine, tmp_path: Path
) -> None:
    with with_routes(tmp_path, "/v1/news", "/v1/orders") as server:
        done = plain("create", "story")
        assert (done.returncode, done.stdout) == (2, b"")
        assert (
            f"the server {server.url} has several routes: say which by a whole URL, or STREAM_URL: "
            in " ".join(done.stderr.decode().split())
        )
        for route in ("news", "orders"):
            assert f"{server.url}/v1/{route}" in done.stderr.decode()
            plain.output("create", f"{server.url}/v1/{route}/story")


def test_with_several_servers_the_urls_of_all_their_routes_are_named(
    plain: CommandLine, tmp_path: Path
) -> None:
    with running(tmp_path) as one, with_routes(tmp_path, "/v1/news", "/v1/orders") as other:
        urls = {one.streams, f"{other.url}/v1/news", f"{other.url}/v1/orders"}
        for words in (("create", "story"), ("ls",)):
            said = plain(*words).stderr.decode().rpartition("STREAM_URL:")[2]
            assert set(said.replace(",", " ").rstrip(".\n").split()) == urls


@pytest.mark.parametrize("words", [("config", "reload"), ("doctor", "health")])
def test_a_server_that_the_url_of_streams_names_is_not_taken_for_another(
    words: tuple[str, ...], plain: CommandLine, tmp_path: Path
) -> None:
    with running(tmp_path):
        done = plain(*words, environment={"STREAM_URL": "http://127.0.0.1:9/v1/stream"})
        assert done.returncode == 2
        said = " ".join(done.stderr.decode().split())
        assert "the admin listener of http://127.0.0.1:9/v1/stream is not known" in said


def test_ls_and_delete_prefix_go_through_all_routes_by_whole_urls(
    plain: CommandLine, tmp_path: Path
) -> None:
    with with_routes(tmp_path, "/v1/news", "/v1/orders") as server:
        urls = [f"{server.url}/v1/{it}" for it in ("news/a", "news/b", "orders/a")]
        for url in urls:
            plain.output("create", url)
        listed = plain.output("ls").decode().splitlines()
        assert [line.split("\t")[-1] for line in listed] == urls
        below = plain.output("ls", "/v1/news/").decode().splitlines()
        assert [line.split("\t")[-1] for line in below] == urls[:2]
        done = plain("delete", "--prefix", "/v1/news/b", "--yes")
        assert done.stderr == b"Deleted 1 stream.\n"
        assert plain("delete", "--prefix", "/", "--yes").stderr == b"Deleted 2 streams.\n"
        assert plain.output("ls") == b""


@pytest.mark.parametrize("workers", [1, 2])
def test_after_a_reload_commands_go_to_the_routes_in_force(
    workers: int, plain: CommandLine, tmp_path: Path
) -> None:
    with headgate() as origin:
        config = tmp_path / "headgate.toml"
        route = '[[routes]]\nprefix = "{}"\norigin = "{}"\n'
        config.write_text(route.format("/old", origin.streams))
        server = Headgate()
        at = server.arguments.index("--storage")
        server.arguments[at : at + 2] = ["--config", str(config), "--workers", str(workers)]
        server.environment["XDG_RUNTIME_DIR"] = str(tmp_path)
        try:
            server.start()
            wait_until(lambda: bool(found(tmp_path)), "it is found")
            config.write_text(route.format("/new", origin.streams))
            os.kill(server.pid, signal.SIGHUP)
            wait_until(
                lambda: (
                    [it.streams for it in running_servers({"XDG_RUNTIME_DIR": str(tmp_path)})]
                    == [(f"{server.url}/new",)]
                ),
                "the new route is found",
            )
            plain.output("create", "story")
            assert server.terminate() == 0
            assert list((tmp_path / "headgate").iterdir()) == []
        finally:
            server.close()


def test_a_folder_that_others_can_write_to_is_not_believed(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        assert found(tmp_path) == [server.pid]
        (tmp_path / "headgate").chmod(0o777)
        assert found(tmp_path) == []


def test_a_server_that_cannot_be_found_says_what_to_export() -> None:
    with headgate(environment={"XDG_RUNTIME_DIR": os.devnull}) as server:
        wait_until(lambda: "server.started" in server.output(), "it has started")
        assert f"export STREAM_URL={server.streams}" in server.output()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_cdn_render_names_the_routes_of_the_server_at_the_upstream_if_they_are_others(
    host: str, plain: CommandLine, tmp_path: Path
) -> None:
    with headgate() as origin, running(tmp_path, origin.url) as server:
        render = ("cdn", "render", "haproxy", "--upstream", f"{host}:{server.port}")
        default = plain(*render)
        said = default.stderr.decode()
        assert default.returncode == 0
        assert f"the server at 127.0.0.1:{server.port} has other routes (" in said
        assert "/v1/stream of an origin) than these settings (/v1/stream of its own)" in said
        right = plain(*render, environment={"HEADGATE_ORIGIN": origin.url})
        assert b"other routes" not in right.stderr
        other = plain("cdn", "render", "haproxy", "--upstream", "127.0.0.1:1")
        assert b"other routes" not in other.stderr
