"""A rotation of a reader key changes one number of a file, or nothing."""

from __future__ import annotations

import pytest

from headgate_gateway.access.tokens_file import HIGHEST_VERSION, parse_tokens
from headgate_gateway.features.tokens_file_changes import rotated

STREAMS = "/v1/stream/rooms/*"


ROTATIONS = {
    "an-empty-file": ("", f'[reader_keys]\n"{STREAMS}" = 1\n'),
    "a-comment-without-a-newline": ("# mine", f'# mine\n\n[reader_keys]\n"{STREAMS}" = 1\n'),
    "an-empty-table-without-a-newline": ("[reader_keys]", f'[reader_keys]\n"{STREAMS}" = 1\n'),
    "a-table-with-other-keys": (
        '[reader_keys] # so\n"/a" = 2\n',
        f'[reader_keys] # so\n"/a" = 2\n"{STREAMS}" = 1\n',
    ),
    "a-table-before-another-table": (
        f'[reader_keys]\n"/a" = 2\n"{STREAMS}" = 9 # why\n\n[[revoked]]\nsub = "x"\n',
        f'[reader_keys]\n"/a" = 2\n"{STREAMS}" = 10 # why\n\n[[revoked]]\nsub = "x"\n',
    ),
    "a-comment-with-crlf": ("# mine\r\n", f'# mine\r\n\r\n[reader_keys]\r\n"{STREAMS}" = 1\r\n'),
    "a-table-with-crlf": (
        '[reader_keys] # so\r\n"/a" = 2\r\n',
        f'[reader_keys] # so\r\n"/a" = 2\r\n"{STREAMS}" = 1\r\n',
    ),
    "comments-about-what-follows": (
        '[reader_keys]\n"/a" = 1\n\n# whom we know\n[[revoked]]\nsub = "x"\n',
        f'[reader_keys]\n"/a" = 1\n"{STREAMS}" = 1\n\n# whom we know\n[[revoked]]\nsub = "x"\n',
    ),
    "an-inline-table": (
        f'reader_keys = {{ "{STREAMS}" = 1 }} # so\n[[revoked]]\nsub = "x"\n',
        f'reader_keys = {{ "{STREAMS}" = 2 }} # so\n[[revoked]]\nsub = "x"\n',
    ),
    "dotted-keys": (
        f"reader_keys.'/a' = 2\nreader_keys . '{STREAMS}' = 1 # so\n",
        f"reader_keys.'/a' = 2\nreader_keys . '{STREAMS}' = 2 # so\n",
    ),
    "a-quoted-header": (
        f'[ "reader_keys" ]\n"{STREAMS}" = 1\n',
        f'[ "reader_keys" ]\n"{STREAMS}" = 2\n',
    ),
    "a-hexadecimal-version": (
        f'[reader_keys]\n"{STREAMS}" = 0x10 # so\n',
        f'[reader_keys]\n"{STREAMS}" = 17 # so\n',
    ),
    "an-indented-key-in-single-quotes": (
        f"[reader_keys]\n '{STREAMS}'=1\r\n",
        f"[reader_keys]\n '{STREAMS}'=2\r\n",
    ),
}


@pytest.mark.parametrize(("before", "after"), ROTATIONS.values(), ids=ROTATIONS)
def test_a_rotation_changes_only_the_version_in_the_file(before: str, after: str) -> None:
    data, version = rotated("t.toml", before.encode(), STREAMS)
    assert data.decode() == after
    assert parse_tokens("t.toml", data).reader_keys[STREAMS] == version


REFUSED = {
    "the highest version": (f'[reader_keys]\n"{STREAMS}" = {HIGHEST_VERSION}', STREAMS),
    "TOML": ("[reader_keys", STREAMS),
    r"/v1/\*/a must be a canonical path": ("", "/v1/*/a"),
    "rooms must be a canonical path": ("", "rooms"),
}


@pytest.mark.parametrize("told", REFUSED)
def test_a_rotation_that_cannot_be_written_is_refused(told: str) -> None:
    text, streams = REFUSED[told]
    with pytest.raises(ValueError, match=told):
        rotated("t.toml", text.encode(), streams)
