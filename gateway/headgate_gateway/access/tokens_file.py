"""The file of static tokens: who has one, what each may do, and what has been revoked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from hashlib import sha256
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
from typing_extensions import override

from headgate_gateway.access.contract import Authority
from headgate_gateway.access.operations import Grant
from headgate_gateway.access.principal import STATIC, Principal, TokenHolder, TokenRefused
from headgate_gateway.errors import Unauthenticated
from headgate_gateway.settings.arrays.access import check_name
from headgate_gateway.settings.grants import Operations, check_pattern
from headgate_gateway.settings.reading.given import setting_at
from headgate_gateway.settings.reading.tables import Table, setting
from headgate_gateway.settings.reading.token_hashes import DIGEST, read_digest, token_digest
from headgate_gateway.settings.reading.toml_file import TomlFile, spell
from headgate_gateway.settings.reading.values import Converter, Mistaken, Secret, Validator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from headgate_gateway.settings.reading.values import Mistake


class RevocationClaims(NamedTuple):
    """The claims of a signed token by which it can be revoked; `at` is its iat."""

    kid: str
    token_id: str | None
    subject: str | None
    at: float | None


@dataclass(frozen=True)
class Revocations:
    """The revoked tokens: names of static ones; ids, subjects and keys (`kids`) of signed ones.

    All tokens of a subject that were issued before its moment (epoch seconds) are revoked.
    """

    names: frozenset[str] = frozenset()
    token_ids: frozenset[str] = frozenset()
    kids: frozenset[str] = frozenset()
    subjects: Mapping[str, float] = field(default_factory=dict)

    def hit(self, token: RevocationClaims) -> bool:
        """Return whether a signed token is revoked. A token without iat counts as old."""
        if token.kid in self.kids or token.token_id in self.token_ids:
            return True
        before = None if token.subject is None else self.subjects.get(token.subject)
        return before is not None and (token.at is None or token.at < before)

    def digest(self) -> str:
        """Return a value that any other revocations have another one of; "" for none."""
        ids = [sorted(it) for it in (self.names, self.token_ids, self.kids)]
        criteria = (*ids, sorted(self.subjects.items()))
        return sha256(msgspec.json.encode(criteria)).hexdigest() if any(criteria) else ""

    def new_since(self, earlier: Revocations) -> list[str]:
        """Return what is revoked here and was not in an earlier file, in words."""
        subjects = self.subjects.items() - earlier.subjects.items()
        return [
            *(f"token {name}" for name in sorted(self.names - earlier.names)),
            *(f"jti {token_id}" for token_id in sorted(self.token_ids - earlier.token_ids)),
            *(f"sub {subject}" for subject, _ in sorted(subjects)),
            *(f"kid {kid}" for kid in sorted(self.kids - earlier.kids)),
        ]


NOTHING = Revocations()


HASH_KIND = f"{DIGEST} and 64 hexadecimal digits, which `headgate token hash` prints of a token"
TIME_KIND = "a time with its zone, such as 2030-01-31T12:00:00Z"
HIGHEST_VERSION = 2**31 - 1
MOST_LISTED = 20  # mistakes in a message, which somebody reads
# What a value of another type must be, by its key.
_KINDS = {
    **dict.fromkeys(("roles", "tokens", "revoked", "grants"), "an array of tables"),
    "reader_keys": "a table",
}
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)


class StaticToken(NamedTuple):
    """A token by its SHA-256, and what it lets its holder do until a moment (epoch seconds)."""

    name: str
    digest: bytes
    grants: tuple[Grant, ...]
    until: float


class TokensFile(NamedTuple):
    """The parsed content of a tokens_file; `revoked` is the digest of its revocations."""

    tokens: Mapping[bytes, StaticToken]
    revocations: Revocations
    reader_keys: Mapping[str, int]  # versions, by pattern
    revoked: str = ""


NO_TOKENS = TokensFile({}, NOTHING, {})


def parse_tokens(path: str, data: bytes) -> TokensFile:
    """Parse the tokens_file at `path`. Raises ValueError with a line for each mistake."""
    try:
        file = TomlFile(Path(path), data.decode())
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text, hence not TOML") from None
    import tomllib  # only where there is a file

    try:
        values = tomllib.loads(file.text)
    except tomllib.TOMLDecodeError as cause:
        _, sentence = file.no_toml(str(cause), partial(setting_at, _File))
        raise ValueError(sentence.removesuffix(".")) from None
    except RecursionError:
        raise ValueError(f"{path} is not TOML that can be read: it is nested too deeply") from None
    tables, found = _checked(values)
    if tables is None or found:
        raise ValueError(_message_of(found, file, values))
    return tables.read()


def _checked(values: Mapping[str, object]) -> tuple[_File | None, list[_Mistake]]:
    """Return the tables, or None if one of them is wrong, and the mistakes."""
    try:
        tables = _File.of(values)
    except Mistaken as refusal:
        return None, [_Mistake(it.place, _words(it)) for it in refusal.mistakes]
    return tables, [*tables.mistakes()]


def _message_of(found: list[_Mistake], file: TomlFile, values: Mapping[str, object]) -> str:
    """Return a line for each mistake, in the order of the file; the last one has no full stop."""
    listed = sorted(found[:MOST_LISTED], key=lambda it: file.line(it.place) or 0)
    lines = [_sentence(it, file, values) for it in listed]
    if len(found) > len(listed):
        lines.append(f"{file.path} has {len(found) - len(listed):,} more mistakes")
    return ".\n".join(lines)


class _Mistake(NamedTuple):
    """A mistake: its place, and words that follow the place's name; never the value."""

    place: tuple[str | int, ...]
    words: str


