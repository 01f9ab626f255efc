"""Check the files and folders that settings name, without changing anything."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import NoReturn

from gateway import trust
from gateway.settings.log_kinds import kind_of


@dataclass(frozen=True, slots=True)
class Look:
    """The context of a validation that checks files; `only_route` is True without `routes`."""

    only_route: bool


def check_authorities(path: str, look: object) -> None:
    """Raise ValueError if a file has no certificate authorities that can be loaded."""
    if not (isinstance(look, Look) and path):
        return
    try:
        ssl.create_default_context(cafile=path)
    except OSError as cause:
        raise ValueError(f"must be a file of authorities: {trust.why_not(cause)}") from cause


def check_pair(certificate: str, key: str, look: object) -> None:
    """Raise ValueError if a file is not the private key of the certificate in another one."""
    if not (isinstance(look, Look) and certificate and key):
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, _refuse_password)
    except ssl.SSLError as cause:
        raise ValueError(f"must be the key of {certificate}: {cause.reason}") from cause
    except OSError as cause:
        why = f"a file cannot be read: {cause.strerror}"
        raise ValueError(f"must be the key of {certificate}: {why}") from cause


def _refuse_password() -> NoReturn:
    raise ValueError("must be a key without a password, which nobody is there to type")


def check_place(origin: str, look: object) -> None:
    """Raise ValueError if the origin's log cannot be on this machine, as at a plain file."""
    kind = kind_of(origin)
    if isinstance(look, Look) and kind is not None:
        kind.look(origin)
