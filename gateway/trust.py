"""Whose certificates are trusted, wherever Headgate is the client of a server that speaks TLS."""

from __future__ import annotations

import ssl

from gateway.errors import StartError


def context(authorities: str = "", *, verify: bool = True) -> ssl.SSLContext:
    """TLS that trusts the authorities in a PEM file, and nobody else; without one the system's.

    Raises StartError when the file cannot be used.
    """
    try:
        made = ssl.create_default_context(cafile=authorities or None)
    except OSError as cause:
        raise StartError(f"cannot use {authorities} (tls_ca): {why_not(cause)}") from cause
    if not verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


def why_not(cause: OSError) -> str | None:
    """Why a file's authorities cannot be taken."""
    return "no certificate in it" if isinstance(cause, ssl.SSLError) else cause.strerror
