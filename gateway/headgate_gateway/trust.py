"""TLS: contexts for the connections that Headgate opens, and the certificates that it presents.

It opens connections to origins, Redis, issuers and CDNs.
"""

from __future__ import annotations

import os
import re
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from headgate_gateway.errors import StartError
from headgate_gateway.text_files import unmarked

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_PEM = 1 << 20  # bytes


@contextmanager
def without_authorities() -> Iterator[None]:
    """Make the TLS context that aiohttp creates at its import trust no certificate.

    That context would read the system's authorities, which takes 2 MB and 20 ms. Headgate does not
    use it: all its clients have a context of their own.
    """
    places = ssl.get_default_verify_paths()
    names = (places.openssl_cafile_env, places.openssl_capath_env)
    before = {name: os.environ[name] for name in names if name in os.environ}
    os.environ.update(dict.fromkeys(names, os.devnull))
    try:
        yield
    finally:
        for name in names:
            del os.environ[name]
        os.environ.update(before)


def context(authorities: str = "", *, named_by: str = "tls_ca") -> ssl.SSLContext:
    """Return a context that trusts only the authorities in a PEM file; without one, the system's.

    Raises StartError if the file cannot be used; `named_by` is the setting or option for it.
    """
    try:
        return ssl.create_default_context(cafile=authorities or None)
    except OSError as cause:
        raise StartError(f"cannot use {authorities} ({named_by}): {why_not(cause)}") from cause


def own_listener(certificate: str) -> ssl.SSLContext:
    """Return a context for connections to a listener of this machine, by its own certificate.

    The certificate need not name the address. Raises OSError.
    """
    tls_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls_context.check_hostname = False
    tls_context.verify_flags |= (
        ssl.VERIFY_X509_PARTIAL_CHAIN
    )  # the certificate itself is the anchor
    tls_context.load_verify_locations(certificate)
    return tls_context


def load_pair(tls_context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Load a certificate with its private key.

    Raises OSError if a file cannot be read, and ValueError if they cannot be used together.
    """

    def refuse() -> NoReturn:  # instead of OpenSSL, which would ask on the terminal
        raise ValueError(f"{key} must be a key without a password, which nobody is there to type")

    try:
        tls_context.load_cert_chain(certificate, key, refuse)
    except ssl.SSLError as cause:
        if cause.reason != "KEY_VALUES_MISMATCH":
            check_certificate(certificate)
            raise ValueError(_without("private key", key)) from cause
        why = f"{key} is not the key of the certificate in {certificate}"
        raise ValueError(why) from cause
    except OSError as cause:  # which names no file
        raise OSError(cause.errno, cause.strerror, f"{certificate} or {key}") from cause


def check_certificate(path: str) -> None:
    """Raise ValueError unless a PEM file has a certificate; OSError if it cannot be read."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError as cause:
        raise ValueError(_without("certificate", path)) from cause
    except OSError as cause:  # which names no file
        raise OSError(cause.errno, cause.strerror, path) from cause


def _without(wanted: str, path: str) -> str:
    """Return that a file lacks what is wanted, with the labels that it has (RFC 7468)."""
    with open(path, "rb") as file:  # noqa: PTH123 - Path raises on odd names
        data = file.read(_MOST_PEM)
    try:
        text = unmarked(data).decode("ascii", "replace")
    except ValueError as cause:
        return f"{path} {cause}"
    labels = dict.fromkeys(re.findall(r"-----BEGIN ([A-Z0-9 ]{1,40})-----", text))
    return f"{path} has no usable {wanted} in PEM, but {', '.join(labels) or 'other data'}"


def why_not(cause: OSError) -> str | None:
    """Return why the authorities of a file cannot be used."""
    return "no certificate in it" if isinstance(cause, ssl.SSLError) else cause.strerror
