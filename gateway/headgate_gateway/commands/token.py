"""`headgate token`: the keys of read tokens, such tokens, and hashes of static ones."""

from __future__ import annotations

import json
import secrets
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from headgate_gateway.commands.options.configuration import complain, config_option, load_settings
from headgate_gateway.commands.options.parameters import SecondsType
from headgate_gateway.commands.options.typed_secrets import AskingCommand, can_ask, secret_of_stdin
from headgate_gateway.tools.shell.exit_status import FAILED, UNUSABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.access.key_sets import Keys
    from headgate_gateway.access.operations import Operation
    from headgate_gateway.access.principal import Principal
    from headgate_gateway.access.signed_tokens import Json
    from headgate_gateway.features.questions.tokens import RevocationKind
    from headgate_gateway.settings import Settings

# Those of `headgate_gateway.settings.grants`, whose import would slow down help and completion.
OPERATIONS = ("read", "append", "create", "close", "delete")


@click.group()
def token() -> None:
    """Make and check tokens of clients and browsers."""


@token.command("hash", cls=AskingCommand)
@click.option(
    "--new", is_flag=True, help="Generate a token; print it on stdout, and its hash on stderr."
)
def hash_token(*, new: bool) -> None:
    """Print the hash of a static token.

    The command asks for the token, or reads it from stdin without the line end.
    """
    from headgate_gateway.settings.reading import token_hashes

    given = secrets.token_urlsafe(32) if new else _secret("Token")
    if not token_hashes.is_token(given):
        length = f"{token_hashes.SHORTEST_TOKEN} to {token_hashes.LONGEST_TOKEN:,}"
        complain(f"a token is one line of {length} visible ASCII characters.")
        sys.exit(FAILED)
    digest = token_hashes.written_digest(token_hashes.token_digest(given))
    click.echo(given if new else digest)
    if new:
        complain(f'credentials.tokens_file has it as token = "{digest}".')


@token.command("keys")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--rotate",
    is_flag=True,
    help="Sign with the next key from now on, and generate another next key.",
)
@click.option(
    "--public", is_flag=True, help="Print the public keys, for programs that only verify."
)
def make_keys(file: Path, *, rotate: bool, public: bool) -> None:
    """Generate the keys_file for read tokens.

    It has the key that signs, the next key, and the secret of reader keys. None of them is ever
    printed.
    """
    if rotate and public:
        raise click.UsageError("--rotate and --public exclude each other.")
    from headgate_gateway.features import issued_tokens
    from headgate_gateway.small_files import create, replace

    with _refusals(file):
        if public:
            click.echo(issued_tokens.written(issued_tokens.public(_content(file))), nl=False)
        elif rotate:
            replace(file, issued_tokens.written(issued_tokens.rotated(_content(file))))
            complain(f"{file} signs with its next key now; its last one still verifies.")
        else:
            create(file, issued_tokens.written(issued_tokens.new_keys()))
            complain(f'{file} has new keys: set credentials.keys_file = "{file}" in the settings.')


@token.command("sign", short_help="Print a read token.")
@config_option
@click.argument("streams")
@click.option("--subject", metavar="NAME", required=True, help="Name of the reader it is for.")
@click.option(
    "--operation",
    "operations",
    type=click.Choice(OPERATIONS),
    multiple=True,
    default=("read",),
    help="Permitted operation; may be repeated.  [default: read]",
)
@click.option(
    "--for",
    "seconds",
    metavar="DURATION",
    type=SecondsType(1),
    help="How long it is valid, such as 15m.  [default: 900]",
)
@click.option("--cookie", "as_cookie", is_flag=True, help="Print a Set-Cookie line with the token.")
@click.option("--query", metavar="ORIGIN", help="Print the URL of the stream with the token.")
def sign_token(  # noqa: PLR0913 - one for each option
    config: Path | None,
    streams: str,
    *,
    subject: str,
    operations: tuple[Operation, ...],
    seconds: int | None,
    as_cookie: bool,
    query: str | None,
) -> None:
    """Print a read token for STREAMS, such as /v1/stream/chat or /v1/stream/rooms/*.

    It is signed with the keys_file of the settings. Messages go to stderr.
    """
    from headgate_gateway.features import issued_tokens
    from headgate_gateway.settings.grants import check_pattern

    if as_cookie and query is not None:
        raise click.UsageError("--cookie and --query exclude each other.")
    if query is not None and streams.endswith("/*"):
        raise click.UsageError("--query needs one stream, and no /* behind it.")
    if query is not None and not _is_origin(query):
        raise click.UsageError(
            "--query must be what stands in front of STREAMS, such as https://streams.example.com."
        )
    try:
        check_pattern(streams)
    except ValueError as refusal:
        raise click.UsageError(f"STREAMS {refusal}.") from None
    settings, keys = _keys(config)
    now = time.time()  # noqa: TID251 - there is no caller to hand a clock down
    request = issued_tokens.TokenRequest(subject, streams, operations, seconds)
    try:
        token = issued_tokens.sign(request, keys, settings.credentials.read_token_max_age, now)
        shown = token.token
        if as_cookie:
            shown = f"Set-Cookie: {issued_tokens.cookie(token, streams, now)}"
    except ValueError as refusal:
        complain(f"the token {refusal}.")
        sys.exit(UNUSABLE)
    if query is not None:
        shown = f"{query.rstrip('/')}{streams}?token={token.token}"
    click.echo(shown)
    until = _written_time(token.expires)
    permits = ", ".join(sorted(set(operations)))
    complain(f"{subject} may {permits} {streams} until {until}; its jti is {token.token_id}.")


