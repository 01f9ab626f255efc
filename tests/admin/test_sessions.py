from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from headgate_admin.access import attempts
from headgate_admin.access.attempts import OF_A_NAME, Allowance, Attempts
from headgate_admin.access.passwords import LONGEST_PASSWORD, MOST_AT_ONCE, MOST_WAITING, Passwords
from headgate_admin.access.sessions import MOST_SESSIONS, Sessions
from headgate_admin.access.sign_in import SignIn
from headgate_admin.errors import ConsoleError
from headgate_gateway.settings import AdminUser
from headgate_gateway.settings.reading.values import Secret
from tests.admin.consoles import Clock
from tests.support.passwords import cheap_hash

if TYPE_CHECKING:
    from collections.abc import Awaitable

HASH = cheap_hash("right", 2, 16 << 10)
USER = AdminUser(name="ann", role="operator", password_hash=HASH)


def test_a_full_session_table_ends_the_least_recently_used_session() -> None:
    table = Sessions(lambda: 0.0)
    begun = [table.begin(USER) for _ in range(MOST_SESSIONS)]
    table.use(begun[0][1])  # so that the second one is next
    assert all(table.find(token) is session for token, session in begun)
    table.begin(USER)
    assert table.find(begun[1][0]) is None
    assert table.find(begun[0][0]) is begun[0][1]


def test_each_session_has_its_own_token_and_csrf_token() -> None:
    table = Sessions(lambda: 0.0)
    begun = [table.begin(USER) for _ in range(3)]
    assert len({token for token, _ in begun} | {session.csrf for _, session in begun}) == 6


def test_an_allowance_of_attempts_is_regained_one_by_one() -> None:
    clock = Clock()
    table = Attempts(Allowance(3, 10.0), clock)
    waits = []
    for _ in range(3):
        waits.append(table.wait_s("a"))
        table.count("a")
    assert waits == [0, 0, 0]
    assert table.wait_s("b") == 0
    for passed, wait in ((0, 10), (9.5, 1), (0.5, 0)):
        clock.now += passed
        assert table.wait_s("a") == wait
    table.count("a")
    assert table.wait_s("a") == 10
    clock.now += 20
    table.count("a")
    assert table.wait_s("a") == 0
    table.count("a")
    assert table.wait_s("a") == 10
    table.forget("a")
    assert table.wait_s("a") == 0


def test_a_clock_set_back_does_not_prolong_the_wait_for_attempts() -> None:
    clock = Clock()
    table = Attempts(Allowance(1, 30.0), clock)
    table.count("a")
    clock.now -= 86_400
    assert table.wait_s("a") == 30
    table.count("a")
    clock.now += 30
    assert table.wait_s("a") == 0


def test_a_full_table_of_attempts_drops_its_oldest_key() -> None:
    table = Attempts(Allowance(1, 60.0), lambda: 0.0)
    for key in range(attempts.MOST_KEYS):
        table.count(key)
    assert table.wait_s(0) == 60
    table.count("one more")
    assert (table.wait_s(0), table.wait_s(1), table.wait_s("one more")) == (0, 60, 60)


# ---------------------------------------------------------------- passwords

CHEAP = cheap_hash("right")


def checked(users: Passwords, password: str, name: str = "ann") -> Awaitable[AdminUser | None]:
    checking = users.begin(name, password)
    assert checking is not None
    return checking


async def test_a_password_check_beyond_the_waiting_limit_gets_503() -> None:
    users = Passwords([USER.but(password_hash=Secret(CHEAP))])
    most = MOST_AT_ONCE + MOST_WAITING
    begun = [checked(users, "right") for _ in range(most)]
    with pytest.raises(ConsoleError) as refusal:
        users.begin("ann", "right")
    assert refusal.value.status == 503
    assert None not in await asyncio.gather(*begun)
    assert await checked(users, "right") is not None
    users.close()


async def test_unchecked_passwords_are_not_counted_as_attempts() -> None:
    users = [USER.but(password_hash=Secret(CHEAP))]
    sign_in = SignIn(users, lambda: 0.0)

    async def status(password: str, address: str = "192.0.2.1") -> int:
        try:
            await sign_in.sign_in("ann", password, address)
        except ConsoleError as refusal:
            return refusal.status
        return 200

    for _ in range(OF_A_NAME.at_once + 1):
        assert await status("x" * (LONGEST_PASSWORD + 1)) == 401
    most = MOST_AT_ONCE + MOST_WAITING
    waiting = asyncio.gather(*(checked(sign_in.passwords, "wrong") for _ in range(most)))
    for _ in range(OF_A_NAME.at_once + 1):
        assert await status("right") == 503
    await waiting
    statuses = [await status("x" * LONGEST_PASSWORD) for _ in range(OF_A_NAME.at_once + 1)]
    assert statuses == [401] * OF_A_NAME.at_once + [429]
    sign_in.passwords.close()


async def test_checking_an_unknown_name_costs_about_as_much_as_a_known_one() -> None:
    cheap = USER.but(name="bob", password_hash=Secret(CHEAP))
    users = Passwords([cheap, USER])

    async def cost_s(name: str) -> float:
        before = time.process_time()
        assert await checked(users, "wrong", name) is None
        return time.process_time() - before

    assert min([await cost_s("nobody") for _ in range(3)]) > 0.5 * min(
        [await cost_s("ann") for _ in range(3)]
    )
    users.close()
