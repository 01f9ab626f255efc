"""The settings of TLS on the listeners."""

from __future__ import annotations

from typing import Literal, NamedTuple

from gateway.settings.limits import LimitSettings
from gateway.settings.reading import files
from gateway.settings.reading.kinds import FilePath
from gateway.settings.reading.reload_effects import NEXT_HANDSHAKE, NEXT_HANDSHAKE_IF_BOTH
from gateway.settings.reading.tables import ValueContext, checks, setting

# Each needs the one before it: a key is of no use without its certificate.
_NEEDS = {
    "tls_key": "tls_certificate",
    "tls_client_ca": "tls_certificate",
    "admin_tls_key": "admin_tls_certificate",
    "admin_tls_client_ca": "admin_tls_certificate",
}
_PAIRS = {"tls_key": "tls_certificate", "admin_tls_key": "admin_tls_certificate"}


class TlsFiles(NamedTuple):
    """The absolute paths of a listener's files; `client_ca` is "" if clients need no certificate.

    `setting` names the setting of the certificate, `minimum` is "1.2" or "1.3". `hosts` are those
    by which clients reach the listener, as far as the settings say.
    """

    setting: str
    certificate: str
    key: str
    client_ca: str
    minimum: str
    hosts: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the files that there are."""
        return tuple(filter(None, (self.certificate, self.key, self.client_ca)))


class TlsSettings(LimitSettings):
    """The settings of TLS: a listener without a certificate speaks plain HTTP."""

    tls_certificate: FilePath = setting(
        "",
        reload=NEXT_HANDSHAKE_IF_BOTH,
        description="PEM file with the certificate of the listener at listen, followed by the "
        "intermediate certificates. With it, the listener speaks TLS. The file is read again "
        "when it or the key changes.",
    )
    tls_key: FilePath = setting(
        "",
        reload=NEXT_HANDSHAKE,
        description="PEM file with the private key of tls_certificate, not encrypted.",
    )
    tls_client_ca: FilePath = setting(
        "",
        reload=NEXT_HANDSHAKE,
        description="PEM file with certificate authorities. Clients of the listener at listen must "
        "present a certificate of one of them. If it is empty, clients need no certificate.",
    )
    tls_minimum_version: Literal["1.2", "1.3"] = setting(
        "1.2", reload=NEXT_HANDSHAKE, description="Lowest TLS version that both listeners accept."
    )
    admin_tls_certificate: FilePath = setting(
        "",
        reload=NEXT_HANDSHAKE_IF_BOTH,
        description="Like tls_certificate, for the admin listener; it may be the same file.",
    )
    admin_tls_key: FilePath = setting(
        "",
        reload=NEXT_HANDSHAKE,
        description="PEM file with the private key of admin_tls_certificate.",
    )
    admin_tls_client_ca: FilePath = setting(
        "",
        reload=NEXT_HANDSHAKE,
        description="Like tls_client_ca, for the admin listener: console, health and metrics.",
    )

    @property
    def scheme(self) -> Literal["http", "https"]:
        """The scheme by which the listener for streams is reached without a proxy."""
        return "https" if self.tls_certificate else "http"

    @property
    def tls(self) -> TlsFiles | None:
        """The files of the listener for streams; None if it speaks plain HTTP."""
        return self._files(
            "tls_certificate", self.tls_certificate, self.tls_key, self.tls_client_ca
        )

    @property
    def admin_tls(self) -> TlsFiles | None:
        """The files of the admin listener; None if it speaks plain HTTP."""
        return self._files(
            "admin_tls_certificate",
            self.admin_tls_certificate,
            self.admin_tls_key,
            self.admin_tls_client_ca,
        )

    def _files(self, setting: str, certificate: str, key: str, client_ca: str) -> TlsFiles | None:
        if not certificate:
            return None
        authorities = client_ca and files.whole(client_ca)
        pair = files.whole(certificate), files.whole(key)
        return TlsFiles(setting, *pair, authorities, self.tls_minimum_version)

    @checks(*_NEEDS)
    @classmethod
    def _check_certificate_is_set(cls, path: str, context: ValueContext) -> str:
        certificate = _NEEDS[str(context.key)]
        if path and context.values.get(certificate) == "":
            raise ValueError(f"must be left out without {certificate}")
        return path

    @checks("tls_client_ca", "admin_tls_client_ca")
    @classmethod
    def _check_authorities(cls, path: str, context: ValueContext) -> str:
        files.check_authorities(path, context.look)
        return path

    @checks(*_PAIRS.values())
    @classmethod
    def _check_certificate(cls, path: str, context: ValueContext) -> str:
        files.check_certificate(path, context.look)
        return path

    @checks(*_PAIRS)
    @classmethod
    def _check_key(cls, path: str, context: ValueContext) -> str:
        certificate = _PAIRS[str(context.key)]
        if not path and context.values.get(certificate):
            raise ValueError(f"must be given with {certificate}: the file of its private key")
        files.check_pair(context.values.get(certificate, ""), path, context.look)
        return path