@token.command("verify", cls=AskingCommand)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@config_option
def verify_token(config: Path | None, *, as_json: bool) -> None:
    """Say whether a read token is valid, and what it permits.

    The command asks for the token, or reads it from stdin. It does not check revocations. The exit
    status is 1 if the token is not valid.
    """
    settings, keys = _keys(config)
    from headgate_gateway.access import read_tokens
    from headgate_gateway.errors import Unauthenticated

    now = time.time()  # noqa: TID251 - as above
    try:
        whose = read_tokens.verified(
            _secret("Token"), keys, settings.credentials.read_token_max_age, now
        )
    except Unauthenticated as refusal:
        if as_json:
            click.echo(json.dumps({"is_valid": False, "reason": refusal.detail}))
        else:
            complain(f"{refusal.detail}.")
        sys.exit(FAILED)
    if as_json:
        click.echo(json.dumps(_shown(whose)))
        return
    for grant in whose.grants:
        permits = ", ".join(sorted(grant.operations))
        click.echo(f"{whose.name} may {permits} {grant.streams} for {whose.until - now:.0f} s.")


def _shown(whose: Principal) -> dict[str, object]:
    grants = [
        {"streams": str(grant.streams), "operations": sorted(grant.operations)}
        for grant in whose.grants
    ]
    until = _written_time(whose.until)
    return {"is_valid": True, "subject": whose.name, "until": until, "grants": grants}


@token.command("rotate", short_help="Replace the reader key of streams.")
@config_option
@click.argument("streams")
def rotate_key(config: Path | None, streams: str) -> None:
    """Replace the reader key of STREAMS, such as /v1/stream/chat or /v1/stream/rooms/*.

    With the new key, caches serve nothing that they stored before. The command raises a version in
    the tokens_file of the settings. It does not change the rest of the file.
    """
    settings = load_settings(config, {})
    if not settings.credentials.tokens_file:
        complain(
            "the settings have no credentials.tokens_file, in which the versions of reader keys "
            "stand: name their file by --config."
        )
        sys.exit(UNUSABLE)
    from headgate_gateway.features.tokens_file_changes import rotate_file

    file = Path(settings.credentials.tokens_file)
    with _refusals(file):
        version = rotate_file(str(file), streams)
    complain(f"{streams} has version {version} of its reader key within a second.")


@token.command("revoke", short_help="Revoke a token by an entry of the tokens_file.")
@config_option
@click.argument("kind", type=click.Choice(("name", "jti", "sub", "kid")))
@click.argument("value")
@click.option("--issued-until-now", is_flag=True, help="With sub: newer tokens stay valid.")
def revoke_token(
    config: Path | None, kind: RevocationKind, value: str, *, issued_until_now: bool
) -> None:
    """Revoke a static token by its name, or signed tokens by their jti, sub or kid.

    The command adds an entry to the tokens_file of the settings. Where a route has reader keys, it
    also raises their version. It does not change the rest of the file. Servers with the file refuse
    the tokens within a second.
    """
    settings = load_settings(config, {})
    if not settings.credentials.tokens_file:
        complain("the settings have no credentials.tokens_file for revocations: use --config.")
        sys.exit(UNUSABLE)
    from headgate_gateway.features.tokens_file_changes import RevocationEntry, revoke_in_file

    before = int(time.time()) + 1 if issued_until_now else None  # noqa: TID251 - as above
    entry = RevocationEntry(kind, value, before)
    try:
        entry.check()
    except ValueError as refusal:
        raise click.UsageError(f"{refusal}.") from None
    file = Path(settings.credentials.tokens_file)
    with _refusals(file):
        revoke_in_file(str(file), entry, has_reader_keys=bool(settings.keyed_routes))
    complain(f"{kind} {value} is revoked within a second.")


def _is_origin(url: str) -> bool:
    """Return whether `url` is http(s)://HOST[:PORT], to which a path can be added."""
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in {"http", "https"}
            and parts.hostname is not None
            and parts.port != 0
            and parts.path in {"", "/"}
            and not parts.query + parts.fragment
        )
    except ValueError:
        return False


def _secret(prompt: str) -> str:
    """Read a secret from stdin: other users can see the command line."""
    if can_ask():
        return str(click.prompt(prompt, hide_input=True, err=True))
    return secret_of_stdin(1 << 16)


def _keys(config: Path | None) -> tuple[Settings, Keys]:
    """Return the settings and the keys that they name; end the program if there are none."""
    settings = load_settings(config, {})
    if not settings.credentials.keys_file:
        complain(
            "the settings have no credentials.keys_file: make one by headgate token keys NEW_FILE."
        )
        sys.exit(UNUSABLE)
    from headgate_gateway.access.key_sets import load_keys

    with _refusals(Path(settings.credentials.keys_file), UNUSABLE):
        return settings, load_keys(settings.credentials.keys_file)


def _written_time(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat().replace("+00:00", "Z")


def _content(file: Path) -> Json:
    from headgate_gateway.access.key_sets import load_keys
    from headgate_gateway.access.signed_tokens import load_object
    from headgate_gateway.small_files import read_file

    load_keys(str(file))  # with all that it checks
    return load_object(read_file(str(file)))


@contextmanager
def _refusals(file: Path, status: int = FAILED) -> Iterator[None]:
    """End the program with one sentence and this status if something cannot be done."""
    try:
        yield
    except FileExistsError:
        complain(f"{file} is there already: --rotate changes its keys, --public prints them.")
        sys.exit(status)
    except OSError as error:
        complain(f"{file} cannot be used: {error.strerror}.")
        sys.exit(status)
    except ValueError as refusal:
        said = str(refusal)
        complain(f"{said if said.startswith(str(file)) else f'{file} {said}'}.")
        sys.exit(status)