def _sentence(mistake: _Mistake, file: TomlFile, values: Mapping[str, object]) -> str:
    place, words = mistake
    name = _name_at(place, values)
    return f"{file.position(place)}: {spell(place)}{name and f' (name {name})'} {words}"


def _name_at(place: tuple[str | int, ...], values: Mapping[str, object]) -> str:
    """Return the name of the table that a place is in, if it has one that may be shown."""
    tables = values.get(str(place[0]))
    index = place[1] if len(place) > 1 else None
    if not isinstance(tables, list) or not isinstance(index, int) or place[2:] == ("name",):
        return ""
    table = tables[index]
    name = table.get("name") if isinstance(table, dict) else None
    try:
        return check_name(name) if isinstance(name, str) else ""
    except ValueError:
        return ""


def _words(mistake: Mistake) -> str:
    if mistake.kind == "unknown":
        return "is not a key of a tokens file"
    if mistake.kind == "missing":
        return "is missing"
    last = mistake.place[-1]
    in_array = isinstance(last, int)
    return mistake.must or f"must be {'a table' if in_array else _KINDS.get(str(last), 'text')}"


# ---------------------------------------------------------------- its tables


def _check_digest(secret: Secret) -> Secret:
    if read_digest(secret.reveal()) is None:
        raise ValueError(f"must be {HASH_KIND}: tokens themselves do not stand in this file")
    return secret


def _check_version(value: object) -> object:
    if type(value) is not int or not 1 <= value <= HIGHEST_VERSION:
        raise ValueError(f"must be a whole number from 1 to {HIGHEST_VERSION:,}")
    return value


def _check_text(text: str) -> str:
    if not 1 <= len(text) <= 1024:
        raise ValueError("must be text of 1 to 1,024 characters")
    return text


def _check_some(grants: tuple[_Grant, ...]) -> tuple[_Grant, ...]:
    if not grants:
        raise ValueError("must be an array of at least one table")
    return grants


def _moment(value: object) -> float:
    """Return a time of TOML or RFC 3339 as epoch seconds."""
    if isinstance(value, str) and _TIME.fullmatch(value):
        try:
            value = datetime.fromisoformat(value.upper())
        except ValueError:
            value = None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError(f"must be {TIME_KIND}")
    return value.timestamp()


Name = Annotated[str, Validator(check_name)]
Moment = Annotated[float, Converter(_moment)]
Version = Annotated[int, Converter(_check_version)]
Text = Annotated[str, Validator(_check_text)]


class _Grant(Table):
    streams: Annotated[str, Validator(check_pattern)]
    operations: Operations


class _Role(Table):
    name: Name
    grants: Annotated[tuple[_Grant, ...], Validator(_check_some)]


class _Token(Table):
    name: Name
    token: Annotated[Secret, Validator(_check_digest)]
    role: Name | None = None
    grants: tuple[_Grant, ...] = ()
    expires: Moment = inf

    @override
    def check_whole(self) -> None:
        """Raise ValueError unless the token has either a role or grants."""
        if (self.role is None) == (not self.grants):
            raise ValueError("must have a role or grants, and not both")

    @property
    def digest(self) -> bytes:
        digest = read_digest(self.token.reveal())
        assert digest is not None, "_check_digest refuses what is none"
        return digest


