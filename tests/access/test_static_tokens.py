from __future__ import annotations

import asyncio
import hashlib
from errno import EMFILE
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.access import authorities
from headgate_gateway.access.authorities import Authorities
from headgate_gateway.access.operations import READ, Need
from headgate_gateway.access.principal import Principal
from headgate_gateway.access.token_guard import Verifier
from headgate_gateway.access.tokens_file import StaticTokens, parse_tokens
from headgate_gateway.errors import StartError, Unauthenticated
from headgate_gateway.settings import Settings, load
from headgate_gateway.small_files import LARGEST_FILE, LOOK_AGAIN_S
from headgate_gateway.telemetry.health import by_name
from tests.support.log_lines import capture_logs
from tests.support.tokens_files import static_token
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

TOKEN = "canary-static-2f9c1e7ab04d5e6f"
NOW = 1_000_000_000.0
PROMISE_S = 1.0


def entry(token: str = TOKEN, name: str = "ann", more: str = "") -> str:
    return static_token(name, token, "/s/*", more=f"{more}\n")


class Watched:
    """A file of tokens, who watches it, and whom they have ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.authorities = Authorities(
            Settings(credentials={"tokens_file": str(path)}), lambda: NOW
        )
        self.ended: list[Principal] = []
        self.verifier: Verifier = self.authorities.verifier(["tokens"], self.ended.append)

    def replace(self, text: str) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.replace(self.path)

    def trouble(self) -> str | None:
        return by_name(self.authorities.notes())[str(self.path)]


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    path = tmp_path / "tokens.toml"
    path.write_text(entry())
    made = Watched(path)
    made.authorities.start()
    yield made
    await made.authorities.stop()


async def test_a_static_token_is_verified_once_and_known_from_then_on(watched: Watched) -> None:
    assert watched.verifier.known(TOKEN, NOW) is None
    ann = await watched.verifier.verify(TOKEN, NOW)
    assert watched.verifier.known(TOKEN, NOW) is ann
    may = [ann.may(Need(path, READ)) for path in ("/s/x", "/s")]
    assert (ann.name, may) == ("ann", [True, False])
    assert TOKEN not in repr(ann)


DIGEST = hashlib.sha256(TOKEN.encode()).hexdigest()
WRONG = {
    "with more": TOKEN + "x",
    "without its end": TOKEN[:-1],
    "empty": "",
    "in capitals": TOKEN.upper(),
    "the digest with its prefix": f"sha256:{DIGEST}",
    "the digest alone": DIGEST,
    "of another kind": "a.b.c",
}


@pytest.mark.parametrize("fault", WRONG)
async def test_a_wrong_static_token_is_refused(watched: Watched, fault: str) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        await watched.verifier.verify(WRONG[fault], NOW)
    said = "of no kind that this route takes" if fault == "of another kind" else "unknown"
    assert (refusal.value.detail, refusal.value.is_refused) == (f"the token is {said}", True)


EXPIRES = "expires = 2001-09-09T01:46:50Z"  # NOW + 10 s


async def test_a_static_token_expires_exactly_at_its_time() -> None:
    file = parse_tokens("t.toml", entry(more=EXPIRES).encode())
    verifier = Verifier([StaticTokens(lambda: file)])
    ann = await verifier.verify(TOKEN, NOW + 9.9)
    assert ann.until == NOW + 10
    assert verifier.known(TOKEN, NOW + 9.9) is ann
    assert verifier.known(TOKEN, NOW + 10) is None
    with pytest.raises(Unauthenticated, match="the token has expired"):
        await verifier.verify(TOKEN, NOW + 10)


# ---------------------------------------------------------------- the file changes


@pytest.mark.parametrize(
    "text",
    [
        "",
        entry(name="bob"),
        entry(more=EXPIRES),
        entry().replace("/s/*", "/s/x"),
        entry("another-token-0123456789"),
        entry() + '[[revoked]]\nname = "ann"\n',
    ],
    ids=["removed", "renamed", "expiry", "grants", "rotated", "revoked"],
)
async def test_readers_of_a_changed_token_end_within_a_second(watched: Watched, text: str) -> None:
    ann = await watched.verifier.verify(TOKEN, NOW)
    watched.replace(text)
    for _ in range(round(PROMISE_S / LOOK_AGAIN_S)):  # a busy loop delays these as it does looks
        await asyncio.sleep(0 if watched.ended else LOOK_AGAIN_S)
    assert watched.ended == [ann]
    assert ann.until == 0
    assert watched.verifier.known(TOKEN, NOW) is None


async def test_a_changed_tokens_file_keeps_readers_of_other_tokens(watched: Watched) -> None:
    ann = await watched.verifier.verify(TOKEN, NOW)
    bobs = "another-token-0123456789"
    watched.replace(entry() + entry(bobs, "bob"))
    await until(lambda: is_known(watched, bobs))
    assert watched.ended == []
    assert watched.verifier.known(TOKEN, NOW) is ann


async def is_known(watched: Watched, token: str) -> bool:
    try:
        await watched.verifier.verify(token, NOW)
    except Unauthenticated:
        return False
    return True


async def test_a_tokens_file_behind_a_switched_symlink_is_read_again(tmp_path: Path) -> None:
    """As a ConfigMap or Secret is mounted: a link to a file below a link to a folder."""
    for name, text in (("one", entry()), ("two", entry("another-token-0123456789"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokens.toml").write_text(text)
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "tokens.toml").symlink_to("..data/tokens.toml")
    watched = Watched(tmp_path / "tokens.toml")
    watched.authorities.start()
    assert await is_known(watched, TOKEN)
    (tmp_path / "..new").symlink_to("two")
    (tmp_path / "..new").replace(tmp_path / "..data")
    await until(lambda: is_known(watched, "another-token-0123456789"))
    assert not await is_known(watched, TOKEN)
    await watched.authorities.stop()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda path: path.unlink(), "cannot be read: No such file or directory"),
        (lambda path: path.write_text(entry()[:-30]), "this is not TOML"),
        (lambda path: path.write_text("tokens = 1"), "must be an array of tables"),
        (lambda path: path.write_text("a = 1\nb = 1"), "file; {path}:2: b is not a key"),
        (lambda path: path.write_bytes(b"#" * (LARGEST_FILE + 1)), "is larger than 1 MiB"),
        (lambda path: (path.unlink(), path.mkdir()), "is no file"),
        (lambda path: (path.unlink(), path.symlink_to(path)), "Too many levels of symbolic"),
    ],
    ids=["deleted", "half", "invalid", "invalid twice", "huge", "folder", "endless link"],
)
async def test_an_unusable_tokens_file_changes_nothing_and_is_logged_once(
    watched: Watched, spoil: Callable[[Path], object], why: str
) -> None:
    ann = await watched.verifier.verify(TOKEN, NOW)
    with capture_logs() as lines:
        spoil(watched.path)
        await until(lambda: watched.trouble() is not None)
        for _ in range(4):
            await watched.authorities._files[0].look()
    trouble = watched.trouble()
    assert trouble is not None
    assert why.format(path=watched.path) in trouble
    assert [line["event"] for line in lines] == ["access.file_refused"]
    assert TOKEN not in f"{lines}{trouble}"
    assert watched.ended == []
    assert watched.verifier.known(TOKEN, NOW) is ann


async def test_a_repaired_tokens_file_is_used_again(watched: Watched) -> None:
    watched.path.write_text("tokens = 1")
    await until(lambda: watched.trouble() is not None)
    watched.replace(entry())
    await until(lambda: watched.trouble() is None)
    assert await is_known(watched, TOKEN)


async def test_a_change_missed_by_a_failed_read_is_seen_by_the_next_read(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process may be out of descriptors for a moment; a revocation must not be lost by it."""

    def fail(_path: str) -> bytes:
        raise OSError(EMFILE, "Too many open files")

    ann = await watched.verifier.verify(TOKEN, NOW)
    with monkeypatch.context() as patch:
        patch.setattr(authorities, "read_file", fail)
        watched.replace("")
        await until(lambda: watched.trouble() is not None)
        assert watched.ended == []
    await until(lambda: watched.ended == [ann])
    assert watched.trouble() is None


