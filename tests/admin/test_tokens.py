"""The page of tokens and its API: who has one, when it was used; issue and revoke tokens."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from headgate_gateway.access import key_sets
from headgate_gateway.access.operations import READ, Need
from headgate_gateway.access.read_tokens import verified
from headgate_gateway.access.tokens_file import parse_tokens
from headgate_gateway.features.questions.tokens import (
    ListTokens,
    SignedTokenRow,
    StaticTokenRow,
    TokenPage,
    TokenPlace,
    TokenUse,
)
from tests.admin.asking import told
from tests.admin.consoles import ADMITTED, NOW, VIEWER, Client, Switchboard, setup
from tests.admin.consoles import console as console_of
from tests.support.given_settings import variables
from tests.support.http1 import ask
from tests.support.keys_files import new_keys_file
from tests.support.log_lines import capture_logs
from tests.support.processes import HEADGATE, run
from tests.support.waiting import wait_until
from tests.workers.several import Several

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from headgate_gateway.features.questions.contract import Answer, Question

TOKENS = "/clients?show=tokens"
TOKEN = "billing-token-0123456789"
FILE = f"""\
# who may read
[[tokens]] # of the shop
name = "billing"
token = "sha256:{hashlib.sha256(TOKEN.encode()).hexdigest()}"
grants = [{{ streams = "/a/*", operations = ["read"] }}]
"""
ISSUE = {
    "do": "issue",
    "subject": "ann",
    "streams": "/v1/stream/chat",
    "op_read": "on",
    "op_append": "on",
    "lifetime": "60",
}
WISH = {"subject": "ann", "streams": "/v1/stream/chat"}
REVOKE = "tokens/revoke"


async def post(client: Client, form: dict[str, str]) -> tuple[int, str]:
    return await client.send("POST", TOKENS, data=form)


def one_process(question: Question) -> Sequence[Answer]:
    return (TokenPage(),) if isinstance(question, ListTokens) else ()


def console(
    answers: Callable[[Question], Sequence[Answer]] = one_process, **settings: Any
) -> AbstractAsyncContextManager[Client]:
    return console_of(Switchboard(answers=answers), **settings)


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.toml"
    path.write_text(FILE)
    path.chmod(0o640)
    return path


@pytest.fixture
def keys(tmp_path: Path) -> str:
    return new_keys_file(tmp_path)


# ---------------------------------------------------------------- what is shown


def two_workers(question: Question) -> Sequence[Answer]:
    def row(use: TokenUse) -> StaticTokenRow:
        return StaticTokenRow("<b>billing</b>", (), 0, None, False, use)

    at_home = TokenPlace("192.0.2.7", "<b>agent</b>", NOW - 7)
    elsewhere = TokenPlace("198.51.100.9", "curl/8", NOW)

    def holder(account: str, use: TokenUse) -> SignedTokenRow:
        return SignedTokenRow("jwt", account, account, "https://id", account, use)

    assert isinstance(question, ListTokens)
    return (
        TokenPage(
            tokens=(row(TokenUse(NOW - 60, 1, 2, (at_home, elsewhere))),),
            signed=(holder("ann", TokenUse(NOW - 5)), holder("ben", TokenUse(NOW - 9, 1))),
            unknown=3,
        ),
        TokenPage(
            tokens=(row(TokenUse(NOW - 7, 10, 20, (at_home,))),),
            signed=(holder("ben", TokenUse(NOW - 1)),),
            unknown=4,
        ),
    )


async def test_the_uses_of_all_processes_are_shown_together(tokens: Path) -> None:
    async with console(two_workers, tokens_file=str(tokens)) as client:
        status, found = await client.api("GET", "tokens", token=VIEWER)
        page = await client.page(TOKENS, VIEWER)
        seen = (await client.send("GET", "/api/v1/tokens"))[1], await client.page(TOKENS)
    assert status == 200
    use = {"used_at": NOW - 7, "refused": 11, "forbidden": 22, "places": []}
    assert found["tokens"][0]["use"] == use
    for it in seen:
        assert it.count("192.0.2.7") == 1, "in one row, with the last time"
        assert it.index("198.51.100.9") < it.index("192.0.2.7"), "the newest first"
    assert "192.0.2.7" not in page
    assert "<b>agent" not in seen[1]
    assert [(it["name"], it["use"]["used_at"]) for it in found["signed"]] == [
        ("ben", NOW - 1),
        ("ann", NOW - 5),
    ]
    assert found["unknown"] == 7
    assert "<b>" not in page
    assert "&lt;b&gt;billing&lt;/b&gt;" in page
    assert "7 s ago" in page


async def test_without_an_answer_the_page_says_that_no_worker_answers() -> None:
    async with console(lambda _: ()) as client:
        assert "No worker answers: try again." in await client.page(TOKENS)
        assert (await client.api("GET", "tokens"))[0] == 503


async def test_a_page_of_tokens_is_found_by_text_and_place() -> None:
    board = Switchboard(answers=one_process)
    async with console_of(board) as client:
        await client.api("GET", "tokens?text=bill&after=b&limit=7")
        assert ListTokens("bill", "b", 7) in board.asked
        assert (await client.api("GET", "tokens?limit=501"))[0] == 400
        assert (await client.api("GET", "tokens?nothing=1"))[0] == 400


# ---------------------------------------------------------------- issue


async def test_an_issued_token_is_given_out_once_and_audited_without_its_value(keys: str) -> None:
    with capture_logs() as lines:
        async with console(keys_file=keys) as client:
            status, made = await client.api("POST", "tokens", WISH)
            assert status == 200
            status, page = await post(client, ISSUE)
            again = await client.page(TOKENS)
    assert status == 200
    of_page = next(it for it in re.findall(r"ey[\w.-]+", page) if it.count(".") == 2)
    assert of_page not in again
    for token, lifetime, operations in (
        (made["token"], 900, {"read"}),
        (of_page, 60, {"read", "append"}),
    ):
        ann = verified(token, key_sets.load_keys(keys), 900, NOW)
        assert (ann.name, ann.until) == ("ann", NOW + lifetime)
        assert ann.grants[0].operations == operations
        assert ann.may(Need("/v1/stream/chat", READ))
        for secret in (token, token.split(".")[2]):
            assert secret not in json.dumps(lines, default=str)
    assert made["expires"] == NOW + 900
    assert made["cookie"].startswith(f"__Secure-headgate={made['token']}; Path=/v1/stream/chat")
    audit = [line for line in lines if line["event"] == "admin.changed"]
    names = ("operation", "by", "stream", "subject")
    assert [tuple(line[it] for it in names) for line in audit] == [
        ("token", "shop", "/v1/stream/chat", "ann")
    ] * 2
    assert audit[0]["jti"] == made["jti"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        pytest.param(
            {"lifetime": 901},
            "the token must last at most 900 s, which is credentials.read_token_max_age",
            id="a-lifetime-over-the-limit",
        ),
        ({"lifetime": 0}, ">= 1"),
        ({"streams": "chat"}, "the token must be a canonical path"),
        ({"streams": "/v1/../x"}, "the token must be a canonical path"),
        ({"subject": ""}, "the token must have a subject"),
        pytest.param({"subject": "x" * 257}, "length <= 256", id="a-subject-over-the-limit"),
        ({"operations": []}, "length >= 1"),
        ({"operations": ["admin"]}, "Invalid enum value 'admin'"),
        ({"lifetimes": 60}, "unknown field `lifetimes`"),
        ({"Lifetime": 60}, "unknown field `Lifetime`"),
    ],
)
async def test_a_bad_request_for_a_read_token_gets_400_with_the_reason(
    keys: str, more: dict[str, object], said: str
) -> None:
    async with console(keys_file=keys) as client:
        status, problem = await client.api("POST", "tokens", {**WISH, **more})
    assert (status, said in problem["detail"]) == (400, True), problem


@pytest.mark.parametrize(
    ("more", "said"),
    [
        pytest.param({"op_read": "", "op_append": ""}, "Choose an operation", id="no-operation"),
        pytest.param({"lifetime": "soon"}, "Lifetime: expected `int", id="a-lifetime-in-words"),
        pytest.param({"lifetime": "901"}, "at most 900 s", id="a-lifetime-over-the-limit"),
        pytest.param({"do": "else"}, "Do must be one of", id="another-action"),
    ],
)
async def test_a_refused_form_is_shown_again_with_what_was_entered(
    keys: str, more: dict[str, str], said: str
) -> None:
    async with console(keys_file=keys) as client:
        status, page = await post(client, {**ISSUE, "subject": '"><b>', **more})
    assert (status, said in page) == (400, True), page
    assert '"><b>' not in page


async def test_a_read_token_without_usable_keys_gets_409_or_503(keys: str, tmp_path: Path) -> None:
    async with console() as client:
        status, problem = await client.api("POST", "tokens", WISH)
        assert (status, "headgate token keys" in problem["detail"]) == (409, True)
    async with console(keys_file=keys) as client:
        (tmp_path / "keys.json").chmod(0o644)
        status, problem = await client.api("POST", "tokens", WISH)
        assert (status, "chmod 600" in problem["detail"]) == (503, True)
        (tmp_path / "keys.json").unlink()
        reason = "the keys cannot be used: No such file or directory"
        status, problem = await client.api("POST", "tokens", WISH)
        assert (status, problem["detail"]) == (503, reason)


async def test_a_read_token_without_credentials_gets_403_with_how_to_authenticate(
    keys: str,
) -> None:
    """While nobody has to sign in, a page of another site could be who asks."""
    async with console_of(made=setup(keys_file=keys)) as client:
        status, problem = await client.api("POST", "tokens", WISH, token="")
        assert (status, "token" in problem) == (403, False)
        assert "its X-CSRF-Token: " in problem["detail"]
        assert "read GET /api/v1/session" in problem["detail"]
        assert "a script sends one of admin.tokens, which needs none" in problem["detail"]


# ---------------------------------------------------------------- revoke


async def test_a_token_is_revoked_in_the_file_which_keeps_its_comments_and_mode(
    tokens: Path,
) -> None:
    with capture_logs() as lines:
        async with console(tokens_file=str(tokens)) as client:
            form = {"do": "revoke", "kind": "name", "value": "billing"}
            status, page = await post(client, form)
            assert (status, "is refused within a second" in page) == (200, True)
            status, page = await post(client, form)
            assert (status, "is revoked already" in page) == (409, True)
    assert tokens.read_text() == f'{FILE}\n[[revoked]]\nname = "billing"\n'
    assert tokens.stat().st_mode & 0o777 == 0o640
    (line,) = [line for line in lines if line["event"] == "admin.changed"]
    assert {key: line[key] for key in ("operation", "by", "kind", "stream")} == {
        "operation": "revoke",
        "by": "shop",
        "kind": "name",
        "stream": "name billing",
    }


async def test_a_token_that_is_entered_by_mistake_is_not_logged(tokens: Path) -> None:
    jwt = "eyJhbGciOiJFUzI1NiJ9.e30.c2lnbmF0dXJl"
    with capture_logs() as lines:
        async with console(tokens_file=str(tokens)) as client:
            assert (await client.api("POST", REVOKE, {"kind": "name", "value": TOKEN}))[0] == 409
            assert (await client.api("POST", REVOKE, {"kind": "jti", "value": jwt}))[0] == 400
    told = [line["kind"] for line in lines if line["event"] == "admin.change_failed"]
    assert told == ["name", "jti"]
    assert not any(it in json.dumps(lines, default=str) for it in (TOKEN, jwt))
    assert tokens.read_text() == FILE


async def test_only_the_former_tokens_of_a_subject_can_be_revoked(tokens: Path) -> None:
    async with console(tokens_file=str(tokens)) as client:
        form = {"do": "revoke", "kind": "sub", "value": "mallory", "only_former": "on"}
        assert (await post(client, form))[0] == 200
        status, problem = await client.api(
            "POST", REVOKE, {"kind": "jti", "value": "x", "before": 5}
        )
        assert (status, problem["detail"]) == (400, "before goes only with sub")
        status, done = await client.api(
            "POST", REVOKE, {"kind": "sub", "value": "eve", "before": 1_000_000_000}
        )
    assert (status, done["added"]) == (
        200,
        '[[revoked]]\nsub = "eve"\nbefore = 2001-09-09T01:46:40Z',
    )
    revocations = parse_tokens("t", tokens.read_bytes()).revocations
    assert revocations.subjects == {"mallory": NOW + 1, "eve": 1_000_000_000}


async def test_where_the_file_cannot_be_written_the_lines_to_add_are_shown(tmp_path: Path) -> None:
    tokens = tmp_path / ("t" * 250)  # beside which there is no room for a longer name
    tokens.write_text(FILE)
    async with console(tokens_file=str(tokens)) as client:
        status, page = await post(client, {"do": "revoke", "kind": "jti", "value": "<b>"})
        assert (status, "cannot be replaced: File name too long" in page) == (503, True)
        assert "[[revoked]]\njti = &#34;&lt;b&gt;&#34;" in page
        status, problem = await client.api("POST", REVOKE, {"kind": "jti", "value": "x"})
        assert (status, problem["detail"].endswith('[[revoked]]\njti = "x"')) == (503, True)
    assert tokens.read_text() == FILE


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param({"kind": "hash", "value": "x"}, "Invalid enum value 'hash'", id="a-kind"),
        pytest.param({"kind": "jti", "value": ""}, "length >= 1", id="nothing"),
        pytest.param({"kind": "jti", "value": "x" * 1025}, "length <= 1024", id="too-long"),
        pytest.param({"kind": "jti", "value": "x\n[[y]]"}, "visible characters", id="two-lines"),
        pytest.param({"kind": "jti", "value": "\ud800"}, "", id="half-a-character"),
        pytest.param({"kind": "sub", "value": "x", "before": 1 << 60}, "<= 253402", id="too-late"),
        pytest.param({"kind": "sub", "value": "x", "more": 1}, "unknown field", id="another-field"),
    ],
)
async def test_a_bad_revocation_gets_400_and_changes_nothing(
    tokens: Path, body: object, said: str
) -> None:
    async with console(tokens_file=str(tokens)) as client:
        status, problem = await client.api("POST", REVOKE, body)
    assert (status, said in problem["detail"]) == (400, True), problem
    assert tokens.read_text() == FILE


async def test_without_a_tokens_file_nothing_can_be_revoked() -> None:
    async with console() as client:
        status, problem = await client.api("POST", REVOKE, {"kind": "jti", "value": "x"})
        assert (status, "have no credentials.tokens_file" in problem["detail"]) == (409, True)
        assert "The settings have no <code>credentials.tokens_file</code>" in await client.page(
            TOKENS
        )


# ---------------------------------------------------------------- real processes


@pytest.mark.usefixtures("processes")
def test_workers_tell_when_a_token_was_used_and_refuse_it_once_it_is_revoked(
    tmp_path: Path, tokens: Path
) -> None:
    config = tmp_path / "headgate.toml"
    config.write_text(
        f'workers = 2\ncredentials.tokens_file = "{tokens}"\n'
        '[[routes]]\nprefix = "/a"\norigin = "http://127.0.0.1:9/a"\nauth = ["tokens"]\n'
    )
    arguments = ["--config", str(config)]
    server = Several(arguments=arguments, environment=variables({"admin_tokens": ADMITTED}))
    at = server.arguments.index("--storage")
    del server.arguments[at : at + 2]
    try:
        server.start()
        wait_until(server.is_ready, "all workers serve")

        def listed() -> Any:
            return told(server, "GET", "/api/v1/tokens", token=VIEWER)[1]

        def read() -> int:
            return ask(server.port, "GET", "/a/s", Authorization=f"Bearer {TOKEN}").status

        assert listed()["tokens"][0]["use"]["used_at"] is None
        assert read() == 502
        # A worker that is late with its page is left out of the list: then it is asked again.
        wait_until(lambda: listed()["tokens"][0]["use"]["used_at"] is not None)
        done = run([HEADGATE, "token", "revoke", "--config", str(config), "name", "billing"])
        assert (done.returncode, done.stdout) == (0, b"")
        wait_until(lambda: {read() for _ in range(8)} == {401}, "both workers refuse it")
        wait_until(lambda: listed()["tokens"][0]["use"]["refused"] >= 8)
        found = listed()
        assert found["revocations"] == [{"kind": "name", "value": "billing", "before": None}]
        assert found["tokens"][0]["is_revoked"]
        for text in (json.dumps(found), server.output()):
            assert hashlib.sha256(TOKEN.encode()).hexdigest() not in text
            assert TOKEN not in text
    finally:
        server.close()
