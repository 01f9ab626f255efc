"""Certificates for tests, and the files that a server reads them from."""

from __future__ import annotations

import datetime
import ssl
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

HERE = "127.0.0.1"
DAY = datetime.timedelta(days=1)
USES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
    *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


class Pair(NamedTuple):
    """A certificate and its key, in PEM."""

    certificate: bytes
    key: bytes

    @property
    def serial(self) -> int:
        return x509.load_pem_x509_certificate(self.certificate).serial_number

    def write(self, folder: Path, name: str = "server") -> TlsPaths:
        """Write both into files of a folder; the key is readable by its user alone."""
        paths = TlsPaths(folder / f"{name}.pem", folder / f"{name}.key")
        self.replace(paths)
        paths.key.chmod(0o600)
        return paths

    def replace(self, paths: TlsPaths) -> None:
        """Write both over what is in the files, the certificate first."""
        paths.certificate.write_bytes(self.certificate)
        paths.key.write_bytes(self.key)


class TlsPaths(NamedTuple):
    """The files of a pair."""

    certificate: Path
    key: Path

    def settings(self, section: str = "TLS") -> dict[str, str]:
        """Return the variables that name them."""
        return {
            f"HEADGATE_{section}__CERTIFICATE": str(self.certificate),
            f"HEADGATE_{section}__KEY": str(self.key),
        }


class Authority:
    """A certificate authority; `file` has its certificate."""

    def __init__(self, name: str, file: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = file
        made = self._begun(self._name, self._key)
        # Python 3.13 and newer trust no authority without all three.
        for extension, is_critical in (
            (x509.BasicConstraints(ca=True, path_length=None), True),
            (x509.KeyUsage(**{name: name == "key_cert_sign" for name in USES}), True),
            (x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), False),
        ):
            made = made.add_extension(extension, critical=is_critical)
        signed = made.sign(self._key, hashes.SHA256())
        file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        name: str = "server",
        days: float = 30,
        hosts: tuple[str, ...] = ("localhost",),
        *,
        address: str = HERE,
        begins_in_days: float = -1,
    ) -> Pair:
        """Issue a certificate for these hosts and an address that expires in so many days.

        It has no names for no hosts and an empty address.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        by = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        made = self._begun(subject, key, days, begins_in_days).add_extension(by, critical=False)
        addresses = [x509.IPAddress(ip_address(it)) for it in filter(None, [address])]
        if names := [*addresses, *map(x509.DNSName, hosts)]:
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return Pair(
            made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )

    def client(self, paths: TlsPaths | None = None) -> ssl.SSLContext:
        """Return a client's context that trusts this authority, and shows what is in `paths`."""
        context = ssl.create_default_context(cafile=self.file)
        if paths is not None:
            context.load_cert_chain(paths.certificate, paths.key)
        return context

    def _begun(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        days: float = 30,
        begins_in_days: float = -1,
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)  # noqa: TID251 - certificates have dates
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins_in_days * DAY)
            .not_valid_after(now + days * DAY)
        )

    @classmethod
    def of(cls, folder: Path, name: str = "authority") -> Self:
        """Make an authority whose certificate is in a folder."""
        return cls(name, folder / f"{name}.pem")
