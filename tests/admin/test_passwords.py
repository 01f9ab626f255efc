"""Hashes of passwords: which are accepted, and that each of these can be checked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_admin.access.passwords import Passwords
from headgate_gateway.settings import AdminUser
from headgate_gateway.settings.reading.values import Secret
from tests.support.passwords import FIPS_MODE

PASSWORD = "correct hörse 🐴"
# Made by argon2-cffi 25.1 of this password: with 1, 2 and 4 lanes, salts of 8 to 64 bytes and
# lengths of 12 to 64.
HASHES = Path(__file__).with_name("argon2_cffi_hashes.txt").read_text().split()
USER = AdminUser(name="ann", role="operator", password_hash=Secret(HASHES[0]))


async def admits(stored: str, password: str) -> bool:
    users = Passwords([USER.but(password_hash=Secret(stored))])
    checking = users.begin("ann", password)
    assert checking is not None
    try:
        return await checking is not None
    finally:
        users.close()


@pytest.mark.parametrize("stored", HASHES, ids=[it.split("$", 3)[3][:24] for it in HASHES])
async def test_a_hash_that_another_library_made_admits_its_password_alone(stored: str) -> None:
    assert await admits(stored, PASSWORD)
    assert not await admits(stored, f"{PASSWORD}!")


BASE64 = "ABCDwxyz0189+/"


@given(
    st.tuples(st.integers(0, 40), st.integers(0, 2), st.integers(0, 6)),
    st.text(BASE64, min_size=10, max_size=89),
    st.text(BASE64, min_size=15, max_size=89),
)
async def test_a_hash_that_the_settings_accept_can_be_checked(
    costs: tuple[int, int, int], salt: str, digest: str
) -> None:
    memory, passes, lanes = costs
    stored = f"$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${digest}"
    try:
        accepted = AdminUser(name="ann", role="operator", password_hash=Secret(stored))
    except ValueError:
        return
    assert not await admits(accepted.password_hash.reveal(), PASSWORD)


@pytest.mark.parametrize("costs", ["m=6٥٥٣٦,t=3,p=4", "m=8192,t=1٠,p=4", "m=8192,t=3,p=1٢"])
def test_the_settings_refuse_a_hash_whose_costs_have_digits_of_other_scripts(costs: str) -> None:
    stored = f"$argon2id$v=19${costs}${'A' * 22}${'A' * 43}"
    with pytest.raises(ValueError, match="hash-password prints"):
        AdminUser(name="ann", role="operator", password_hash=Secret(stored))


@pytest.mark.usefixtures("processes")
def test_a_hash_of_more_memory_than_there_is_admits_nobody() -> None:
    program = f"""
import asyncio, resource
from tests.admin.test_passwords import admits
asyncio.run(admits({HASHES[0]!r}, "x"))
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
assert not asyncio.run(admits({HASHES[0].replace("m=8,", "m=9999999,")!r}, "x"))
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.usefixtures("processes")
def test_a_sign_in_where_openssl_has_no_argon2_gets_503(tmp_path: Path) -> None:
    (tmp_path / "openssl.cnf").write_text(FIPS_MODE)
    program = f"""
import asyncio
from headgate_admin.access.passwords import Passwords
from headgate_admin.errors import ConsoleError
from headgate_gateway.settings import AdminUser
async def main():
    user = AdminUser(name="ann", role="operator", password_hash={HASHES[0]!r})
    try:
        await Passwords([user]).begin("ann", "x")
    except ConsoleError as refusal:
        print(refusal.status, refusal)
asyncio.run(main())
"""
    environment = {**os.environ, "OPENSSL_CONF": str(tmp_path / "openssl.cnf")}
    printed = subprocess.check_output([sys.executable, "-c", program], text=True, env=environment)
    assert printed == (
        "503 no password can be checked: cryptography has no Argon2id here, which needs OpenSSL "
        "3.2 and no FIPS mode\n"
    )
