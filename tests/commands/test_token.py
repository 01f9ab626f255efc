from __future__ import annotations

import json
import os
import re
import stat
from hashlib import sha256
from typing import TYPE_CHECKING, get_args

import pytest
from click.testing import CliRunner

from headgate_gateway.__main__ import cli
from headgate_gateway.commands.token import OPERATIONS
from headgate_gateway.settings.grants import Operation

if TYPE_CHECKING:
    from pathlib import Path

STREAM = "/v1/stream/chat"


def run(*arguments: object, typed: str = "") -> tuple[int, str, str]:
    """The exit status, what goes to stdout and what to stderr."""
    given = [str(argument) for argument in arguments]
    result = CliRunner().invoke(cli, ["token", *given], input=typed, prog_name="headgate")
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings that name a file of new keys."""
    keys = tmp_path / "keys.json"
    assert run("keys", keys)[:2] == (0, "")
    path = tmp_path / "h.toml"
    path.write_text(f'credentials.keys_file = "{keys}"\ncredentials.read_token_max_age = 3600\n')
    return path


def test_the_operations_that_a_token_may_permit_are_those_of_grants() -> None:
    assert get_args(Operation) == OPERATIONS


# ---------------------------------------------------------------- hash


def test_token_hash_prints_the_digest_that_a_tokens_file_takes() -> None:
    token = "x" * 22
    digest = f"sha256:{sha256(token.encode()).hexdigest()}\n"
    for end in ("", "\n", "\r\n"):
        assert run("hash", typed=token + end) == (0, digest, "")


def test_token_hash_new_prints_only_the_token_on_stdout() -> None:
    status, token, said = run("hash", "--new")
    digest = sha256(token.strip().encode()).hexdigest()
    hashed = f'headgate: credentials.tokens_file has it as token = "sha256:{digest}".\n'
    assert (status, said) == (0, hashed)
    assert len(token.strip()) == 43
    assert run("hash", "--new")[1] != token


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "x" * 21,
        pytest.param("x" * 1025, id="over-the-limit"),
        pytest.param("x" * 22 + "\ny", id="two-lines"),
        "é" * 22,
        pytest.param("x y" * 22, id="blanks"),
    ],
)
def test_token_hash_refuses_an_invalid_token_without_showing_it(typed: str) -> None:
    said = "headgate: a token is one line of 22 to 1,024 visible ASCII characters.\n"
    assert run("hash", typed=typed) == (1, "", said)


# ---------------------------------------------------------------- keys


def test_token_keys_makes_a_private_file_and_does_not_overwrite_it(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    before = os.umask(0)
    try:
        status, printed, said = run("keys", path)
    finally:
        os.umask(before)
    assert (status, printed) == (0, "")
    assert said == (
        f'headgate: {path} has new keys: set credentials.keys_file = "{path}" in the settings.\n'
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = path.read_bytes()
    again = f"headgate: {path} is there already: --rotate changes its keys, --public prints them.\n"
    assert run("keys", path) == (1, "", again)
    assert path.read_bytes() == content


def test_tokens_stay_valid_after_one_rotation_of_keys_and_end_with_the_second(
    config: Path, tmp_path: Path
) -> None:
    token = run("sign", "--config", config, STREAM, "--subject", "ann")[1]
    keys = tmp_path / "keys.json"
    for count in range(2):
        is_known = run("verify", "--config", config, typed=token)[0] == 0
        assert is_known, f"after {count} rotations"
        assert run("keys", keys, "--rotate")[:2] == (0, "")
        assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    assert run("verify", "--config", config, typed=token) == (
        1,
        "",
        "headgate: the token is signed by a key that is unknown, or not with its algorithm.\n",
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["h.toml", "keys.json"]


def test_a_rotation_of_keys_keeps_owner_group_mode_and_link_of_the_file(
    config: Path, tmp_path: Path
) -> None:
    """Root's file that a group may read, which a link leads to, as it is mounted for a gateway."""
    group = 65534 if os.geteuid() == 0 else os.getegid()
    keys, real = tmp_path / "keys.json", tmp_path / "real.json"
    keys.rename(real)
    keys.symlink_to(real)
    os.chown(real, -1, group)
    real.chmod(0o640 if os.geteuid() == 0 else 0o600)
    before, content = real.stat(), real.read_bytes()
    assert run("keys", keys, "--rotate")[:2] == (0, "")
    after = real.stat()
    assert keys.is_symlink()
    assert real.read_bytes() != content
    assert (after.st_uid, after.st_gid, after.st_mode) == (
        before.st_uid,
        group,
        before.st_mode,
    )
    assert run("sign", "--config", config, STREAM, "--subject", "ann")[0] == 0


