"""The settings of TLS on the listeners."""

from __future__ import annotations

from typing import Literal

from gateway.settings.limits import LimitSettings
from gateway.settings.reading import files
from gateway.settings.reading.kinds import FilePath
from gateway.settings.reading.reload_effects import FIXED
from gateway.settings.reading.tables import ValueContext, checks, setting

# Each needs the one before it: a key is of no use without its certificate.
_NEEDS = {
    "tls_key": "tls_certificate",
    "tls_client_ca": "tls_certificate",
    "admin_tls_key": "admin_tls_certificate",
    "admin_tls_client_ca": "admin_tls_certificate",
}
_PAIRS = {"tls_key": "tls_certificate", "admin_tls_key": "admin_tls_certificate"}


class TlsSettings(LimitSettings):
    """The settings of TLS: a listener without a certificate speaks plain HTTP."""

    tls_certificate: FilePath = setting(
        "",
        reload=FIXED,
        description="PEM file with the certificate of the listener at listen, followed by the "
        "intermediate certificates. With it, the listener speaks TLS. The file is read again "
        "when it or the key changes.",
    )
    tls_key: FilePath = setting(
        "",
        reload=FIXED,
        description="PEM file with the private key of tls_certificate, not encrypted.",
    )
    tls_client_ca: FilePath = setting(
        "",
        reload=FIXED,
        description="PEM file with certificate authorities. Clients of the listener at listen must "
        "present a certificate of one of them. If it is empty, clients need no certificate.",
    )
    tls_minimum_version: Literal["1.2", "1.3"] = setting(
        "1.2", reload=FIXED, description="Lowest TLS version that both listeners accept."
    )
    admin_tls_certificate: FilePath = setting(
        "",
        reload=FIXED,
        description="Like tls_certificate, for the admin listener; it may be the same file.",
    )
    admin_tls_key: FilePath = setting(
        "", reload=FIXED, description="PEM file with the private key of admin_tls_certificate."
    )
    admin_tls_client_ca: FilePath = setting(
        "",
        reload=FIXED,
        description="Like tls_client_ca, for the admin listener: console, health and metrics.",
    )

    @checks(*_NEEDS)
    @classmethod
    def _has_certificate(cls, path: str, context: ValueContext) -> str:
        certificate = _NEEDS[str(context.key)]
        if path and context.values.get(certificate) == "":
            raise ValueError(f"must be left out without {certificate}")
        return path

    @checks("tls_client_ca", "admin_tls_client_ca")
    @classmethod
    def _has_authorities(cls, path: str, context: ValueContext) -> str:
        files.check_authorities(path, context.look)
        return path

    @checks(*_PAIRS)
    @classmethod
    def _has_key(cls, path: str, context: ValueContext) -> str:
        certificate = _PAIRS[str(context.key)]
        if not path and context.values.get(certificate):
            raise ValueError(f"must be given with {certificate}: the file of its private key")
        files.check_pair(context.values.get(certificate, ""), path, context.look)
        return path
