"""The settings of TLS on a listener."""

from __future__ import annotations

from typing import Literal, NamedTuple

from headgate_gateway.settings.reading import files
from headgate_gateway.settings.reading.kinds import FilePath
from headgate_gateway.settings.reading.reload_effects import NEXT_HANDSHAKE, NEXT_HANDSHAKE_IF_BOTH
from headgate_gateway.settings.reading.tables import Section, ValueContext, checks, setting


class TlsFiles(NamedTuple):
    """The absolute paths of a listener's files; `client_ca` is "" if clients need no certificate.

    `section` names the section of these settings, `minimum` is "1.2" or "1.3". `hosts` are those
    by which clients reach the listener, as far as the settings say.
    """

    section: str
    certificate: str
    key: str
    client_ca: str
    minimum: str
    hosts: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the files that there are."""
        return tuple(filter(None, (self.certificate, self.key, self.client_ca)))


class ListenerTls(Section):
    """The settings of TLS on one listener: without a certificate it speaks plain HTTP."""

    certificate: FilePath = setting(
        "",
        reload=NEXT_HANDSHAKE_IF_BOTH,
        description="PEM file with the certificate of the listener, followed by the intermediate "
        "certificates. With it, the listener speaks TLS. The file is read again when it or the "
        "key changes.",
    )
    key: FilePath = setting(
        "",
        reload=NEXT_HANDSHAKE,
        description="PEM file with the private key of the certificate, not encrypted.",
    )
    client_ca: FilePath = setting(
        "",
        reload=NEXT_HANDSHAKE,
        description="PEM file with certificate authorities. Clients of the listener must present "
        "a certificate of one of them. If it is empty, clients need no certificate.",
    )

    def files(self, section: str, minimum: str) -> TlsFiles | None:
        """Return the files of the listener; None if it speaks plain HTTP."""
        if not self.certificate:
            return None
        authorities = self.client_ca and files.whole(self.client_ca)
        pair = files.whole(self.certificate), files.whole(self.key)
        return TlsFiles(section, *pair, authorities, minimum)

    @checks("key", "client_ca")
    @classmethod
    def _check_certificate_is_set(cls, path: str, context: ValueContext) -> str:
        if path and context.values.get("certificate") == "":
            raise ValueError("must be left out without certificate")
        return path

    @checks("client_ca")
    @classmethod
    def _check_authorities(cls, path: str, context: ValueContext) -> str:
        files.check_authorities(path, context.look)
        return path

    @checks("certificate")
    @classmethod
    def _check_certificate(cls, path: str, context: ValueContext) -> str:
        files.check_certificate(path, context.look)
        return path

    @checks("key")
    @classmethod
    def _check_key(cls, path: str, context: ValueContext) -> str:
        certificate = context.values.get("certificate", "")
        if not path and certificate:
            raise ValueError("must be given with certificate: the file of its private key")
        files.check_pair(certificate, path, context.look)
        return path


class TlsSettings(ListenerTls):
    """The settings of TLS on the listener for streams."""

    minimum_version: Literal["1.2", "1.3"] = setting(
        "1.2", reload=NEXT_HANDSHAKE, description="Lowest TLS version that both listeners accept."
    )