def test_a_retired_key_loses_its_private_half(config: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    signed = json.loads(keys.read_bytes())["keys"][0]
    assert run("keys", keys, "--rotate")[:2] == (0, "")
    listed = json.loads(keys.read_bytes())["keys"]
    assert ["d" in key for key in listed] == [True, True, False, False]
    assert (listed[2]["kid"], listed[2]["x"]) == (signed["kid"], signed["x"])


def test_token_keys_public_prints_no_private_part(config: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    status, printed, said = run("keys", keys, "--public")
    assert (status, said) == (0, "")
    assert [sorted(key) for key in json.loads(printed)["keys"]] == [
        ["alg", "crv", "kid", "kty", "use", "x"]
    ] * 2
    for key in json.loads(keys.read_bytes())["keys"]:
        assert key.get("d", key.get("k")) not in printed


@pytest.mark.parametrize("options", [(), ("--rotate",), ("--public",)])
def test_token_keys_in_a_missing_folder_prints_one_sentence(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    path = tmp_path / "none" / "keys.json"
    said = f"headgate: {path} cannot be used: No such file or directory.\n"
    assert run("keys", path, *options) == (1, "", said)


@pytest.mark.parametrize("options", [("--rotate",), ("--public",)])
def test_token_keys_refuses_a_file_that_others_may_read(
    config: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    keys = tmp_path / "keys.json"
    keys.chmod(0o644)
    status, printed, said = run("keys", keys, *options)
    assert (status, printed) == (1, "")
    assert said.endswith(f"chmod 600 {keys}.\n")


def test_a_keys_file_without_a_next_key_is_not_rotated(tmp_path: Path, config: Path) -> None:
    keys = tmp_path / "keys.json"
    content = json.loads(keys.read_bytes())
    keys.write_text(json.dumps({"keys": content["keys"][:1]}))
    said = f"headgate: {keys} has no second private key, which would be the next.\n"
    assert run("keys", keys, "--rotate") == (1, "", said)


# ---------------------------------------------------------------- sign and verify


def test_token_sign_prints_only_a_token_on_stdout_which_verifies(config: Path) -> None:
    status, token, said = run("sign", "--config", config, STREAM, "--subject", "ann")
    assert status == 0
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", token)
    assert re.fullmatch(rf"headgate: ann may read {STREAM} until \S+Z; its jti is \S+\.\n", said), (
        said
    )
    status, printed, _ = run("verify", "--config", config, typed=token)
    assert (status, printed.startswith(f"ann may read {STREAM} for ")) == (0, True)


def test_token_sign_takes_several_operations_and_a_longer_lifetime(config: Path) -> None:
    operations = ("--operation", "append", "--operation", "read")
    token = run("sign", "--config", config, "/r/*", "--subject", "ann", *operations, "--for", 3600)[
        1
    ]
    printed = run("verify", "--config", config, typed=token)[1]
    assert re.fullmatch(r"ann may append, read /r/\* for (3600|359\d) s\.\n", printed)


def test_token_verify_as_json_prints_the_grants_or_the_reason(config: Path) -> None:
    token = run("sign", "--config", config, STREAM, "--subject", "ann")[1]
    status, printed, said = run("verify", "--config", config, "--json", typed=token)
    found = json.loads(printed)
    assert (status, found.pop("until").endswith("Z")) == (0, True), said
    grants = [{"streams": STREAM, "operations": ["read"]}]
    assert found == {"is_valid": True, "subject": "ann", "grants": grants}
    status, printed, said = run("verify", "--config", config, "--json", typed="no.such.token")
    found = json.loads(printed)
    assert (status, found["is_valid"], sorted(found)) == (1, False, ["is_valid", "reason"]), said


def test_token_sign_cookie_prints_a_whole_set_cookie_line(config: Path) -> None:
    arguments = ("sign", "--config", config, "/v1/stream/rooms/*", "--subject", "ann", "--cookie")
    status, printed, _ = run(*arguments)
    assert status == 0
    assert re.fullmatch(
        r"Set-Cookie: __Secure-headgate=[\w.-]+; Path=/v1/stream/rooms; Max-Age=(900|899); "
        r"Secure; HttpOnly; SameSite=Strict\n",
        printed,
    )


def test_token_sign_query_prints_a_url_with_the_token(config: Path) -> None:
    arguments = ("sign", "--config", config, STREAM, "--subject", "ann", "--query")
    status, printed, _ = run(*arguments, "https://example.com/")
    assert status == 0
    assert re.fullmatch(rf"https://example\.com{STREAM}\?token=[\w.-]+\n", printed)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ((STREAM,), 2, "Missing option '--subject'"),
        (("chat", "--subject", "ann"), 2, "STREAMS must be a canonical path"),
        ((STREAM, "--subject", ""), 2, "the token must have a subject"),
        pytest.param(
            (STREAM, "--subject", "ann", "--for", "3601"),
            2,
            "must last at most 3600 s",
            id="a-lifetime-over-the-limit",
        ),
        pytest.param(
            (STREAM, "--subject", "ann", "--for", "0"), 2, "at least 1", id="a-lifetime-of-zero"
        ),
        pytest.param(
            (STREAM, "--subject", "ann", "--operation", "admin"),
            2,
            "'admin' is not one of",
            id="an-unknown-operation",
        ),
        pytest.param(
            (STREAM, "--subject", "ann", "--cookie", "--query", "x"),
            2,
            "exclude each other",
            id="a-cookie-and-a-query",
        ),
        pytest.param(
            ("/r/*", "--subject", "ann", "--query", "x"),
            2,
            "--query needs one stream",
            id="a-query-for-several-streams",
        ),
        (("/a;b", "--subject", "ann", "--cookie"), 2, "the token cannot be a cookie"),
        *(
            pytest.param(
                (STREAM, "--subject", "ann", "--query", url),
                2,
                "--query must be what stands in front of",
                id=f"a-query-of-{url}",
            )
            for url in ("streams.example.com", "http://h/v1/stream", "http://h:x")
        ),
    ],
)
def test_token_sign_refuses_bad_arguments_with_the_reason(
    config: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    found, printed, told = run("sign", "--config", config, *arguments)
    assert (found, printed, said in told) == (status, "", True), told


@pytest.mark.parametrize("command", [("sign", STREAM, "--subject", "ann"), ("verify",)])
def test_token_sign_and_verify_without_a_keys_file_exit_with_2(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEADGATE_CREDENTIALS__KEYS_FILE", raising=False)
    said = (
        "headgate: the settings have no credentials.keys_file: "
        "make one by headgate token keys NEW_FILE.\n"
    )
    assert run(*command) == (2, "", said)


@pytest.mark.parametrize(
    "typed", ["", "canary", "a.b.c", pytest.param("canary\nx", id="two-lines")]
)
def test_token_verify_refuses_an_invalid_token_without_showing_it(config: Path, typed: str) -> None:
    status, printed, said = run("verify", "--config", config, typed=typed)
    assert (status, printed) == (1, "")
    assert said.startswith("headgate: the token ")
    assert "canary" not in said


# ---------------------------------------------------------------- check


def checked(config: Path) -> tuple[int, str]:
    result = CliRunner().invoke(
        cli, ["config", "check", "--config", str(config)], prog_name="headgate"
    )
    return result.exit_code, result.stderr


def test_check_reads_the_keys_file_and_the_tokens_file(config: Path, tmp_path: Path) -> None:
    assert checked(config) == (0, "")
    keys, tokens = tmp_path / "keys.json", tmp_path / "tokens.toml"
    keys.chmod(0o604)
    assert checked(config)[0] == 2
    assert checked(config)[1].endswith(f"chmod 600 {keys}.\n")
    config.write_text(f'auth = "tokens"\ncredentials.tokens_file = "{tokens}"\n')
    assert checked(config) == (
        2,
        f"headgate: {config}:2: credentials.tokens_file: {tokens} cannot be read: No such file or "
        "directory.\n",
    )
    tokens.write_text("[[tokens]]\nname = 'a'\ntoken = 'secret'\nrole = 'r'\n")
    assert checked(config) == (
        2,
        f"headgate: {tokens}:3: tokens[0].token (name a) must be sha256: and 64 hexadecimal "
        "digits, which `headgate token hash` prints of a token: tokens themselves do not stand in "
        "this file.\n",
    )


@pytest.mark.parametrize(
    ("kind", "needed"),
    [
        ("tokens", "credentials.tokens_file"),
        ("jwt", "credentials.jwt_issuers"),
        ("read-tokens", "credentials.keys_file"),
    ],
)
def test_check_refuses_an_auth_kind_without_the_setting_it_needs(
    tmp_path: Path, kind: str, needed: str
) -> None:
    config = tmp_path / "h.toml"
    config.write_text(f'auth = ["{kind}"]\nstorage = "memory:"\n')
    assert checked(config) == (2, f"headgate: {config}:1: auth has {kind}, which needs {needed}.\n")
    config.write_text(f'[[routes]]\nprefix = "/a"\nstorage = "memory:"\nauth = ["{kind}"]\n')
    told = f"headgate: {config}:4: routes[0].auth has {kind}, which needs {needed}.\n"
    assert checked(config) == (2, told)


def test_token_verify_accepts_a_public_keys_file_that_all_may_read(
    config: Path, tmp_path: Path
) -> None:
    token = run("sign", "--config", config, STREAM, "--subject", "ann")[1]
    public = tmp_path / "public.json"
    public.write_text(run("keys", tmp_path / "keys.json", "--public")[1])
    public.chmod(0o644)
    config.write_text(f'credentials.keys_file = "{public}"\n')
    assert run("verify", "--config", config, typed=token)[0] == 0


# ---------------------------------------------------------------- rotate


def test_token_rotate_raises_the_version_and_keeps_mode_and_link_of_the_file(
    tmp_path: Path,
) -> None:
    real, link, config = tmp_path / "real.toml", tmp_path / "tokens.toml", tmp_path / "h.toml"
    real.write_text("# mine\n")
    real.chmod(0o640)
    link.symlink_to(real)
    config.write_text(f'auth = "tokens"\ncredentials.tokens_file = "{link}"\n')
    for version in (1, 2):
        said = f"headgate: {STREAM} has version {version} of its reader key within a second.\n"
        assert run("rotate", "--config", config, STREAM) == (0, "", said)
        assert real.read_text() == f'# mine\n\n[reader_keys]\n"{STREAM}" = {version}\n'
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "h.toml",
        "real.toml",
        "tokens.toml",
    ]


def test_a_failed_token_rotate_leaves_the_tokens_file_unchanged(tmp_path: Path) -> None:
    file, config = tmp_path / "tokens.toml", tmp_path / "h.toml"
    file.write_text("wrong")
    config.write_text(f'auth = "tokens"\ncredentials.tokens_file = "{file}"\n')
    status, _, said = run("rotate", "--config", config, STREAM)
    assert (status, said.count("\n"), file.read_text()) == (1, 1, "wrong")
    config.write_text("")
    assert run("rotate", "--config", config, STREAM)[0] == 2


# ---------------------------------------------------------------- revoke


def test_token_revoke_adds_an_entry_and_says_so(tmp_path: Path) -> None:
    tokens, config = tmp_path / "tokens.toml", tmp_path / "h.toml"
    tokens.write_text("# mine\n")
    config.write_text(f'auth = ["tokens"]\ncredentials.tokens_file = "{tokens}"\n')
    done = run("revoke", "--config", config, "jti", "x")
    assert done == (0, "", "headgate: jti x is revoked within a second.\n")
    assert tokens.read_text() == '# mine\n\n[[revoked]]\njti = "x"\n'
    assert run("revoke", "--config", config, "jti", "x")[0] == 1
    assert run("revoke", "--config", config, "sub", "ann", "--issued-until-now")[0] == 0
    assert re.search(r'\[\[revoked\]\]\nsub = "ann"\nbefore = \S+Z\n$', tokens.read_text())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(("jti", "x\n[[y]]"), "visible characters", id="two-lines"),
        pytest.param(("jti", "x", "--issued-until-now"), "before goes only with sub", id="a-jti"),
        pytest.param(("hash", "x"), "'hash' is not one of", id="another-kind"),
        pytest.param(("name", "ann"), "has no token with the name ann", id="an-unknown-name"),
    ],
)
def test_token_revoke_refuses_what_the_file_cannot_have(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    tokens, config = tmp_path / "tokens.toml", tmp_path / "h.toml"
    tokens.write_text("")
    config.write_text(f'auth = ["tokens"]\ncredentials.tokens_file = "{tokens}"\n')
    status, printed, stderr = run("revoke", "--config", config, *arguments)
    expected = 1 if arguments[0] == "name" else 2  # 2 is for what no file could have
    assert (status, printed, said in stderr) == (expected, "", True), stderr
    assert tokens.read_text() == ""


def test_token_revoke_without_a_tokens_file_says_where_revocations_stand(config: Path) -> None:
    status, _, said = run("revoke", "--config", config, "jti", "x")
    assert (status, "have no credentials.tokens_file" in said) == (2, True)
