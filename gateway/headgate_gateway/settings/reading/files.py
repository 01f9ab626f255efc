"""Read and check the files and folders that settings name, without changing anything."""

from __future__ import annotations

import os
import ssl
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headgate.names import is_quoted
from headgate_gateway import trust
from headgate_gateway.settings.log_kinds import kind_of
from headgate_gateway.settings.reading.token_hashes import SHORTEST_TOKEN
from headgate_gateway.text_files import MARK, unmarked

if TYPE_CHECKING:
    from collections.abc import Iterator

SHOWN_CHARACTERS = SHORTEST_TOKEN - 1
BEFORE_SECRETS = {"@", "?", "="}  # a password or a token stands after one of these


@dataclass(frozen=True, slots=True)
class Look:
    """The context of a validation that checks files.

    `is_stored` is True where streams are in the storage of the settings, without origin and routes.
    """

    is_stored: bool


def whole(path: str) -> str:
    """Return the absolute path: a relative one begins at the working directory."""
    return str(Path(path).absolute())


def may_be_shown(path: str) -> bool:
    """Return whether a text is repeated by messages, as it is no token, password or URL with one.

    Of a path, only what is not there counts, below the folder that is there.
    """
    there = path
    while there and not os.path.lexists(there):
        there = os.path.dirname(there)  # noqa: PTH120 - Path raises on odd names
    missing = path.removeprefix(there)
    return len(missing) <= SHOWN_CHARACTERS and BEFORE_SECRETS.isdisjoint(missing)


def unread(path: str, why: str | None) -> str:
    """Return that a file cannot be read, with its path unless that may be a secret."""
    subject = path if may_be_shown(path) else "the file that it names (not shown here)"
    return f"{subject} cannot be read: {why}"


def _check_is_file(path: str) -> None:
    """Raise OSError if there is nothing, and ValueError if it is no file: a pipe may never end."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - Path raises on odd names
        raise ValueError(f"{path} is no file")


def secret_text(path: str, most: int) -> str:
    """Return the text of a file with a secret, without blanks around it; "" if it is not ASCII.

    At most `most` characters are read after a byte order mark. Raises ValueError if the file cannot
    be read, if other users can read it, or if its text is in quotes.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - Path raises on odd names
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(len(MARK) + most)
    except (OSError, ValueError) as cause:
        why = cause.strerror if isinstance(cause, OSError) else "this is no name of one"
        # The name may be a misplaced secret, so only its beginning is told.
        begin = "" if path.startswith("/") else f", seen from {Path.cwd()}"
        raise ValueError(f"must be a file that can be read: {why}{begin}") from cause
    if stat.S_ISREG(mode) and mode & stat.S_IRWXO:
        raise ValueError(f"must not be readable by other users: chmod o= {whole(path)}")
    try:
        text = unmarked(data).decode("ascii")[:most].strip()
    except UnicodeDecodeError:
        return ""
    except ValueError as cause:
        raise ValueError(f"must be a file in UTF-8: this one {cause}") from cause
    if is_quoted(text):
        raise ValueError("must be a file without quotes around its text")
    return text


def check_authorities(path: str, look: object) -> None:
    """Raise ValueError if a file has no certificate authorities that can be loaded."""
    if not (isinstance(look, Look) and path):
        return
    path = whole(path)
    with _refusals("must be a file of authorities", path):
        _check_is_file(path)
        try:
            ssl.create_default_context(cafile=path)
        except ssl.SSLError as cause:
            raise ValueError(f"{path}: {trust.why_not(cause)}") from cause


def check_certificate(path: str, look: object) -> None:
    """Raise ValueError if a file has no certificate in PEM."""
    if not (isinstance(look, Look) and path):
        return
    path = whole(path)
    with _refusals("must be the file of a certificate", path):
        _check_is_file(path)
        trust.check_certificate(path)


def check_pair(certificate: str, key: str, look: object) -> None:
    """Raise ValueError if a file is not the private key of the certificate in another one."""
    if not (isinstance(look, Look) and certificate and key):
        return
    certificate, key = whole(certificate), whole(key)
    with _refusals("must go with its certificate", key):
        _check_is_file(key)
        trust.load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate, key)


@contextmanager
def _refusals(must: str, path: str) -> Iterator[None]:
    """Raise ValueError with what a setting must be where a check of its file at `path` fails."""
    try:
        yield
    except OSError as cause:
        raise ValueError(f"{must}: {unread(cause.filename or path, cause.strerror)}") from cause
    except ValueError as cause:
        raise ValueError(f"{must}: {cause}") from cause


def check_place(storage: str, look: object) -> None:
    """Raise ValueError if streams cannot be stored there on this machine, as at a plain file."""
    kind = kind_of(storage)
    if isinstance(look, Look) and kind is not None:
        kind.look(storage)
