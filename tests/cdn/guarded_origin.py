"""A gateway whose streams are private, as an edge in front of it sees it, and who may read them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from joserfc.jwk import OKPKey

from headgate_gateway.access import key_sets
from headgate_gateway.features.issued_tokens import new_keys, written
from tests.cdn.origin import LIFETIMES, TEXT, HeadgateOrigin, telling_who
from tests.support.http1 import ask
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.http1 import Answer

PREFIX = "/v1/private"
NESTED = f"{PREFIX}/users"
"""An HTTP origin below it, which tells each reader who he is."""
FIRST, BODY = b"first", b"for all who may read it"
WRITER = "the-writer-of-these-tests"
EVERYTHING = ["read", "append", "create", "close", "delete"]


def epoch_seconds() -> float:
    """The clock that a token's expiry is by."""
    return time.time()  # noqa: TID251 - as an edge counts


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Signer:
    """Makes read tokens, right ones and others."""

    def __init__(self, content: dict[str, object] | None = None) -> None:
        self.content = content or new_keys()
        self._key = OKPKey.import_key(self.content["keys"][0])  # type: ignore[index]

    def token(
        self, streams: str, sub: str, *, header: dict[str, object] | None = None, **claims: object
    ) -> str:
        """A token for somebody, right but for what is given otherwise."""
        now = int(epoch_seconds())
        said: dict[str, object] = {
            "sub": sub,
            "jti": sub,
            "ver": 1,
            "streams": streams,
            "ops": ["read"],
            "iat": now,
            "exp": now + 600,
            **claims,
        }
        head = {"alg": "EdDSA", "typ": "hg-read+jwt", "kid": self._key.kid, **(header or {})}
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in (head, said))
        signature = key_sets.Registry.algorithms["EdDSA"].sign(signed.encode(), self._key)
        return f"{signed}.{_encoded(signature)}"


class Stream(NamedTuple):
    """A closed stream, and where its last record begins: there an answer never changes."""

    path: str
    offset: str

    @property
    def target(self) -> str:
        return f"{self.path}?offset={self.offset}"


class GuardedOrigin(HeadgateOrigin):
    """Its log below PREFIX takes read tokens, and a writer's; it has reader keys."""

    def __init__(self, folder: Path, poll_s: float, readers_port: int) -> None:
        self.signer = Signer()
        self._tokens = folder / "tokens.toml"
        keys = folder / "keys.json"
        keys.write_bytes(written(self.signer.content))
        keys.chmod(0o600)
        self.tell()
        route = {"prefix": PREFIX, "storage": "memory:", "auth": ["tokens", "read-tokens"]}
        told_apart = {"prefix": NESTED, "origin": f"http://127.0.0.1:{readers_port}"}
        super().__init__(
            readers_port,
            poll_s,
            (),
            ("*",),
            private=[
                route | {"reader_keys": "on", "listing": "on"} | LIFETIMES | {"chunk_max_age": 600},
                told_apart,
            ],
            environment={
                "HEADGATE_CREDENTIALS__TOKENS_FILE": str(self._tokens),
                "HEADGATE_CREDENTIALS__KEYS_FILE": str(keys),
            },
        )

    def tell(self, *, revoked: str = "", versions: dict[str, int] | None = None) -> None:
        """Have the file of tokens say this; the gateway takes it within a second."""
        digest = hashlib.sha256(WRITER.encode()).hexdigest()
        grant = f'{{ streams = "{PREFIX}/*", operations = {json.dumps(EVERYTHING)} }}'
        lines = [
            "[[tokens]]",
            'name = "writer"',
            f'token = "sha256:{digest}"',
            f"grants = [{grant}]",
        ]
        lines += ["[[revoked]]", f'sub = "{revoked}"'] if revoked else []
        lines += ["[reader_keys]", *(f'"{it}" = {n}' for it, n in (versions or {}).items())]
        new = self._tokens.with_suffix(".new")
        new.write_text("\n".join([*lines, ""]))
        new.replace(self._tokens)

    def write(self, method: str, path: str, body: bytes | None, **headers: str) -> Answer:
        """A request of the writer."""
        held = {"Authorization": f"Bearer {WRITER}", "Content_Type": TEXT}
        return ask(self.port, method, path, body, **held, **headers)

    def stream(self) -> Stream:
        """A new one."""
        path = self.path(PREFIX)
        assert self.write("PUT", path, FIRST).status == 201
        offset = self.write("HEAD", path, None).next_offset
        assert self.write("POST", path, BODY, Stream_Closed="true").status == 204
        return Stream(path, offset)

    def reader_key(self, path: str) -> str:
        """The current one of a stream."""
        key = self.write("HEAD", path, None).get("stream-reader-key")
        assert key is not None
        return key

    def rotated(self, path: str, versions: dict[str, int], *, revoked: str = "") -> str:
        """The key of a stream, when these versions count, and while somebody is revoked."""
        before = self.reader_key(path)
        self.tell(revoked=revoked, versions=versions)
        wait_until(lambda: self.reader_key(path) != before, "another reader key")
        return self.reader_key(path)


@contextlib.contextmanager
def guarded_origin(poll_s: float) -> Iterator[GuardedOrigin]:
    """A started one; killed when the block ends."""
    with tempfile.TemporaryDirectory(prefix="headgate-cdn-") as folder, telling_who() as port:
        origin = GuardedOrigin(Path(folder), poll_s, port)
        try:
            origin.start()
            yield origin
        finally:
            origin.close()
