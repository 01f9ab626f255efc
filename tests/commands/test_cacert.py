"""--cacert, before a server whose authority the system does not know."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.commands.conftest import CERTIFICATE, CommandLine
from tests.commands.nginx import nginx
from tests.support.ports import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")


TLS = """
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {folder}/tls.pem;
    ssl_certificate_key {folder}/tls.key;
    client_max_body_size 0;
    location / {{ proxy_cache off; proxy_buffering off; proxy_pass http://GATEWAY; }}
"""
COMMANDS = (
    ("create", "secure"),
    ("append", "secure"),
    ("read", "secure"),
    ("tail", "secure"),
    ("head", "secure"),
    ("close", "secure"),
    ("delete", "secure"),
)


def test_cacert_and_that_of_a_context_let_commands_trust_a_server(
    server: Headgate, tmp_path: Path
) -> None:
    subprocess.run(["openssl", *CERTIFICATE], cwd=tmp_path, capture_output=True, check=True)
    port = free_port()
    lines = {"tls": TLS.format(port=port, folder=tmp_path)}
    authority = str(tmp_path / "tls.pem")
    base = f"https://127.0.0.1:{port}/v1/stream"
    cli = CommandLine(base)
    cli.environment["XDG_CONFIG_HOME"] = str(tmp_path)
    with nginx(tmp_path, server.port, lines):
        copy = (
            "data",
            "copy",
            base,
            f"file:{tmp_path / 'copy'}",
            "--admin",
            f"https://127.0.0.1:{port}",
        )
        for command in (*COMMANDS, copy):
            refused = cli(*command, stdin=b"x")
            assert (command, refused.returncode) == (command, 78), refused.stderr
            assert b"certificate of the server is not trusted" in refused.stderr
            assert refused.stderr.endswith(
                b"; name the file of the authority that issued it by --cacert.\n"
            )
            assert b"trying again" not in refused.stderr
        cli.output("create", "secure", "--data", "safe", "--cacert", authority)
        context = ("config", "context", "add", "tls", base, "--cacert", authority)
        cli(*context, environment={"XDG_CONFIG_HOME": str(tmp_path)})
        named = cli(
            "read", "secure", "--context", "tls", environment={"XDG_CONFIG_HOME": str(tmp_path)}
        )
        assert named.stdout == b"safe"
        examined = json.loads(cli("doctor", "cdn", base, "--json", "--cacert", authority).stdout)
        verdicts = {one["check"]: one["verdict"] for one in examined["checks"]}
        assert verdicts["large append"] == "pass"


def test_a_cacert_file_that_is_none_is_reported(tmp_path: Path) -> None:
    cli = CommandLine("https://127.0.0.1:9/s")
    (tmp_path / "words").write_text("words")
    for name, why in (("none", "No such file or directory"), ("words", "no certificate in it")):
        done = cli("head", "x", "--cacert", str(tmp_path / name))
        assert done.returncode == 1
        said = f"headgate: cannot use {tmp_path / name} (--cacert): {why}.\n"
        assert done.stderr.decode() == said
