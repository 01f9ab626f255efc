"""A revocation on a route with reader keys is told of, until the keys have been rotated."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from click.testing import CliRunner

from headgate_gateway.__main__ import cli
from headgate_gateway.access.authorities import check_authorities
from headgate_gateway.access.token_findings import GuardedRoute, unrotated, unrotated_after
from headgate_gateway.access.tokens_file import HIGHEST_VERSION, parse_tokens
from headgate_gateway.features.tokens_file_changes import rotated
from headgate_gateway.settings import load
from tests.support.http1 import ask
from tests.support.keys_files import new_keys_file
from tests.support.processes import Headgate
from tests.support.tokens_files import static_token
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PREFIX = "/v1/rooms"
OPERATOR, VIEWER = "o" * 32, "v" * 32


def keyed(prefix: str, *kinds: str) -> GuardedRoute:
    return GuardedRoute(prefix, frozenset(kinds), has_reader_keys=True)


BOTH = keyed(PREFIX, "tokens", "read-tokens")
ROUTES = (
    {"prefix": PREFIX, "storage": "memory:", "reader_keys": "on"},
    {"prefix": "/v1/plain", "storage": "memory:"},
)
ELSEWHERE = keyed("/v1/halls", "tokens")


ANN = static_token("ann", "ann", f"{PREFIX}/a/*", "/v1/*")
BEN = static_token("ben", "ben", f"{PREFIX}/b")
TOKENS = ANN + BEN + static_token("writer", "writer", f"{PREFIX}/*", operations='["append"]')


def revoked(**what: str) -> str:
    return "[[revoked]]\n" + "".join(f'{key} = "{value}"\n' for key, value in what.items())


def found(text: str, *routes: GuardedRoute) -> dict[str, tuple[str, ...]]:
    file = parse_tokens("t.toml", text.encode())
    return {it.streams: it.readers for it in unrotated(file, routes or (BOTH,))}


# ---------------------------------------------------------------- what a file says


ALL = f"{PREFIX}/*"
OF_BEN = {f"{PREFIX}/b": ("name ben",)}
OF_SIGNED = revoked(jti="7") + revoked(sub="x", before="2026-11-22T09:00:00Z") + revoked(kid="k")
REVOKED = {
    "nobody": ("", {}),
    "a-reader-of-one-stream": (revoked(name="ben"), OF_BEN),
    "a-reader-of-two-patterns": (
        revoked(name="ann"),
        {f"{PREFIX}/a/*": ("name ann",), ALL: ("name ann",)},
    ),
    "a-writer-without-reads": (revoked(name="writer"), {}),
    "a-name-without-a-token": (revoked(name="nobody"), {}),
    "a-token-id-a-subject-and-a-key": (
        OF_SIGNED,
        {ALL: ("jti 7", "kid k", "sub x before 2026-11-22T09:00:00Z")},
    ),
}


@pytest.mark.parametrize("who", REVOKED)
def test_a_revocation_warns_of_every_reader_key_that_the_reader_may_know(who: str) -> None:
    more, streams = REVOKED[who]
    assert found(TOKENS + more) == streams


def test_a_revocation_of_a_kind_without_keyed_routes_causes_no_warning() -> None:
    assert found(TOKENS + revoked(sub="x") + revoked(name="ben"), ELSEWHERE) == {}
    assert found(TOKENS + revoked(name="ben"), BOTH._replace(has_reader_keys=False)) == {}
    assert found(TOKENS + revoked(name="ben"), keyed(PREFIX, "jwt")) == {}
    assert found(TOKENS + revoked(sub="x"), keyed(PREFIX, "tokens")) == {}


LEFT = {
    ALL: {},
    "/v1/*": {},
    "/*": {},
    f"{PREFIX}/b": {ALL: ("sub x",)},
    f"{PREFIX}/a/*": {**OF_BEN, ALL: ("sub x",)},
}


@pytest.mark.parametrize("streams", LEFT)
def test_a_rotation_settles_earlier_revocations_but_not_later_ones(streams: str) -> None:
    left = LEFT[streams]
    text = TOKENS + revoked(name="ben") + revoked(sub="x")
    once, version = rotated("t.toml", text.encode(), streams, [BOTH])
    assert version == 1
    assert found(once.decode()) == left
    later = once.decode() + revoked(sub="x", before="2030-01-01T00:00:00Z")
    assert found(later) == left  # its tokens were revoked already
    later = once.decode() + revoked(jti=r"of \"ann\"\n")
    assert 'jti of "ann"\n' in found(later)[f"{PREFIX}/*"]
    twice, _ = rotated("t.toml", later.encode(), f"{PREFIX}/*", [BOTH])
    assert found(twice.decode()) == {}
    assert twice.decode().count("[rotated_for]") == 1


def test_removing_a_token_warns_of_its_reader_keys_unless_they_are_rotated() -> None:
    before, after = (parse_tokens("t.toml", text.encode()) for text in (ANN + BEN, ANN))
    (one,) = unrotated_after((), before, after, [BOTH])
    assert (one.streams, one.readers) == (f"{PREFIX}/b", ("removed token ben",))
    with_key = rotated("t.toml", ANN.encode(), f"{PREFIX}/*")[0]
    assert unrotated_after((), before, parse_tokens("t.toml", with_key), [BOTH]) == ()


# ---------------------------------------------------------------- whom it is told


class Guarded(NamedTuple):
    server: Headgate
    config: Path
    tokens: Path

    def say(self, text: str) -> None:
        new = self.tokens.with_suffix(".new")
        new.write_text(text)
        new.replace(self.tokens)

    def warned(self) -> list[str]:
        """What the log has said, a sentence each."""
        lines = [json.loads(line) for line in self.server.output().splitlines()]
        return [it["what"] for it in lines if it["event"] == "access.not_rotated"]

    def shown(self) -> list[tuple[str, str | None]]:
        """What the first page of the console has of it, with the route."""
        told = self.api("GET", "/api/v1/overview")[1]["attention"]
        return [
            (it["sentence"], it["route"]) for it in told if it["sentence"].startswith("reader-keys")
        ]

    def checked(self) -> str:
        return CliRunner().invoke(cli, ["config", "check", "--config", str(self.config)]).stderr

    def api(
        self, method: str, path: str, body: object = None, token: str = OPERATOR
    ) -> tuple[int, Any]:
        sent = None if body is None else json.dumps(body).encode()
        answer = ask(
            self.server.admin_port,
            method,
            path,
            sent,
            Authorization=f"Bearer {token}",
            Content_Type="application/json",
        )
        return answer.status, json.loads(answer.body)


def configuration(folder: Path) -> Path:
    keys, config = new_keys_file(folder), folder / "h.toml"
    routes = "\n".join(
        "[[routes]]\n" + "\n".join(f'{key} = "{value}"' for key, value in route.items())
        for route in ROUTES
    )
    config.write_text(f"""
        auth = ["tokens", "read-tokens"]
        credentials.tokens_file = "{folder / "tokens.toml"}"
        credentials.keys_file = "{keys}"
        {routes}
        [[admin.tokens]]
        name = "shop"
        role = "operator"
        token = "{OPERATOR}"
        [[admin.tokens]]
        name = "wall"
        role = "viewer"
        token = "{VIEWER}"
    """)
    return config


@contextlib.contextmanager
def guarded(folder: Path, text: str) -> Iterator[Guarded]:
    config, tokens = configuration(folder), folder / "tokens.toml"
    tokens.write_text(text)
    environment = {"HEADGATE_CONFIG": str(config), "HEADGATE_LOG__FORMAT": "json"}
    server = Headgate(environment=environment)
    server.serve_routes(*ROUTES)
    try:
        yield Guarded(server.start(), config, tokens)
    finally:
        server.close()


def of(streams: str, names: str) -> str:
    return (
        f"{names} may still have a reader key of {streams}, by which a cache in front goes on "
        f"giving out new messages; end that by: headgate token rotate '{streams}', "
        "with the --config of the server if it has one"
    )


@pytest.mark.usefixtures("processes")
def test_a_revocation_warns_everywhere_until_keys_are_rotated(tmp_path: Path) -> None:
    first, whole = of(f"{PREFIX}/b", "name ben"), f"{PREFIX}/*"
    second = of(whole, "sub ann")
    with guarded(tmp_path, TOKENS + revoked(name="ben")) as gateway:
        file = gateway.tokens
        assert gateway.warned() == [f"{file}: {first}"]
        assert gateway.checked() == f"headgate: warning: {file}: {first}.\n"
        wait_until(lambda: gateway.shown() == [(f"reader-keys: {first}", PREFIX)])

        done = CliRunner().invoke(
            cli, ["token", "rotate", "--config", str(gateway.config), f"{PREFIX}/b"]
        )
        assert done.exit_code == 0, done.stderr
        wait_until(lambda: gateway.shown() == [])
        assert (gateway.checked(), len(gateway.warned())) == ("", 1)

        gateway.say(file.read_text() + revoked(sub="ann"))
        wait_until(lambda: gateway.shown() == [(f"reader-keys: {second}", PREFIX)])
        assert gateway.warned()[1:] == [f"{file}: {second}"]
        assert gateway.checked() == f"headgate: warning: {file}: {second}.\n"

        wish = {"streams": whole}
        assert gateway.api("POST", "/api/v1/reader-keys/rotate", wish, VIEWER)[0] == 403
        status, made = gateway.api("POST", "/api/v1/reader-keys/rotate", wish)
        assert (status, made) == (200, {"streams": whole, "version": 1})
        wait_until(lambda: gateway.shown() == [])
        assert (gateway.checked(), len(gateway.warned())) == ("", 2)
        (line,) = [it for it in gateway.server.output().splitlines() if "admin.changed" in it]
        told = json.loads(line)
        assert (told["operation"], told["by"], told["stream"]) == ("rotate", "shop", whole)

        gateway.say(file.read_text().replace(BEN, "").replace(revoked(name="ben"), ""))
        third = of(f"{PREFIX}/b", "removed token ben")
        wait_until(lambda: gateway.shown() == [(f"reader-keys: {third}", PREFIX)])


@pytest.mark.usefixtures("processes")
def test_an_impossible_rotation_gets_an_error_and_leaves_the_tokens_file(tmp_path: Path) -> None:
    text = f'reader_keys = {{ "{PREFIX}/b" = {HIGHEST_VERSION} }}\n{TOKENS}'
    with guarded(tmp_path, text) as gateway:
        for streams, status, said in (
            ("rooms", 400, "streams must be a canonical path"),
            ("/v1/plain/*", 404, "/v1/plain/* is below no route with reader_keys = on"),
            (f"{PREFIX}/b", 409, "has the highest version"),
        ):
            got, problem = gateway.api("POST", "/api/v1/reader-keys/rotate", {"streams": streams})
            assert (got, said in problem["detail"]) == (status, True), problem
        assert gateway.tokens.read_text() == text


def test_a_revocation_without_reader_keys_on_any_route_causes_no_warning(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    config.write_text(config.read_text().replace('reader_keys = "on"', ""))
    (tmp_path / "tokens.toml").write_text(TOKENS + revoked(name="ben"))
    assert check_authorities(load(config, {}, {})) == ()
