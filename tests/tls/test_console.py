"""The console behind TLS, and what reaches both listeners from the machine itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.commands.doctor.health import fault_of
from headgate_gateway.tools.server.target import StreamTarget
from tests.support.certificates import HERE
from tests.support.given_settings import variables
from tests.support.passwords import cheap_hash
from tests.support.processes import HEADGATE, run
from tests.support.waiting import wait_until
from tests.tls.served import STREAM, TEXT, SecureHeadgate, secure_headgate

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

MESSAGES = "/api/v1/stream/messages?route=/v1/stream&name=a&offset=-1"


@pytest.fixture
def served(processes: None, tmp_path: Path) -> Iterator[SecureHeadgate]:
    with secure_headgate(tmp_path, has_secure_admin=True) as server:
        yield server


def shown(served: SecureHeadgate) -> str:
    """The text of the stream's only message, as the console shows it."""
    (message,) = json.loads(served.ask_admin("GET", MESSAGES).body)["messages"]
    return str(message["text"])


def test_the_console_shows_streams_behind_tls_also_after_a_renewal(served: SecureHeadgate) -> None:
    served.ask("PUT", STREAM, b"one", TEXT)
    assert shown(served) == "one"
    new = served.authority.issue()
    new.replace(served.paths)
    wait_until(lambda: served.ask("GET", "/").serial == new.serial, "it is served")
    assert shown(served) == "one"


def fault(served: SecureHeadgate, certificate: Path) -> str | None:
    """What the health check says of the server, when it trusts this certificate."""
    url = f"https://{HERE}:{served.server.admin_port}/api"
    return fault_of(StreamTarget(url, certificate=str(certificate)))


def test_the_health_check_reaches_the_admin_listener_by_tls(served: SecureHeadgate) -> None:
    assert fault(served, served.paths.certificate) is None


def test_a_listener_with_another_certificate_is_not_trusted_by_the_health_check(
    served: SecureHeadgate, tmp_path: Path
) -> None:
    other = served.authority.issue().write(tmp_path, "other")
    said = fault(served, other.certificate)
    assert said is not None
    assert "CERTIFICATE_VERIFY_FAILED" in said


def reload(served: SecureHeadgate, *options: str) -> subprocess.CompletedProcess[bytes]:
    """Run `headgate config reload` with the settings of the server."""
    admin = f"{HERE}:{served.server.admin_port}"
    environment = {**served.server.environment, "HEADGATE_ADMIN": admin}
    return run([HEADGATE, "config", "reload", *options], environment=environment)


@pytest.mark.usefixtures("processes")
def test_a_reload_by_the_settings_trusts_the_certificate_that_they_name(
    served: SecureHeadgate, tmp_path: Path
) -> None:
    done = reload(served)
    assert (done.returncode, done.stdout) == (0, b"In force: /v1/stream\n"), done.stderr
    other = served.authority.issue().write(tmp_path, "other")
    served.server.environment["HEADGATE_ADMIN__TLS__CERTIFICATE"] = str(other.certificate)
    served.server.environment["HEADGATE_ADMIN__TLS__KEY"] = str(other.key)
    refused = reload(served)
    assert refused.returncode == 78
    said = refused.stderr.decode()
    assert f"it is not the one in {other.certificate} (admin.tls.certificate)" in said
    assert "by --cacert FILE" in said


@pytest.mark.usefixtures("processes")
def test_a_reload_names_an_option_whose_file_has_no_certificate(
    served: SecureHeadgate, tmp_path: Path
) -> None:
    (tmp_path / "empty.pem").touch()
    refused = reload(served, "--cacert", str(tmp_path / "empty.pem"))
    assert refused.returncode == 1
    assert b"(--cacert): no certificate in it" in refused.stderr


@pytest.mark.usefixtures("processes")
def test_the_session_cookie_of_a_console_behind_tls_is_secure(tmp_path: Path) -> None:
    hashed = cheap_hash("password")
    user = {"name": "ann", "role": "operator", "password_hash": hashed}
    settings = {**variables({"admin_users": [user]})}
    with secure_headgate(tmp_path, settings, has_secure_admin=True) as server:
        answer = server.ask(
            "POST",
            "/api/v1/session",
            json.dumps({"name": "ann", "password": "password"}).encode(),
            {"Content-Type": "application/json"},
            port=server.server.admin_port,
        )
        assert answer.status == 200
        assert "; Secure" in answer.headers["Set-Cookie"]
