"""The certificate and key of a listener, read again together when their files change."""

from __future__ import annotations

import os
import ssl
import stat
from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import override

from gateway.access.small_files import read_file
from gateway.telemetry.logs import log
from gateway.telemetry.metrics import Sample, least
from gateway.trust import load_pair
from gateway.watched_files import WatchedFiles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings import TlsFiles

# The bits of a mode that let others use a private key; the gateway's group may read it.
OTHERS = stat.S_IRWXO | stat.S_IWGRP
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
PROTOCOLS = ["http/1.1"]  # what ALPN offers (RFC 7301); browsers use HTTP/1.1 without it, too

EXPIRY = least(
    "headgate_tls_certificate_expiry_seconds",
    "Unix time at which the certificate in use expires, by the setting that names its file.",
    "setting",
)
START = least(
    "headgate_tls_certificate_start_seconds",
    "Unix time from which the certificate in use is valid, by the setting that names its file.",
    "setting",
)
FILES_OK = least(
    "headgate_tls_files_ok",
    "1 while the certificate and key in use are those in the files, by the setting of the "
    "certificate.",
    "setting",
)


class LoadedFiles(NamedTuple):
    """A context for handshakes, the validity of its certificate (epoch s), its key file's mode."""

    context: ssl.SSLContext
    starts_s: float
    expires_s: float
    key_mode: int


class CertificateFiles(WatchedFiles[LoadedFiles]):
    """The certificate, key and client authorities of a listener, which are replaced together.

    While a new certificate does not belong to the key, or a file is half written, the former
    `context` stays in use. Open connections keep their certificate.
    """

    def __init__(self, files: TlsFiles) -> None:
        """Read the files for the first time. Raises StartError if they cannot be used."""
        self.files = files
        self.setting = files.setting
        super().__init__(files.paths)
        self._warn_if_open()

    @property
    def context(self) -> ssl.SSLContext:
        """The context of the next handshake."""
        return self.value.context

    def samples(self) -> Iterator[Sample]:
        """Yield the validity of the certificate in use, and whether the files are in use."""
        yield Sample(START, (self.setting,), self.value.starts_s)
        yield Sample(EXPIRY, (self.setting,), self.value.expires_s)
        yield Sample(FILES_OK, (self.setting,), int(self.trouble is None))

    @override
    def _read(self) -> LoadedFiles:
        return load(self.files)

    @override
    def _on_change(self) -> None:
        log.info("tls.certificate_read", file=self.files.certificate)
        self._warn_if_open()

    @override
    def _log_refusal(self, why: str) -> None:
        instead = "the certificate and key read before"
        log.error("tls.files_refused", file=self.files.certificate, why=why, instead=instead)

    def _warn_if_open(self) -> None:
        key, mode = self.files.key, self.value.key_mode
        if mode & OTHERS:
            advice = f"others may use the private key: chmod 0600 {key}"
            log.warning("tls.key_open", file=key, mode=f"{mode:04o}", advice=advice)


def load(files: TlsFiles) -> LoadedFiles:
    """Return a context with these files.

    Raises OSError if one cannot be read, and ValueError if they cannot be used together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[files.minimum]
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(PROTOCOLS)
    load_pair(context, files.certificate, files.key)
    if files.client_ca:
        try:
            context.load_verify_locations(files.client_ca)
        except ssl.SSLError as cause:
            raise ValueError(f"{files.client_ca} cannot be used: no certificate in it") from cause
        except OSError as cause:
            raise OSError(cause.errno, cause.strerror, files.client_ca) from cause
        context.verify_mode = ssl.CERT_REQUIRED
    mode = stat.S_IMODE(os.stat(files.key).st_mode)  # noqa: PTH116 - Path raises on odd names
    return LoadedFiles(context, *_validity(files.certificate), mode)


def _validity(path: str) -> tuple[float, float]:
    """Return from when to when the first certificate of a file is valid (epoch seconds)."""
    from cryptography import x509  # 10 MB, for those who have TLS

    certificate = x509.load_pem_x509_certificate(read_file(path))
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return start.timestamp(), end.timestamp()
