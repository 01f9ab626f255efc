from __future__ import annotations

from pydantic import SecretStr

from admin import attempts
from admin.attempts import Allowance, Attempts
from admin.sessions import MOST_SESSIONS, Session, Sessions
from gateway.settings import AdminUser

USER = AdminUser.model_construct(name="ann", role="operator", password_hash=SecretStr(""))


def test_the_session_that_was_unused_for_longest_makes_room() -> None:
    ended: list[Session] = []
    table = Sessions(lambda: 0.0, ended.append)
    begun = [table.begin(USER) for _ in range(MOST_SESSIONS)]
    assert table.find(begun[0][0]) is begun[0][1]  # used, so that the second one is next
    assert ended == []
    table.begin(USER)
    assert ended == [begun[1][1]]
    assert table.find(begun[1][0]) is None
    assert table.find(begun[0][0]) is begun[0][1]


def test_a_session_ends_once() -> None:
    ended: list[Session] = []
    table = Sessions(lambda: 0.0, ended.append)
    _, session = table.begin(USER)
    table.end(session)
    table.end(session)
    assert ended == [session]
    assert not table.use(session)


def test_sessions_and_their_tokens_differ() -> None:
    table = Sessions(lambda: 0.0, lambda _: None)
    begun = [table.begin(USER) for _ in range(3)]
    assert len({token for token, _ in begun} | {session.csrf for _, session in begun}) == 6


def test_an_allowance_comes_back_one_by_one() -> None:
    now = 1000.0
    table = Attempts(Allowance(2, 10.0), lambda: now)
    waits = []
    for _ in range(4):
        waits.append(table.wait_s("a"))
        table.count("a")
    assert waits == [0, 0, 10, 20]
    assert table.wait_s("b") == 0
    now += 20.5
    assert table.wait_s("a") == 10
    now += 100
    assert table.wait_s("a") == 0


def test_as_many_keys_are_remembered_as_may_be() -> None:
    table = Attempts(Allowance(1, 60.0), lambda: 0.0)
    for key in range(attempts.MOST_KEYS):
        table.count(key)
    assert table.wait_s(0) == 60
    table.count("one more")
    assert (table.wait_s(0), table.wait_s(1), table.wait_s("one more")) == (0, 60, 60)
