"""The certificate and key of a listener, read again together when their files change."""

from __future__ import annotations

import os
import ssl
import stat
from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import override

from headgate_gateway.small_files import WatchedFiles
from headgate_gateway.telemetry.health import CERTIFICATE_FILE, Cause, HealthNote
from headgate_gateway.telemetry.logs import log
from headgate_gateway.telemetry.metrics import Sample, least
from headgate_gateway.tls.certificate import Certificate, read_certificate
from headgate_gateway.trust import load_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headgate_gateway.settings import TlsFiles

# The bits of a mode that let others use a private key; the gateway's group may read it.
OTHERS = stat.S_IRWXO | stat.S_IWGRP
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
PROTOCOLS = ["http/1.1"]  # what ALPN offers (RFC 7301); browsers use HTTP/1.1 without it, too

EXPIRY = least(
    "headgate_tls_certificate_expiry_timestamp_seconds",
    "Unix time at which the certificate in use expires, by the setting that names its file.",
    "setting",
)
START = least(
    "headgate_tls_certificate_start_timestamp_seconds",
    "Unix time from which the certificate in use is valid, by the setting that names its file.",
    "setting",
)
FILES_OK = least(
    "headgate_tls_files_ok",
    "1 while the certificate and key in use are those in the files, and the certificate is for "
    "the hosts in the settings, by the setting of the certificate.",
    "setting",
)


class LoadedFiles(NamedTuple):
    """A context for handshakes, its certificate, and the mode of its key's file."""

    context: ssl.SSLContext
    certificate: Certificate
    key_mode: int


class CertificateFiles(WatchedFiles[LoadedFiles]):
    """The certificate, key and client authorities of a listener, which are replaced together.

    While a new certificate does not belong to the key, or a file is half written, the former
    `context` stays in use. So it does while it is valid and the new certificate is not, or is for
    other hosts. Open connections keep their certificate.
    """

    def __init__(
        self,
        files: TlsFiles,
        clock: Callable[[], float],
        former: Certificate | None = None,
    ) -> None:
        """Read the files for the first time. Raises StartError if they cannot be used.

        `clock` returns epoch seconds. `former` is the certificate that they replace, if there is
        one: without, one that is not valid is used, since a restart must not turn a warning into
        an outage.
        """
        self.files = files
        self.setting = f"{files.section}.certificate"
        self._clock = clock
        self._former = former
        self._unfit: Certificate | None = None  # that of the present files
        self._warned = ""  # the code of what was logged last
        super().__init__(files.paths)
        self._warn()
        self._warn_of_key()

    @property
    def context(self) -> ssl.SSLContext:
        """The context of the next handshake."""
        return self.value.context

    @property
    def certificate(self) -> Certificate:
        """The certificate in use."""
        return self.value.certificate

    def notes(self) -> Iterator[HealthNote]:
        """Yield what is wrong with the certificate in use, and with the present files, or None."""
        for cause in (self._cause, Cause.of("not_used", self.trouble)):
            yield HealthNote(CERTIFICATE_FILE, self.files.certificate, cause)

    def samples(self) -> Iterator[Sample]:
        """Yield the validity of the certificate in use, and whether the files are in use."""
        yield Sample(START, (self.setting,), self.certificate.starts_s)
        yield Sample(EXPIRY, (self.setting,), self.certificate.expires_s)
        yield Sample(FILES_OK, (self.setting,), int(self._is_in_order))

    @property
    def _cause(self) -> Cause | None:
        """The fault of the certificate in use: clients refuse it, or it ends soon."""
        now = self._clock()
        return self.certificate.refusal(now, self.files.hosts) or self.certificate.ending(now)

    @property
    def _is_in_order(self) -> bool:
        return self.trouble is None and not self.certificate.is_for_others(self.files.hosts)

    @override
    def _read(self) -> LoadedFiles:
        self._unfit = None
        loaded = load(self.files)
        why = self._why_unfit(loaded.certificate)
        if why is not None:
            self._unfit = loaded.certificate
            raise ValueError(why)
        self._former = loaded.certificate
        return loaded

    @override
    async def look(self) -> None:
        if self._unfit is not None and self._why_unfit(self._unfit) != self.trouble:
            self._refused = None  # the files are read again, since the time has changed the reason
        await super().look()
        self._warn()

    def _why_unfit(self, new: Certificate) -> str | None:
        """Return why a certificate would not serve the clients of the former one, which does now.

        None once the new one is valid, or the former one is not. A former one without hosts, as for
        a service mesh, has clients that check none.
        """
        former, now, hosts = self._former, self._clock(), self.files.hosts
        if former is None or former.refusal(now, hosts) is not None:
            return None
        refusal = new.refusal(now, hosts)
        why = None if refusal is None else str(refusal.facts["reason"])
        if why is None and former.names and not new.shares_host(former):
            why = f"is for {new.hosts or 'no host'}, and the one in use for {former.hosts}"
        return why and f"the certificate in {self.files.certificate} {why}"

    @override
    def _on_change(self) -> None:
        log.info("tls.certificate_read", file=self.files.certificate)
        self._warned = ""
        self._warn()
        self._warn_of_key()

    @override
    def _log_refusal(self, why: str) -> None:
        instead = "the certificate and key read before"
        log.error("tls.files_refused", file=self.files.certificate, why=why, instead=instead)

    def _warn(self) -> None:
        """Log what is wrong with the certificate in use, once it is or becomes worse."""
        cause = self._cause
        if cause is None or cause.code == self._warned:
            return
        self._warned = cause.code
        why, file = cause.facts["reason"], self.files.certificate
        if cause.code in {"ends_soon", "ends_now"}:
            log.warning("tls.certificate_ends", file=file, why=why)
            return
        advice = "clients refuse it: renew it, and write it and its key in place"
        log.error("tls.certificate_invalid", file=file, why=why, advice=advice)

    def _warn_of_key(self) -> None:
        key, mode = self.files.key, self.value.key_mode
        open_key = advice_on_key(key, mode)
        if open_key is not None:
            log.warning("tls.key_open", file=key, mode=f"{mode:04o}", advice=open_key)


def advice_on_key(key: str, mode: int) -> str | None:
    """Return what to do about the mode of a private key; None if it is as it should be."""
    return f"others may use the private key: chmod 0600 {key}" if mode & OTHERS else None


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
    return LoadedFiles(context, read_certificate(files.certificate), mode)
