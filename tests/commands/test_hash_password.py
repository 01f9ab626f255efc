from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from headgate_gateway.__main__ import cli
from headgate_gateway.settings import AdminUser
from tests.support.passwords import FIPS_MODE, is_of
from tests.support.processes import HEADGATE

if TYPE_CHECKING:
    from pathlib import Path


def hashed(typed: str) -> tuple[int, str, str]:
    """The exit status, what goes to stdout and what to stderr."""
    result = CliRunner().invoke(cli, ["config", "hash-password"], input=typed, prog_name="headgate")
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize(
    "end",
    ["", pytest.param("\n", id="a-newline-at-the-end"), pytest.param("\r\n", id="crlf-at-the-end")],
)
def test_hash_password_prints_a_hash_that_the_settings_accept(
    end: str,
) -> None:
    password = "correct hörse battery"
    status, printed, said = hashed(password + end)
    assert (status, said) == (0, "")
    user = AdminUser(name="ann", role="viewer", password_hash=printed.removesuffix("\n"))
    assert printed.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert is_of(password, user.password_hash.reveal())


def test_hash_password_prints_a_different_hash_each_time() -> None:
    assert hashed("x" * 12) != hashed("x" * 12)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "x" * 11,
        pytest.param("x" * 1025, id="over-the-limit"),
        pytest.param("two lines\nof a password", id="two-lines"),
    ],
)
def test_hash_password_refuses_an_invalid_password_without_showing_it(typed: str) -> None:
    assert hashed(typed) == (
        1,
        "",
        "headgate: a password is one line of 12 to 1,024 characters.\n",
    )


@pytest.mark.usefixtures("processes")
def test_hash_password_says_where_openssl_has_no_argon2(tmp_path: Path) -> None:
    (tmp_path / "openssl.cnf").write_text(FIPS_MODE)
    done = subprocess.run(
        [HEADGATE, "config", "hash-password"],
        input=b"correct horse battery",
        env={**os.environ, "OPENSSL_CONF": str(tmp_path / "openssl.cnf")},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.decode()) == (
        1,
        b"",
        "headgate: no password can be hashed: cryptography has no Argon2id here, which needs "
        "OpenSSL 3.2 and no FIPS mode.\n",
    )
