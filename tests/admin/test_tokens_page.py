"""The page of tokens and its API: who has one, when it was used; issue and revoke tokens."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient
from structlog.testing import capture_logs

from admin.app import build
from gateway.access import key_sets
from gateway.access.read_tokens import verified
from gateway.access.tokens_file import parse_tokens
from gateway.features.questions.tokens import (
    ListTokens,
    SignedTokenRow,
    StaticTokenRow,
    TokenPage,
    TokenPlace,
    TokenUse,
)
from tests.admin.consoles import ADMITTED, NOW, OPERATOR, VIEWER, Switchboard, setup
from tests.support.admin_server import AdminServer
from tests.support.http1 import ask
from tests.support.keys_files import new_keys_file
from tests.support.processes import HEADGATE, run
from tests.support.waiting import wait_until
from tests.workers.several import Several

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from gateway.features.questions.contract import Answer, Question

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
CSRF = re.compile(r'name="csrf" value="([^"]*)"')


class Client:
    """A client of a console with tokens."""

    def __init__(self, client: TestClient[Any, Any]) -> None:
        self._client = client

    async def get(self, path: str = TOKENS, token: str = OPERATOR) -> tuple[int, str]:
        return await self.send("GET", path, token)

    async def post(self, form: dict[str, str], token: str = OPERATOR) -> tuple[int, str]:
        return await self.send("POST", TOKENS, token, data=form)

    async def api(self, body: object, token: str = OPERATOR) -> tuple[int, Any]:
        status, text = await self.send("POST", "/api/v1/tokens/revoke", token, json=body)
        return status, json.loads(text)

    async def send(
        self, method: str, path: str, token: str, headers: dict[str, str] | None = None, **body: Any
    ) -> tuple[int, str]:
        given = {"Authorization": f"Bearer {token}"} if token else {}
        async with self._client.request(
            method, path, headers={**given, **(headers or {})}, **body
        ) as answer:
            assert answer.headers["Cache-Control"] == "no-store"
            return answer.status, await answer.text()


def one_process(question: Question) -> Sequence[Answer]:
    return (TokenPage(),) if isinstance(question, ListTokens) else ()


@asynccontextmanager
async def console(
    answers: Callable[[Question], Sequence[Answer]] = one_process,
    admitted: object = ADMITTED,
    **settings: Any,
) -> AsyncIterator[Client]:
    app = build(Switchboard(answers=answers), setup(admin_tokens=admitted, **settings))
    async with TestClient(AdminServer(app)) as client:
        yield Client(client)


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
        status, text = await client.get("/api/v1/tokens", VIEWER)
        page = (await client.get(token=VIEWER))[1]
        seen = (await client.get("/api/v1/tokens", OPERATOR))[1], (await client.get())[1]
    found = json.loads(text)
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
        status, page = await client.get()
        assert (status, "No worker answers: try again." in page) == (200, True)
        assert (await client.get("/api/v1/tokens"))[0] == 503


async def test_a_page_of_tokens_is_found_by_text_and_place() -> None:
    board = Switchboard(answers=one_process)
    app = build(board, setup(admin_tokens=ADMITTED))
    async with TestClient(AdminServer(app)) as inner:
        client = Client(inner)
        await client.get("/api/v1/tokens?text=bill&after=b&limit=7")
        assert ListTokens("bill", "b", 7) in board.asked
        assert (await client.get("/api/v1/tokens?limit=501"))[0] == 400
        assert (await client.get("/api/v1/tokens?nothing=1"))[0] == 400


# ---------------------------------------------------------------- issue


async def test_an_issued_token_is_shown_once_and_audited_without_its_value(keys: str) -> None:
    with capture_logs() as lines:
        async with console(keys_file=keys) as client:
            status, page = await client.post(ISSUE)
            again = (await client.get())[1]
    assert status == 200
    token = next(it for it in re.findall(r"ey[\w.-]+", page) if it.count(".") == 2)
    ann = verified(token, key_sets.load_keys(keys), 900, NOW)
    assert (ann.name, ann.until) == ("ann", NOW + 60)
    assert ann.grants[0].operations == {"read", "append"}
    assert token not in again
    (line,) = [line for line in lines if line["event"] == "admin.changed"]
    assert (line["operation"], line["by"], line["subject"]) == ("token", "shop", "ann")
    assert token not in json.dumps(lines, default=str)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        pytest.param({"op_read": "", "op_append": ""}, "Choose an operation", id="no-operation"),
        pytest.param({"lifetime": "soon"}, "whole number of seconds", id="a-lifetime-in-words"),
        pytest.param({"lifetime": "901"}, "at most 900 s", id="a-lifetime-over-the-limit"),
        pytest.param({"streams": "chat"}, "must be a canonical path", id="no-path"),
        pytest.param({"subject": ""}, "must have a subject", id="no-subject"),
        pytest.param({"do": "else"}, "Do must be one of", id="another-action"),
    ],
)
async def test_a_refused_form_is_shown_again_with_what_was_entered(
    keys: str, more: dict[str, str], said: str
) -> None:
    async with console(keys_file=keys) as client:
        status, page = await client.post({**ISSUE, "subject": '"><b>', **more})
    assert (status, said in page) == (400, True), page
    assert '"><b>' not in page


# ---------------------------------------------------------------- revoke


async def test_a_token_is_revoked_in_the_file_which_keeps_its_comments_and_mode(
    tokens: Path,
) -> None:
    with capture_logs() as lines:
        async with console(tokens_file=str(tokens)) as client:
            form = {"do": "revoke", "kind": "name", "value": "billing"}
            status, page = await client.post(form)
            assert (status, "is refused within a second" in page) == (200, True)
            status, page = await client.post(form)
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
            assert (await client.api({"kind": "name", "value": TOKEN}))[0] == 409
            assert (await client.api({"kind": "jti", "value": jwt}))[0] == 400
    told = [line["kind"] for line in lines if line["event"] == "admin.change_failed"]
    assert told == ["name", "jti"]
    assert not any(it in json.dumps(lines, default=str) for it in (TOKEN, jwt))
    assert tokens.read_text() == FILE


async def test_only_the_former_tokens_of_a_subject_can_be_revoked(tokens: Path) -> None:
    async with console(tokens_file=str(tokens)) as client:
        form = {"do": "revoke", "kind": "sub", "value": "mallory", "only_former": "on"}
        assert (await client.post(form))[0] == 200
        status, problem = await client.api({"kind": "jti", "value": "x", "before": 5})
        assert (status, problem["detail"]) == (400, "before goes only with sub")
        status, done = await client.api({"kind": "sub", "value": "eve", "before": 1_000_000_000})
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
        status, page = await client.post({"do": "revoke", "kind": "jti", "value": "<b>"})
        assert (status, "cannot be replaced: File name too long" in page) == (503, True)
        assert "[[revoked]]\njti = &#34;&lt;b&gt;&#34;" in page
        status, problem = await client.api({"kind": "jti", "value": "x"})
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
        status, problem = await client.api(body)
    assert (status, said in problem["detail"]) == (400, True), problem
    assert tokens.read_text() == FILE


async def test_without_a_tokens_file_nothing_can_be_revoked() -> None:
    async with console() as client:
        status, problem = await client.api({"kind": "jti", "value": "x"})
        assert (status, "have no credentials.tokens_file" in problem["detail"]) == (409, True)
        assert (
            "The settings have no <code>credentials.tokens_file</code>" in (await client.get())[1]
        )


# ---------------------------------------------------------------- real processes


@pytest.mark.usefixtures("processes")
def test_workers_tell_when_a_token_was_used_and_refuse_it_once_it_is_revoked(
    tmp_path: Path, tokens: Path
) -> None:
    config = tmp_path / "headgate.toml"
    config.write_text(
        f'workers = 2\ncredentials.tokens_file = "{tokens}"\nadmin.tokens = [\n'
        + "".join(
            f'{{ name = "{it["name"]}", role = "{it["role"]}", token = "{it["token"]}" }},\n'
            for it in ADMITTED
        )
        + ']\n[[routes]]\nprefix = "/a"\norigin = "http://127.0.0.1:9/a"\nauth = ["tokens"]\n'
    )
    server = Several("memory:", arguments=["--config", str(config)])
    at = server.arguments.index("--storage")
    del server.arguments[at : at + 2]
    try:
        server.start()
        wait_until(server.is_ready, "all workers serve")

        def listed() -> Any:
            authorization = f"Bearer {VIEWER}"
            answer = ask(server.admin_port, "GET", "/api/v1/tokens", Authorization=authorization)
            return json.loads(answer.body)

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
