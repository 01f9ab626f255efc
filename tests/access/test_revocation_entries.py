"""A revocation adds its entry to a tokens_file, and changes nothing else."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.access.tokens_file import parse_tokens
from headgate_gateway.features.questions.tokens import LONGEST_VALUE
from headgate_gateway.features.tokens_file_changes import (
    RevocationEntry,
    revoke_in_file,
    revoked,
)
from headgate_gateway.small_files import LARGEST_FILE

if TYPE_CHECKING:
    from pathlib import Path

    Entry = tuple[str, str] | tuple[str, str, int]

ANN = (
    "# who may read\n"
    '[[tokens]] # Ann\nname = "ann"\n'
    f'token = "sha256:{"a" * 64}"\n'
    'grants = [{ streams = "/s/*", operations = ["read"] }]\n'
)


WRITTEN = {
    "a-static-token": (ANN, ("name", "ann"), '\n[[revoked]]\nname = "ann"\n'),
    "a-file-without-a-last-newline": (
        ANN.rstrip("\n"),
        ("jti", "x"),
        '\n\n[[revoked]]\njti = "x"\n',
    ),
    "an-empty-file": ("", ("kid", "k"), '[[revoked]]\nkid = "k"\n'),
    "a-file-with-crlf": ("# mine\r\n", ("sub", "m"), '\r\n[[revoked]]\r\nsub = "m"\r\n'),
    "a-subject-before-a-moment-behind-a-table": (
        f'{ANN}[reader_keys]\n"/s/*" = 2\n',
        ("sub", "m", 1_000_000_000),
        '\n[[revoked]]\nsub = "m"\nbefore = 2001-09-09T01:46:40Z\n',
    ),
    "characters-that-toml-escapes": (
        ANN,
        ("sub", 'ö"\\ 漢'),
        '\n[[revoked]]\nsub = "ö\\"\\\\ 漢"\n',
    ),
}


@pytest.mark.parametrize(("before", "entry", "added"), WRITTEN.values(), ids=WRITTEN)
def test_a_revocation_is_added_at_the_end(before: str, entry: Entry, added: str) -> None:
    data = revoked("t.toml", before.encode(), RevocationEntry(*entry), has_reader_keys=False)
    assert data.decode() == before + added
    parse_tokens("t.toml", data)


IN_ARRAYS = {
    "one-line": (
        'revoked = [{ jti = "x" }] # so\n',
        'revoked = [{ jti = "x" }, {jti = "y"}] # so\n',
    ),
    "several-lines": (
        'revoked = [\r\n  { jti = "x" }, # so\r\n]\r\n\r\n[reader_keys]\r\n',
        'revoked = [\r\n  { jti = "x" }, # so\r\n  {jti = "y"},\r\n]\r\n\r\n[reader_keys]\r\n',
    ),
    "empty": ("revoked = []\n", 'revoked = [{jti = "y"}]\n'),
    "a-comment-after-an-entry-without-comma": (
        'revoked = [\n  { jti = "x" } # {so}\n]\n',
        'revoked = [\n  { jti = "x" }, # {so}\n  {jti = "y"}\n]\n',
    ),
}


@pytest.mark.parametrize(("before", "after"), IN_ARRAYS.values(), ids=IN_ARRAYS)
def test_a_revocation_is_added_to_an_array_that_is_one_value(before: str, after: str) -> None:
    entry = RevocationEntry("jti", "y")
    data = revoked("t.toml", before.encode(), entry, has_reader_keys=False)
    assert data.decode() == after
    parse_tokens("t.toml", data)


UNWRITABLE = {
    "no-such-name": (ANN, ("name", "bob"), "has no token with the name bob"),
    "a-name-revoked-before": (
        f'{ANN}[[revoked]]\nname = "ann"\n',
        ("name", "ann"),
        "is revoked already",
    ),
    "a-subject-revoked-for-good": (
        '[[revoked]]\nsub = "m"\n',
        ("sub", "m", 5),
        "is revoked already",
    ),
    "no-toml": ("x = ", ("jti", "y"), "t.toml:1: "),
    "an-injected-table": (ANN, ("jti", 'x"\n[[tokens]]\n'), "1 to 1,024 visible characters"),
    "a-mark-of-direction": (ANN, ("jti", "\u202ex"), "visible characters"),
    "nothing": (ANN, ("jti", ""), "visible characters"),
    "a-blank-behind": (ANN, ("jti", "x "), "ends with a blank"),
    "a-jwt": (ANN, ("jti", "eyJhbGciOiJFUzI1NiJ9.e30.c2ln"), "whole token"),
    "before-of-a-jti": (ANN, ("jti", "x", 5), "before goes only with sub"),
}


@pytest.mark.parametrize(("text", "entry", "said"), UNWRITABLE.values(), ids=UNWRITABLE)
def test_an_impossible_revocation_is_refused(text: str, entry: Entry, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        revoked("t.toml", text.encode(), RevocationEntry(*entry), has_reader_keys=False)


@pytest.mark.parametrize(("length", "fits"), [(1, True), (LONGEST_VALUE, True), (1025, False)])
def test_a_revoked_value_has_the_length_that_the_file_may_have(length: int, fits: bool) -> None:
    entry = RevocationEntry("jti", "j" * length)
    if fits:
        data = revoked("t", b"", entry, has_reader_keys=False)
        assert parse_tokens("t", data).revocations.token_ids
    else:
        with pytest.raises(ValueError, match="1 to 1,024"):
            revoked("t", b"", entry, has_reader_keys=False)


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_revocation_does_not_make_a_file_larger_than_it_may_be(more: int) -> None:
    entry = RevocationEntry("jti", "x")
    lines = len(revoked("t", b"#\n", entry, has_reader_keys=False)) - 2
    comment = b"#" * (LARGEST_FILE - lines - 1 + more) + b"\n"
    if more < 1:
        made = revoked("t", comment, entry, has_reader_keys=False)
        assert len(made) == LARGEST_FILE + more
    else:
        with pytest.raises(ValueError, match="would be larger than 1 MiB"):
            revoked("t", comment, entry, has_reader_keys=False)


def test_a_revocation_keeps_the_mode_and_the_link_of_the_file(tmp_path: Path) -> None:
    file, link = tmp_path / "real.toml", tmp_path / "tokens.toml"
    file.write_text(ANN)
    file.chmod(0o640)
    link.symlink_to(file)
    revoke_in_file(str(link), RevocationEntry("name", "ann"), has_reader_keys=False)
    assert link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert file.read_text() == f'{ANN}\n[[revoked]]\nname = "ann"\n'
    assert {it.name for it in tmp_path.iterdir()} == {"real.toml", "tokens.toml"}


@pytest.mark.parametrize("text", ["# mine\n", f'{ANN}[reader_keys]\n"/*" = 4\n'], ids=["no", "a"])
def test_a_revocation_raises_the_version_of_all_reader_keys(text: str) -> None:
    data = revoked("t", text.encode(), RevocationEntry("jti", "x"), has_reader_keys=True)
    before, after = parse_tokens("t", text.encode()), parse_tokens("t", data)
    assert after.reader_keys == {"/*": before.reader_keys.get("/*", 0) + 1}
    assert after.revocations.token_ids == {"x"}
    assert data.startswith(text[:10].encode())
