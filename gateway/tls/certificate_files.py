"""The certificate and key of a listener, read again together when their files change."""

from __future__ import annotations

import asyncio
import os
import ssl
import stat
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from typing_extensions import override

from gateway.background import Background
from gateway.errors import StartError
from gateway.telemetry.logs import log
from gateway.telemetry.metrics import Sample, least

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A change is read once two looks in a row have seen it: who renews a certificate writes two files.
LOOK_AGAIN_S = 0.25
# Rights that nobody but the user of the gateway, and a group that may read, has to a private key.
OTHERS = stat.S_IRWXO | stat.S_IWGRP
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
PROTOCOLS = ["http/1.1"]  # what ALPN offers (RFC 7301); browsers use HTTP/1.1 without it, too

EXPIRY = least(
    "headgate_tls_certificate_expiry_seconds",
    "Unix time at which the certificate in use expires, by the setting that names its file.",
    "setting",
)
FILES_OK = least(
    "headgate_tls_files_ok",
    "1 while the certificate and key in use are those in the files, by the setting of the "
    "certificate.",
    "setting",
)

_Seen = tuple[tuple[int, int, int, int, int], ...]


class TlsFiles(NamedTuple):
    """The files of a listener's TLS; `client_ca` is empty if clients need no certificate.

    `setting` names the setting of the certificate, `minimum` is one of VERSIONS.
    """

    setting: str
    certificate: str
    key: str
    client_ca: str
    minimum: str

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the files that there are."""
        return tuple(filter(None, (self.certificate, self.key, self.client_ca)))


class LoadedFiles(NamedTuple):
    """A context for handshakes, and when its certificate expires, in epoch seconds."""

    context: ssl.SSLContext
    expires_s: float


class CertificateFiles(Background):
    """The files of a listener; started, it reads them again when one of them changes.

    All are replaced together, and only when they can be used together: a certificate without its
    key, or half a file, leaves the former `context` in use. Connections keep what they began with.
    """

    def __init__(self, files: TlsFiles) -> None:
        """Read the files for the first time. Raises StartError if they cannot be used."""
        self._files = files
        self.setting = files.setting
        self.trouble: str | None = None  # why the present files are not used
        self._pending: _Seen | None = None  # a change that one look has seen
        self._refused: _Seen | None = None  # content that cannot be used
        try:
            self._taken = _signature(files)
            self._loaded = load(files)
        except ValueError as cause:
            raise StartError(str(cause)) from cause
        _warn_if_open(files.key)

    @property
    def context(self) -> ssl.SSLContext:
        """The context of the next handshake."""
        return self._loaded.context

    def samples(self) -> Iterator[Sample]:
        """Yield when the certificate in use expires, and whether the files are in use."""
        yield Sample(EXPIRY, (self.setting,), self._loaded.expires_s)
        yield Sample(FILES_OK, (self.setting,), int(self.trouble is None))

    @override
    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            await self.look()

    async def look(self) -> None:
        """Check for changes; read the files if the look before saw the same change."""
        try:
            seen = _signature(self._files)
        except ValueError as cause:
            self._pending = self._refused = None
            self._refuse(str(cause))
            return
        if seen == self._taken:
            self._pending = self.trouble = None
        elif seen != self._pending:
            self._pending = seen
        elif seen != self._refused:
            await self._take(seen)

    async def _take(self, seen: _Seen) -> None:
        try:
            loaded = await asyncio.to_thread(load, self._files)
        except ValueError as cause:
            self._refused = seen
            self._refuse(str(cause))
            return
        self._taken, self._loaded = seen, loaded
        self._pending = self._refused = self.trouble = None
        log.info("tls.certificate_read", file=self._files.certificate)
        _warn_if_open(self._files.key)

    def _refuse(self, why: str) -> None:
        """Keep what is in use, and log that once for each reason."""
        if why != self.trouble:
            self.trouble = why
            log.error("tls.files_refused", why=why, instead="the certificate and key read before")


def load(files: TlsFiles) -> LoadedFiles:
    """Return a context with these files. Raises ValueError if they cannot be used together."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[files.minimum]
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(PROTOCOLS)
    try:
        context.load_cert_chain(files.certificate, files.key, _no_password(files.key))
    except ssl.SSLError as cause:
        raise ValueError(_why_no_pair(files, cause)) from cause
    except OSError as cause:
        raise ValueError(
            f"{' or '.join(files.paths[:2])} cannot be read: {cause.strerror}"
        ) from cause
    if files.client_ca:
        try:
            context.load_verify_locations(files.client_ca)
        except OSError as cause:
            why = "no certificate in it" if isinstance(cause, ssl.SSLError) else cause.strerror
            raise ValueError(f"{files.client_ca} cannot be used: {why}") from cause
        context.verify_mode = ssl.CERT_REQUIRED
    return LoadedFiles(context, _expiry(files.certificate))


def _no_password(key: str) -> Callable[[], str]:
    """Return a function for OpenSSL, which would ask for the password on the terminal."""

    def refuse() -> NoReturn:
        raise ValueError(f"{key} must be a key without a password, which nobody is there to type")

    return refuse


def _why_no_pair(files: TlsFiles, cause: ssl.SSLError) -> str:
    if cause.reason == "KEY_VALUES_MISMATCH":
        return f"{files.key} is not the key of the certificate in {files.certificate}"
    return f"{files.certificate} and {files.key} are no PEM certificate and key: {cause.reason}"


def _expiry(path: str) -> float:
    """Return when the first certificate of a file expires. Raises ValueError."""
    from cryptography import x509  # 10 MB, for those who have TLS

    try:
        with open(path, "rb") as file:  # noqa: PTH123 - Path raises on odd names
            data = file.read()
    except OSError as cause:
        raise ValueError(f"{path} cannot be read: {cause.strerror}") from cause
    return x509.load_pem_x509_certificate(data).not_valid_after_utc.timestamp()


def _signature(files: TlsFiles) -> _Seen:
    """Return a value that changes with a file's content, or when a link leads elsewhere."""
    seen = []
    for path in files.paths:
        try:
            it = os.stat(path)  # noqa: PTH116 - Path raises on odd names
        except OSError as cause:
            raise ValueError(f"{path} cannot be read: {cause.strerror}") from cause
        seen.append((it.st_dev, it.st_ino, it.st_size, it.st_mtime_ns, it.st_ctime_ns))
    return tuple(seen)


def _warn_if_open(key: str) -> None:
    mode = stat.S_IMODE(os.stat(key).st_mode)  # noqa: PTH116 - Path raises on odd names
    if mode & OTHERS:
        advice = f"others may use the private key: chmod 0600 {key}"
        log.warning("tls.key_open", file=key, mode=f"{mode:04o}", advice=advice)