async def test_a_tokens_file_caught_between_two_writes_ends_no_reader(watched: Watched) -> None:
    """Whoever writes in place may be between two writes when somebody looks."""
    ann = await watched.verifier.verify(TOKEN, NOW)
    file = watched.authorities._files[0]
    await watched.authorities.stop()
    watched.path.write_text("")
    await file.look()
    watched.path.write_text(entry() + "\n")
    await file.look()
    await file.look()
    assert watched.ended == []
    assert watched.verifier.known(TOKEN, NOW) is ann


ISSUER = """[[credentials.jwt_issuers]]
issuer = 'id'
audience = 'streams'
algorithms = ['ES256']
grants = [{ streams = '/s/*', operations = ['read'] }]
jwks = 'none'"""
MISSING = {
    "credentials.tokens_file": ("tokens", ["credentials.tokens_file = 'none'"]),
    "credentials.keys_file": ("read-tokens", ["credentials.keys_file = 'none'"]),
    "credentials.jwt_issuers[0].jwks": ("jwt", ISSUER.splitlines()),
}


@pytest.mark.parametrize("setting", MISSING)
def test_a_missing_file_is_reported_with_its_setting(setting: str, tmp_path: Path) -> None:
    auth, lines = MISSING[setting]
    config = tmp_path / "h.toml"
    config.write_text("\n".join([f"auth = '{auth}'", *lines]))
    with pytest.raises(StartError) as refusal:
        Authorities(load(config, {}, {}), lambda: NOW)
    where = f"{config}:{1 + len(lines)}: {setting}"
    path = Path("none").absolute()
    assert refusal.value.detail == f"{where}: {path} cannot be read: No such file or directory"


async def test_two_concurrent_requests_with_one_token_share_a_principal() -> None:
    """Else only the one that was verified last could be ended."""

    class Slow:
        async def verify(self, token: str, digest: bytes, now: float) -> Principal:
            await asyncio.sleep(0)
            return Principal("ann", [], NOW + 1, digest=digest)

        def owns(self, token: str) -> bool:
            return True

        def upholds(self, principal: Principal, now: float) -> bool:
            return False

    verifier = Verifier([Slow()])
    first, second = await asyncio.gather(verifier.verify("t", NOW), verifier.verify("t", NOW))
    assert first is second


async def test_many_principals_are_judged_in_batches_after_a_change(watched: Watched) -> None:
    """A change must not stall the loop, however many have come."""
    count = 5_000
    held = []
    for number in range(count):
        digest = number.to_bytes(16, "big")
        made = Principal("ann", [], NOW + 1, digest=digest)  # whom no authority upholds
        watched.verifier._alive[digest] = made
        held.append(made)
    watched.authorities.recheck_principals()
    assert 0 < len(watched.ended) < count  # a turn
    watched.authorities.recheck_principals()  # again, before it is over
    await until(lambda: len(watched.ended) == count)
    assert {made.until for made in held} == {0}
