"""The file of static tokens: who has one, what each may do, and what has been revoked."""

from __future__ import annotations

import re
import tomllib
from datetime import datetime
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from gateway.access.operations import Grant
from gateway.access.revocations import Revocations
from gateway.settings.access import check_name
from gateway.settings.grants import Operations, check_pattern
from gateway.settings.token_hashes import DIGEST, read_digest
from gateway.settings.toml_file import TomlFile, spell

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Self

    from pydantic_core import ErrorDetails

HASH_KIND = f"{DIGEST} and 64 hexadecimal digits, which `headgate token hash` prints of a token"
TIME_KIND = "a time with its zone, such as 2030-01-31T12:00:00Z"
HIGHEST_VERSION = 2**31 - 1
MOST_TOLD = 20  # mistakes of a file: each takes a look through all of it
# What pydantic finds, in our words.
_KINDS = {
    "tuple_type": "an array of tables",
    "too_short": "an array of at least one table",
    "model_type": "a table",
    "dict_type": "a table",
    "string_type": "text",
    "string_too_short": "text of 1 to 1,024 characters",
    "string_too_long": "text of 1 to 1,024 characters",
    **dict.fromkeys(
        ("int_type", "greater_than_equal", "less_than_equal"),
        f"a whole number from 1 to {HIGHEST_VERSION:,}",
    ),
}
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)


class StaticToken(NamedTuple):
    """A token by its SHA-256, and what it lets its holder do until a moment (epoch seconds)."""

    name: str
    digest: bytes
    grants: tuple[Grant, ...]
    until: float


class TokensFile(NamedTuple):
    """All that the file says."""

    tokens: Mapping[bytes, StaticToken]
    revocations: Revocations
    reader_keys: Mapping[str, int]  # versions, by pattern
    doubts: tuple[str, ...] = ()  # what of it has no effect, a sentence each


def parse_tokens(path: str, data: bytes) -> TokensFile:
    """What the file at a path says. Raises ValueError, with a line for each mistake."""
    try:
        file = TomlFile(Path(path), data.decode())
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text, hence not TOML") from None
    try:
        values = tomllib.loads(file.text)
    except tomllib.TOMLDecodeError as cause:
        raise ValueError(file.no_toml(str(cause))[1].removesuffix(".")) from None
    except RecursionError:
        raise ValueError(f"{path} is not TOML that can be read: it is nested too deeply") from None
    tables, found = _checked(values)
    if tables is None or found:
        raise ValueError(_told(found, file, values))
    return tables.read()


def _checked(values: Mapping[str, object]) -> tuple[_File | None, list[_Mistake]]:
    """The tables, where each by itself is right, and what is wrong."""
    try:
        tables = _File.model_validate(values)
    except ValidationError as refusal:
        errors = refusal.errors(include_url=False, include_input=False)
        return None, [_found(error) for error in errors]
    return tables, [*tables.mistakes()]


def _told(found: list[_Mistake], file: TomlFile, values: Mapping[str, object]) -> str:
    """A line for each, in the order of the file. The last is ended by whoever tells it."""
    told = sorted(found[:MOST_TOLD], key=lambda it: file.line(it.place) or 0)
    lines = [_sentence(it, file, values) for it in told]
    if len(found) > len(told):
        lines.append(f"{file.path} has {len(found) - len(told):,} more mistakes")
    return ".\n".join(lines)


class _Mistake(NamedTuple):
    """Where it is, and words that follow what stands there; never the value."""

    place: tuple[str | int, ...]
    words: str


def _sentence(mistake: _Mistake, file: TomlFile, values: Mapping[str, object]) -> str:
    place, words = mistake
    name = _name_at(place, values)
    return f"{file.position(place)}: {spell(place)}{name and f' (name {name})'} {words}"


def _name_at(place: tuple[str | int, ...], values: Mapping[str, object]) -> str:
    """The name of the table that a place is in, where it has one that may be shown."""
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


def _found(error: ErrorDetails) -> _Mistake:
    # The validator's own mark of a table's key.
    return _Mistake(tuple(it for it in error["loc"] if it != "[key]"), _words(error))


def _words(error: ErrorDetails) -> str:
    if error["type"] == "extra_forbidden":
        return "is nothing that this file can have"
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    return f"must be {_KINDS.get(error['type'], 'something else')}"


# ---------------------------------------------------------------- its tables


def _check_digest(secret: SecretStr) -> SecretStr:
    if read_digest(secret.get_secret_value()) is None:
        raise ValueError(f"must be {HASH_KIND}: tokens themselves do not stand in this file")
    return secret


def _moment(value: object) -> float:
    """A time of TOML or RFC 3339 as epoch seconds."""
    if isinstance(value, str) and _TIME.fullmatch(value):
        try:
            value = datetime.fromisoformat(value.upper())
        except ValueError:
            value = None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError(f"must be {TIME_KIND}")
    return value.timestamp()


Name = Annotated[str, AfterValidator(check_name)]
Moment = Annotated[float, BeforeValidator(_moment)]
Version = Annotated[int, Field(strict=True, ge=1, le=HIGHEST_VERSION)]
Text = Annotated[str, Field(min_length=1, max_length=1024)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, strict=False)


class _Grant(_Table):
    streams: Annotated[str, AfterValidator(check_pattern)]
    operations: Operations


class _Role(_Table):
    name: Name
    grants: Annotated[tuple[_Grant, ...], Field(min_length=1)]


class _Token(_Table):
    name: Name
    token: Annotated[SecretStr, AfterValidator(_check_digest)]
    role: Name | None = None
    grants: tuple[_Grant, ...] = ()
    expires: Moment = inf

    @model_validator(mode="after")
    def _may_something(self) -> Self:
        if (self.role is None) == (not self.grants):
            raise ValueError("must have a role or grants, and not both")
        return self

    @property
    def digest(self) -> bytes:
        digest = read_digest(self.token.get_secret_value())
        assert digest is not None, "_check_digest refuses what is none"
        return digest


class _Revoked(_Table):
    name: Name | None = None
    jti: Text | None = None
    sub: Text | None = None
    kid: Text | None = None
    before: Moment | None = None

    @model_validator(mode="after")
    def _names_one_thing(self) -> Self:
        given = [it for it in (self.name, self.jti, self.sub, self.kid) if it is not None]
        if len(given) != 1:
            raise ValueError("must have one of name, jti, sub and kid")
        if self.before is not None and self.sub is None:
            raise ValueError("must have before only together with sub")
        return self


class _File(_Table):
    roles: tuple[_Role, ...] = ()
    tokens: tuple[_Token, ...] = ()
    revoked: tuple[_Revoked, ...] = ()
    reader_keys: dict[Annotated[str, AfterValidator(check_pattern)], Version] = {}

    def mistakes(self) -> Iterator[_Mistake]:
        """Where its tables do not fit together."""
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
        """Its tables as they are asked."""
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
        return TokensFile(
            {token.digest: token for token in tokens}, self._revocations(), self.reader_keys
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


def _grants(given: Sequence[_Grant]) -> tuple[Grant, ...]:
    return tuple(Grant(one.streams, frozenset(one.operations)) for one in given)
