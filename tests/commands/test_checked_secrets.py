"""The secrets that settings name: who can read their files, and who can use a provider's key."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.proxies.serving import proxies, written
from tests.support.given_settings import variables
from tests.support.processes import AT_ONCE, HEADGATE, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("processes")

MODEL = {"prefix": "/m", "upstream": "https://a.example", "streams": "/v1/stream/a"}


def check(environment: dict[str, str]) -> tuple[int, str]:
    """Return the exit status of `headgate config check`, and its complaints."""
    done = run([HEADGATE, "config", "check"], environment={**os.environ, **AT_ONCE, **environment})
    return done.returncode, done.stderr.decode()


def model(key: Path, auth: str = "") -> dict[str, str]:
    """Return the setting for a model with this key."""
    more = {"dialect": "openai", "key_file": str(key), **({"auth": auth} if auth else {})}
    return {**variables({"models": [{**MODEL, **more}]})}


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o604, 0o642])
@pytest.mark.parametrize("kind", ["key_file", "secret_file"])
def test_a_file_with_a_secret_is_refused_while_other_users_have_rights_in_it(
    kind: str, mode: int, tmp_path: Path
) -> None:
    written(tmp_path)
    secret = tmp_path / "signing.secret"
    secret.chmod(mode)
    environments = {
        "key_file": model(secret),
        "secret_file": variables({"proxies": proxies(tmp_path, {"auth": "none"})}),
    }
    status, complaints = check(environments[kind])
    sentence = f"must not be readable by other users: chmod o= {secret}"
    assert (status, sentence in complaints) == ((0, False) if not mode & 7 else (2, True))


PUBLIC = {"HEADGATE_LISTEN": "0.0.0.0:4437"}
TOKENS = {"HEADGATE_AUTH": "tokens"}
OPEN = {"HEADGATE_AUTH": "none"}
FRONT = {"HEADGATE_FRONT": "s.example", "HEADGATE_FRONT__LISTEN": "0.0.0.0:8443"}


@pytest.mark.parametrize(
    ("auth", "environment", "reached_at"),
    [
        pytest.param("none", PUBLIC | TOKENS, "0.0.0.0:4437", id="the-model-asks-for-nothing"),
        pytest.param("", PUBLIC | OPEN, "0.0.0.0:4437", id="no-route-asks-for-anything"),
        pytest.param("", FRONT | OPEN, "0.0.0.0:8443", id="a-front-on-a-public-address"),
        pytest.param("", PUBLIC | TOKENS, None, id="all-routes-ask-for-tokens"),
        pytest.param("tokens", PUBLIC | OPEN, None, id="the-model-asks-for-tokens"),
        pytest.param("none", {}, None, id="on-loopback"),
    ],
)
def test_a_key_that_other_machines_could_use_without_a_credential_is_refused(
    auth: str, environment: dict[str, str], reached_at: str | None, tmp_path: Path
) -> None:
    files = written(tmp_path) if "tokens" in (auth, environment.get("HEADGATE_AUTH")) else {}
    key = tmp_path / "provider.key"
    key.write_text("sk-of-the-house")
    key.chmod(0o600)
    status, complaints = check({**files, **environment, **model(key, auth)})
    if reached_at is None:
        assert status == 0, complaints
    else:
        assert status == 2
        assert "HEADGATE_MODELS__0__KEY_FILE is" in complaints
        assert f"everybody who reaches {reached_at} could spend what the key pays" in complaints