class _Revoked(Table):
    name: Name | None = None
    jti: Text | None = None
    sub: Text | None = None
    kid: Text | None = None
    before: Moment | None = None

    @override
    def check_whole(self) -> None:
        """Raise ValueError unless the revocation names one thing."""
        criteria = [it for it in (self.name, self.jti, self.sub, self.kid) if it is not None]
        if len(criteria) != 1:
            raise ValueError("must have one of name, jti, sub and kid")
        if self.before is not None and self.sub is None:
            raise ValueError("must have before only together with sub")


class _File(Table):
    roles: tuple[_Role, ...] = ()
    tokens: tuple[_Token, ...] = ()
    revoked: tuple[_Revoked, ...] = ()
    reader_keys: dict[Annotated[str, Validator(check_pattern)], Version] = setting({})

    def mistakes(self) -> Iterator[_Mistake]:
        """Yield the mistakes by which the file's tables contradict each other."""
        known = {role.name for role in self.roles}
        names: dict[tuple[str, str], int] = {}
        hashes: dict[bytes, int] = {}
        named: dict[str, Sequence[_Role | _Token]] = {"roles": self.roles, "tokens": self.tokens}
        for kind, tables in named.items():
            for index, one in enumerate(tables):
                first = names.setdefault((kind, one.name), index)
                if first != index:
                    words = f"is {one.name}, as that of {kind}[{first}] is"
                    yield _Mistake((kind, index, "name"), words)
        for index, token in enumerate(self.tokens):
            first = hashes.setdefault(token.digest, index)
            if first != index:
                words = f"is the hash that tokens[{first}] has, too"
                yield _Mistake(("tokens", index, "token"), words)
            if token.role is not None and token.role not in known:
                words = f"is {token.role}, and no role has that name"
                yield _Mistake(("tokens", index, "role"), words)

    def read(self) -> TokensFile:
        """Return the content of the tables in the form that the authorities use."""
        roles = {role.name: _grants(role.grants) for role in self.roles}
        tokens = (
            StaticToken(
                token.name,
                token.digest,
                _grants(token.grants) if token.role is None else roles[token.role],
                token.expires,
            )
            for token in self.tokens
        )
        revocations = self._revocations()
        return TokensFile(
            {token.digest: token for token in tokens},
            revocations,
            self.reader_keys,
            revocations.digest(),
        )

    def _revocations(self) -> Revocations:
        subjects: dict[str, float] = {}
        for one in self.revoked:
            if one.sub is not None:
                before = inf if one.before is None else one.before
                subjects[one.sub] = max(before, subjects.get(one.sub, 0.0))
        return Revocations(
            names=frozenset(one.name for one in self.revoked if one.name is not None),
            token_ids=frozenset(one.jti for one in self.revoked if one.jti is not None),
            kids=frozenset(one.kid for one in self.revoked if one.kid is not None),
            subjects=subjects,
        )


def _grants(entries: Sequence[_Grant]) -> tuple[Grant, ...]:
    return tuple(Grant(one.streams, frozenset(one.operations)) for one in entries)


class StaticTokens(Authority):
    """The authority for static tokens; `file` returns the present content of the tokens_file."""

    def __init__(self, file: Callable[[], TokensFile]) -> None:
        self._file = file

    @override
    def owns(self, token: str) -> bool:
        """Return whether a token is in the file, or lacks the two dots of a signed token."""
        return token.count(".") != 2 or token_digest(token) in self._file().tokens

    @override
    async def verify(self, token: str, digest: bytes, now: float) -> Principal:
        known = self._file().tokens.get(token_digest(token))
        if known is None:
            raise Unauthenticated("the token is unknown", is_refused=True)
        account = f"{STATIC} {known.name}"
        if known.name in self._file().revocations.names:
            raise TokenRefused("the token is revoked", TokenHolder(account, known.name))
        if known.until <= now:
            raise TokenRefused("the token has expired", TokenHolder(account, known.name))
        return Principal(
            known.name, known.grants, known.until, proof=known, digest=digest, account=account
        )

    @override
    def upholds(self, principal: Principal, now: float) -> bool:
        """Return whether the principal's entry in the file is unchanged, and not revoked."""
        proof = principal.proof
        if not isinstance(proof, StaticToken) or proof.until <= now:
            return False
        file = self._file()
        return file.tokens.get(proof.digest) == proof and proof.name not in file.revocations.names
