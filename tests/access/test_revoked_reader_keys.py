"""A revocation gives all streams other reader keys, and no key comes back."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from click.testing import CliRunner

from headgate_gateway.__main__ import cli
from headgate_gateway.access.reader_keys import ReaderKeys
from headgate_gateway.access.tokens_file import HIGHEST_VERSION, parse_tokens
from headgate_gateway.features.tokens_file_changes import RevocationEntry, revoked, rotated
from tests.support.http1 import ask
from tests.support.keys_files import new_keys_file
from tests.support.processes import Headgate
from tests.support.tokens_files import static_token
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PREFIX = "/v1/rooms"
PATH = f"{PREFIX}/b"
OPERATOR, VIEWER = "o" * 32, "v" * 32
ROUTES = (
    {"prefix": PREFIX, "storage": "memory:", "reader_keys": "on"},
    {"prefix": "/v1/plain", "storage": "memory:"},
)
ALL = '["read", "create"]'
TOKENS = static_token("ann", "ann", f"{PREFIX}/*", operations=ALL)
TOKENS += static_token("ben", "ben", f"{PREFIX}/b")
KINDS = {
    "a-name": '[[revoked]]\nname = "ben"\n',
    "a-name-without-a-token": '[[revoked]]\nname = "nobody"\n',
    "a-token-id": '[[revoked]]\njti = "x"\n',
    "a-key": '[[revoked]]\nkid = "x"\n',
    "a-subject": '[[revoked]]\nsub = "x"\n',
    "a-subject-before": '[[revoked]]\nsub = "x"\nbefore = 2026-11-22T09:00:00Z\n',
    "a-subject-before-later": '[[revoked]]\nsub = "x"\nbefore = 2026-11-23T09:00:00Z\n',
}


def key_by(text: str, path: str = PATH) -> str:
    """The reader key of a stream by a file with this text."""
    file = parse_tokens("t.toml", text.encode())
    return ReaderKeys(b"s" * 32, file.reader_keys, file.revoked).of(path)


def test_each_revocation_makes_another_key_in_any_order_of_the_file() -> None:
    texts = ["", *KINDS.values(), KINDS["a-name"] + KINDS["a-key"]]
    for path in (PATH, "/v1/halls/b"):
        assert len({key_by(TOKENS + text, path) for text in texts}) == len(texts)
    turned = KINDS["a-key"] + KINDS["a-name"]
    assert key_by(TOKENS + turned) == key_by(TOKENS + texts[-1])
    assert key_by(TOKENS + KINDS["a-key"] * 2) == key_by(TOKENS + KINDS["a-key"])


@pytest.mark.parametrize("kind", ["name", "jti", "sub", "kid"])
def test_no_key_comes_back_when_revocations_are_taken_out_and_made_again(kind: Any) -> None:
    text, keys = TOKENS, [key_by(TOKENS)]
    for value in ("ben", "ann", "ben"):
        entry = RevocationEntry(kind, value)
        text = revoked("t.toml", text.encode(), entry, has_reader_keys=True).decode()
        keys.append(key_by(text))
        text = text.replace(f"\n{entry.text}\n", "")
        keys.append(key_by(text))
    assert len({*keys}) == len(keys)


# ---------------------------------------------------------------- at gateways


class Guarded(NamedTuple):
    """Two gateways with the same files."""

    servers: tuple[Headgate, Headgate]
    config: Path
    tokens: Path

    def write(self, text: str) -> None:
        """Replace the tokens_file."""
        new = self.tokens.with_suffix(".new")
        new.write_text(text)
        new.replace(self.tokens)

    def key(self) -> str:
        """The reader key of the stream, once both gateways have the same one."""
        found: list[str | None] = []

        def are_equal() -> bool:
            held = {"Authorization": "Bearer ann"}
            answers = [ask(it.port, "HEAD", PATH, None, **held) for it in self.servers]
            found[:] = [it.get("Stream-Reader-Key") for it in answers]
            return found[0] == found[1]

        wait_until(are_equal)
        assert found[0] is not None
        return found[0]

    def next_key(self, before: str) -> str:
        """The key that both have after a change."""
        wait_until(lambda: self.key() != before)
        return self.key()

    def rotate(self, streams: str, token: str = OPERATOR) -> tuple[int, Any]:
        """Ask the console of the first gateway."""
        answer = ask(
            self.servers[0].admin_port,
            "POST",
            "/api/v1/reader-keys/rotate",
            json.dumps({"streams": streams}).encode(),
            Authorization=f"Bearer {token}",
            Content_Type="application/json",
        )
        return answer.status, json.loads(answer.body)


@contextlib.contextmanager
def guarded(folder: Path, text: str) -> Iterator[Guarded]:
    config, tokens = folder / "h.toml", folder / "tokens.toml"
    config.write_text(f"""
        auth = ["tokens", "read-tokens"]
        credentials.tokens_file = "{tokens}"
        credentials.keys_file = "{new_keys_file(folder)}"
        [[routes]]
        prefix = "{PREFIX}"
        storage = "memory:"
        reader_keys = "on"
        [[admin.tokens]]
        name = "shop"
        role = "operator"
        token = "{OPERATOR}"
        [[admin.tokens]]
        name = "wall"
        role = "viewer"
        token = "{VIEWER}"
    """)
    tokens.write_text(text)
    environment = {"HEADGATE_CONFIG": str(config), "HEADGATE_LOG__FORMAT": "json"}
    with contextlib.ExitStack() as ends:
        servers = Headgate(environment=environment), Headgate(environment=environment)
        for server in servers:
            ends.callback(server.close)
            server.serve_routes(*ROUTES)
            server.start()
            held = {"Authorization": "Bearer ann", "Content_Type": "text/plain"}
            assert ask(server.port, "PUT", PATH, b"", **held).status == 201
        yield Guarded(servers, config, tokens)


@pytest.mark.usefixtures("processes")
def test_all_gateways_use_the_same_new_key_after_each_change_of_revocations(tmp_path: Path) -> None:
    with guarded(tmp_path, TOKENS) as gateways:
        keys = [gateways.key()]
        done = CliRunner().invoke(
            cli, ["token", "revoke", "--config", str(gateways.config), "name", "ben"]
        )
        assert (done.exit_code, done.stderr) == (
            0,
            "headgate: name ben is revoked within a second.\n",
        )
        keys.append(gateways.next_key(keys[-1]))
        gateways.write(gateways.tokens.read_text().replace(KINDS["a-name"], ""))
        keys.append(gateways.next_key(keys[-1]))
        assert len({*keys}) == 3


@pytest.mark.usefixtures("processes")
def test_a_revocation_by_hand_cannot_be_taken_out_without_a_rotation(tmp_path: Path) -> None:
    with guarded(tmp_path, TOKENS) as gateways:
        first = gateways.key()
        gateways.write(TOKENS + KINDS["a-name"])
        second = gateways.next_key(first)
        gateways.write(TOKENS)
        for server in gateways.servers:
            wait_until(lambda server=server: "access.file_refused" in server.output())  # type: ignore[misc] # bound
        assert gateways.key() == second
        data, _ = rotated("t.toml", TOKENS.encode(), f"{PREFIX}/*")
        gateways.write(data.decode())
        assert gateways.next_key(second) not in {first, second}


@pytest.mark.usefixtures("processes")
def test_operators_rotate_reader_keys_by_the_console(tmp_path: Path) -> None:
    whole = f"{PREFIX}/*"
    with guarded(tmp_path, TOKENS) as gateways:
        before = gateways.key()
        assert gateways.rotate(whole, VIEWER)[0] == 403
        assert gateways.rotate(whole) == (200, {"streams": whole, "version": 1})
        assert gateways.next_key(before) != before
        lines = gateways.servers[0].output().splitlines()
        (line,) = [it for it in lines if "admin.changed" in it]
        told = json.loads(line)
        assert (told["operation"], told["by"], told["stream"]) == ("rotate", "shop", whole)


@pytest.mark.usefixtures("processes")
def test_an_impossible_rotation_gets_an_error_and_leaves_the_tokens_file(tmp_path: Path) -> None:
    text = f'reader_keys = {{ "{PREFIX}/b" = {HIGHEST_VERSION} }}\n{TOKENS}'
    with guarded(tmp_path, text) as gateways:
        for streams, status, said in (
            ("rooms", 400, "streams must be a canonical path"),
            ("/v1/plain/*", 404, "/v1/plain/* is below no route with reader_keys = on"),
            (f"{PREFIX}/b", 409, "has the highest version"),
        ):
            got, problem = gateways.rotate(streams)
            assert (got, said in problem["detail"]) == (status, True), problem
        assert gateways.tokens.read_text() == text
