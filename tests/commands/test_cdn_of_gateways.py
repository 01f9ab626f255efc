"""`headgate cdn render --admin`: the file that a running gateway makes for its own settings."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.given_settings import variables
from tests.support.processes import HEADGATE, headgate, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("processes")
HOST = "streams.example.com"
TOKEN = "of-an-operator-" * 3
ORIGIN = "http://127.0.0.1:1"
AT = ("--host", HOST, "--upstream", "gateway.example.com:4437")


class Gateway(NamedTuple):
    """A gateway before an origin, and the file of its settings."""

    admin: str
    config: str


@pytest.fixture(scope="module")
def gateway(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = tmp_path_factory.mktemp("gateway") / "headgate.toml"
    config.write_text(f'live.long_poll_timeout = 15\norigin = "{ORIGIN}"\n')
    with headgate(ORIGIN, arguments=("--config", str(config))) as server:
        yield Gateway(server.admin_url, str(config))


def render(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """The exit status of `headgate cdn render`, and what is on stdout and stderr."""
    inherited = {**os.environ, "XDG_RUNTIME_DIR": os.devnull, "XDG_CONFIG_HOME": os.devnull}
    done = run(
        [HEADGATE, "cdn", "render", *arguments],
        environment={**inherited, "HEADGATE_LISTEN": "127.0.0.1:1", **environment},
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


OPTIONS = {
    "nginx": (),
    "nginx-njs": ("--credentials", "per-credential", "--purge", "--cache-size", "64MiB"),
    "haproxy": ("--compress-private",),
    "varnish": ("--stale-if-error", "30", "--listen", "8181", "--standalone"),
    "caddy": ("--upstream", "https://a.example:1,a.example:2", "--upstream-ca", "/a.pem"),
    "cloudfront": ("--shield", "eu-central-1"),
    "cloudflare-rules": (),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_gateway_makes_the_file_that_its_settings_make(name: str, gateway: Gateway) -> None:
    made = (name, *AT, *OPTIONS[name])
    by_file = render(*made, "--config", gateway.config)
    assert by_file[0] == 0, by_file
    assert "Made for one origin at /v1/stream: readers sign in by Authorization, any cookie" in (
        by_file[1].replace("\n# ", " ")
    )
    assert render(*made, "--admin", gateway.admin) == (0, by_file[1], "")


def test_a_gateway_goes_before_the_settings_that_a_variable_names(gateway: Gateway) -> None:
    made = ("nginx", *AT, "--admin", gateway.admin)
    assert render(*made, HEADGATE_CONFIG="/none.toml") == render(*made)


def test_all_files_of_a_target_come_from_a_gateway(gateway: Gateway, tmp_path: Path) -> None:
    made = ("cloudflare-worker", *AT, "-o", str(tmp_path))
    status, printed, said = render(*made, "--admin", gateway.admin)
    assert (status, printed, said.count("headgate: wrote ")) == (0, "", 3)
    names = {"worker.js", "wrangler.jsonc", "package.json"}
    assert {file.name for file in tmp_path.iterdir()} == names
    assert json.loads((tmp_path / "package.json").read_text())["purpose"].startswith(
        "Made for one origin at /v1/stream:"
    )


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("nginx",), 2, "headgate: nginx needs the host name that readers use: give --host (400 "),
        (("bunny", *AT), 2, "headgate: bunny may give a reader with credentials the copy of "),
        (
            ("nginx", *AT, "--cache-size", "1G"),
            2,
            "headgate: --cache-size must be in B, KiB, MiB or GiB: write 1GiB (400 ",
        ),
        (("ngnix", *AT), 2, "headgate: there is no target 'ngnix'; the nearest is nginx: "),
    ],
    ids=["no-host", "an-origin", "a-bad-size", "no-target"],
)
def test_what_a_gateway_refuses_is_a_sentence_and_no_file(
    arguments: tuple[str, ...], status: int, said: str, gateway: Gateway, tmp_path: Path
) -> None:
    file = tmp_path / "new"
    printed = render(*arguments, "--admin", gateway.admin, "-o", str(file))
    assert printed[:2] == (status, "")
    assert printed[2].startswith(said)
    assert not file.exists()


def test_config_and_admin_exclude_each_other_and_an_empty_admin_is_refused(
    gateway: Gateway,
) -> None:
    both = render("nginx", *AT, "--config", gateway.config, "--admin", gateway.admin)
    assert (both[0], both[1]) == (2, "")
    assert "--config and --admin both name settings: give one of them." in both[2]
    empty = render("nginx", *AT, "--admin", "", STREAM_ADMIN_URL=gateway.admin)
    assert (empty[0], empty[1]) == (2, "")
    assert "--admin must be a URL such as http://127.0.0.1:4439." in empty[2]


def test_a_gateway_with_operators_takes_a_token_for_its_file(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    tokens = [{"name": "wall", "role": "viewer", "token": TOKEN}]
    with headgate(environment=variables({"admin_tokens": tokens})) as server:
        made = ("nginx", *AT, "--admin", server.admin_url)
        status, printed, said = render(*made)
        assert (status, printed) == (5, "")
        assert "give a token of admin.tokens by STREAM_ADMIN_TOKEN or --admin-token FILE" in said
        by_file = render(*made, "--admin-token", str(token))
        assert (by_file[0], by_file[2]) == (0, "")
        assert render(*made, STREAM_ADMIN_TOKEN=TOKEN) == by_file


def test_without_admin_cdn_render_connects_to_nobody_and_prints_the_same_each_time(
    gateway: Gateway,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        at = ("--host", HOST, "--upstream", url.removeprefix("http://"))
        printed = [
            render("nginx", *at, "--config", gateway.config, STREAM_ADMIN_URL=url, STREAM_URL=url)
            for _ in range(2)
        ]
        with pytest.raises(BlockingIOError):
            listening.accept()
    assert printed[0][0] == 0
    assert printed[0] == printed[1]
